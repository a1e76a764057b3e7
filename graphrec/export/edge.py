"""The flat edge of an exported model: named, typed tensors in, a tuple of tensors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphrec.data.row_batch import features_of
from graphrec.export.outputs import RowOutput
from graphrec.nn import Batch, Jagged

__all__ = ["Edge", "Port", "SignatureModule"]


@dataclass(frozen=True)
class Port:
    """An input: `shape` has the name of a size where it varies, `batch` or `steps of past`."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    feature: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Edge:
    """The inputs of the features of one side (or all), in their order, and how they are read."""

    entries: tuple[Mapping[str, Any], ...]
    ports: tuple[Port, ...]
    single: bool = False
    """One row: the request's side."""

    @classmethod
    def of(cls, entries: Sequence[Mapping[str, Any]], single: bool = False) -> Edge:
        """The edge of features as features.json has them."""
        ports: dict[str, Port] = {}
        for entry in entries:
            for port in _ports(entry, 1 if single else "batch"):
                ports.setdefault(port.name, port)
        return cls(tuple(entries), tuple(ports.values()), single)

    def features(self, tensors: Sequence[Tensor]) -> dict[str, Tensor | Jagged]:
        """The features of a batch, from tensors in the order of the ports."""
        given = dict(zip((port.name for port in self.ports), tensors, strict=True))
        return features_of(self.entries, given)

    def tensors(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> list[Tensor]:
        """The tensors of a row reader's arrays, in the order of the ports."""
        return [torch.from_numpy(arrays[port.name]) for port in self.ports]

    def dynamic_shapes(self) -> list[dict[int, Any]]:
        """Which sizes vary, for torch.export."""
        return [
            {0: torch.export.Dim.DYNAMIC} if isinstance(port.shape[0], str) else {}
            for port in self.ports
        ]


def _ports(entry: Mapping[str, Any], batch: str | int) -> list[Port]:
    name, feature = str(entry["name"]), str(entry["feature"])
    number = entry["kind"] == "number"
    dtype = "float32" if number else "int64"
    wide = (entry["width"],) if number else ()
    if entry["kind"] == "cross" or entry["form"] == "single":
        return [Port(name, dtype, (batch, *wide), feature)]
    owner = str(entry.get("sequence", name))
    steps = f"steps of {owner}"
    ports = [Port(f"{owner}.lengths", "int64", (batch,), owner)]
    if entry.get("nested"):
        ports.append(Port(f"{name}.lengths", "int64", (steps,), feature))
        steps = f"values of {name}"
    ports.append(Port(f"{name}.values", dtype, (steps, *wide), feature))
    if "weights" in entry or entry.get("inside"):
        ports.append(Port(f"{name}.weights", "float32", (steps,), feature))
    return ports


class SignatureModule(nn.Module):
    """A generated module behind its flat edges: one of whole rows, or request and candidates."""

    def __init__(
        self, module: nn.Module, edges: Sequence[Edge], outputs: Sequence[RowOutput], method: str
    ) -> None:
        super().__init__()
        self.module, self.edges, self.method = module, tuple(edges), method
        self.names = tuple(output.name for output in outputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        batches, start = [], 0
        for edge in self.edges:
            stop = start + len(edge.ports)
            batches.append(Batch(edge.features(tensors[start:stop])))
            start = stop
        result = getattr(self.module, self.method)(*batches)
        return tuple(result[name].float() for name in self.names)
