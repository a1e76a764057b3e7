"""A configured block with shapes for its inputs, its layers, and tensors of these shapes."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from graphrec.blocks.base import Block
from graphrec.ground.shapes import Shape
from graphrec.nn import Jagged
from graphrec.verify.layer_calls import Value

__all__ = ["LENGTHS", "Example", "layer_class", "tensors"]

LENGTHS = (4, 0, 1, 7, 2)
"""Steps of the histories of a batch."""


@dataclass(frozen=True)
class Example:
    """A block with its parameters, and the shapes of its inputs in the order of its ports.

    `lengths` are those of the histories it is tried on. `stops_gradients`: it stops some gradients
    of its inputs on purpose, so that only those of its weights can be compared with differences.
    `by_accident`: `infer` accepts these shapes, but perhaps just because it does not look closely.
    """

    block: Block
    inputs: tuple[Shape, ...]
    lengths: tuple[int, ...] = LENGTHS
    stops_gradients: bool = False
    by_accident: bool = False

    @property
    def shown(self) -> str:
        """The inputs by name, for people."""
        pairs = zip(self.input_names, self.inputs, strict=True)
        return ", ".join(f"{name} {shape}" for name, shape in pairs)

    @property
    def has_history(self) -> bool:
        return any(shape.is_jagged for shape in self.inputs)

    @property
    def input_names(self) -> tuple[str, ...]:
        """A name for every input; those of a variadic port are numbered."""
        ports = self.block.ports()
        rest = len(self.inputs) - sum(port.required and not port.variadic for port in ports)
        names: list[str] = []
        for port in ports:
            if port.variadic:
                names.extend(f"{port.name}.{i}" for i in range(rest))
            else:
                names.append(port.name)
        return tuple(names[: len(self.inputs)])

    def outputs(self) -> list[Shape]:
        """The inferred shapes, in order."""
        inferred = self.block.infer(*self.inputs)
        return list(inferred.values()) if isinstance(inferred, dict) else [inferred]

    def layer(self, kernel: str = "torch") -> nn.Module:
        """A new layer of one of the block's kernels."""
        declared = type(self.block).kernel(kernel)
        assert declared is not None
        return layer_class(declared.layer)(**self.block.args(*self.inputs))


def layer_class(path: str) -> type[nn.Module]:
    """The class that `module:Class` names."""
    module, _, name = path.partition(":")
    kind: type[nn.Module] = getattr(importlib.import_module(module), name)
    return kind


def tensors(
    inputs: Sequence[Shape],
    lengths: Sequence[int],
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> list[Value]:
    """Random inputs for a batch whose histories have these lengths."""
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Value] = []
    for shape in inputs:
        first = sum(lengths) if shape.is_jagged else len(lengths)
        sizes = [int(dim) for dim in shape.dims[2 if shape.is_jagged else 1 :]]
        values = torch.randn([first, *sizes], dtype=dtype, generator=generator)
        steps = torch.tensor(lengths, dtype=torch.int64)
        drawn.append(Jagged(values, steps) if shape.is_jagged else values)
    return drawn
