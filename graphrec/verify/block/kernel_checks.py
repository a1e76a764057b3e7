"""Every kernel of a block is the torch layer, computed otherwise: same keys, same numbers."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from graphrec.blocks.base import Kernel
from graphrec.nn import Jagged
from graphrec.verify.block.example import Example, Value, call, tensors, values_of
from graphrec.verify.block.verdict import Skipped, Unfit, reported

__all__ = ["check_kernels"]

_TOLERANCE = 1e-4
"""Of the largest number of a result: single precision, sums in another order."""


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
    plain = example.layer().to(_device())
    other = example.layer(name).to(_device())
    other.load_state_dict(plain.state_dict())
    results = []
    for layer in (plain, other):
        layer.eval()
        inputs = [_moved(x) for x in tensors(example.inputs, example.lengths, torch.float32)]
        leaves = [values_of(x).requires_grad_() for x in inputs]
        outputs = reported(f"kernel {name}", lambda: call(layer, inputs))  # noqa: B023
        weights = dict(layer.named_parameters())
        total = sum(values_of(o).square().sum() for o in outputs)
        assert isinstance(total, Tensor)
        wanted = [*leaves, *weights.values()]
        gradients = torch.autograd.grad(total, wanted, allow_unused=True)
        named = dict(zip([*example.input_names, *weights], gradients, strict=True))
        results.append(
            {f"output {i}": values_of(o).detach() for i, o in enumerate(outputs)}
            | {f"the gradient of `{key}`": value for key, value in named.items()}
        )
    for what, right in results[0].items():
        _compare(results[1][what], right, f"kernel {name}: {what}")


def _moved(x: Value) -> Value:
    return x.to(_device()) if isinstance(x, Jagged) else x.to(_device())


def _compare(actual: Tensor | None, right: Tensor | None, what: str) -> None:
    if actual is None or right is None:
        if (actual is None) != (right is None):
            raise Unfit(f"{what} is {'missing' if actual is None else 'there, torch has none'}")
        return
    if actual.shape != right.shape:
        raise Unfit(f"{what} is {list(actual.shape)}, torch's {list(right.shape)}")
    if not right.numel():
        return
    largest = max(float(right.abs().max()), 1e-6)
    off = float((actual - right).abs().max()) / largest
    if not off <= _TOLERANCE:
        raise Unfit(f"{what} differs from torch's by {off:.3g} of its largest number")
