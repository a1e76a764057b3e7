"""Every kernel of a block is the torch layer, computed otherwise: same keys, same numbers."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from graphrec.blocks.base import Kernel
from graphrec.verify.block.example import Example, tensors
from graphrec.verify.block.verdict import Skipped, Unfit, reported
from graphrec.verify.compare import worst
from graphrec.verify.layer_calls import cast, results

__all__ = ["check_kernels"]


def check_kernels(example: Example) -> None:
    """Kernels have the torch layer's keys, and its results and gradients where they can run."""
    block = example.block
    names = [name for name in block.kernels if name != "torch"]
    if not names:
        raise Skipped("torch is its only kernel")
    waiting = []
    for name in names:
        kernel = type(block).kernel(name)
        assert kernel is not None
        why = _absent(kernel)
        if why is None:
            _same_keys(example, name)
            why = _refusal(example, kernel)
        if why is None:
            _same_numbers(example, name)
        else:
            waiting.append(f"{name}: {why}")
    if waiting:
        raise Skipped("; ".join(waiting))


def _absent(kernel: Kernel) -> str | None:
    missing = [module for module in kernel.needs if importlib.util.find_spec(module) is None]
    return f"{missing[0]} is not installed" if missing else None


def _refusal(example: Example, kernel: Kernel) -> str | None:
    """Why the kernel can't run this example on the device there is."""
    return kernel.refusal(example.block, _device(), "fp32", frozenset(kernel.needs))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _same_keys(example: Example, name: str) -> None:
    torch_layer = example.layer()
    other = reported(f"kernel {name} can't be made from args", lambda: example.layer(name))
    ours = {key: tuple(value.shape) for key, value in torch_layer.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in other.state_dict().items()}
    if ours != theirs:
        odd = sorted({*ours.items()} ^ {*theirs.items()})
        shown = ", ".join(f"{key} {list(shape)}" for key, shape in odd[:6])
        raise Unfit(f"the state_dict of kernel {name} is not that of torch: {shown}")


def _same_numbers(example: Example, name: str) -> None:
    torch.manual_seed(2)
    device, kinds = _device(), {"plain": "torch", "other": name, "exact": "torch"}
    layers = {kind: example.layer(kernel).to(device) for kind, kernel in kinds.items()}
    for layer in layers.values():
        layer.load_state_dict(layers["plain"].state_dict())
    drawn = [x.to(device) for x in tensors(example.inputs, example.lengths, torch.float32)]
    names = example.input_names
    plain = results(layers["plain"], drawn, names=names)
    right = results(layers["exact"].double(), cast(drawn, Tensor.double), names=names)
    actual = reported(f"kernel {name}", lambda: results(layers["other"], drawn, names=names))
    # As `graphrec verify` judges it in a recipe: a kernel that passes here passes there.
    difference = worst(actual, plain, right, "fp32", long_sums=True)
    if not difference.agrees:
        raise Unfit(f"kernel {name} differs from torch: {difference.told}")
