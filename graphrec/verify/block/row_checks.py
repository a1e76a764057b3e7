"""A row stands for itself: whatever its place, its company, and the length of their histories."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphrec.nn import Jagged
from graphrec.verify.block.example import Example, tensors
from graphrec.verify.block.verdict import Skipped, Unfit, mixes_rows, reported, smooth
from graphrec.verify.layer_calls import Value, call, values_of

__all__ = ["check_batches", "check_padding", "check_rows"]

_RELATIVE, _ABSOLUTE = 1e-9, 1e-11


def check_rows(example: Example) -> None:
    """Permuted rows give permuted results, and a row alone gives its own."""
    layer, lengths = smooth(example), list(example.lengths)
    if mixes_rows(layer):
        layer.eval()
    inputs = tensors(example.inputs, lengths)
    order = [(3 * i + 1) % len(lengths) for i in range(len(lengths))]
    order = order if len(set(order)) == len(order) else list(reversed(range(len(lengths))))
    whole = call(layer, inputs)
    picked = call(layer, [_take(x, order, lengths) for x in inputs])
    if example.block.is_loss:
        _compare(values_of(picked[0]), values_of(whole[0]), "the loss depends on the rows' order")
        return
    again = [lengths[i] for i in order]
    for before, after in zip(whole, picked, strict=True):
        rows, moved = _rows(before, lengths), _rows(after, again)
        for place, row in enumerate(order):
            _compare(moved[place], rows[row], f"row {row} gives another result at place {place}")
    for row in range(len(lengths)):
        alone = call(layer, [_take(x, [row], lengths) for x in inputs])
        for before, only in zip(whole, alone, strict=True):
            own = _rows(only, [lengths[row]])[0]
            message = f"row {row} alone gives another result than among {len(lengths)} rows"
            _compare(own, _rows(before, lengths)[row], message)


def check_padding(example: Example) -> None:
    """Longer histories in the same batch change nothing for a row."""
    if not example.has_history:
        raise Skipped("it reads no history")
    if example.block.is_loss:
        raise Skipped("a loss is one number for all rows")
    layer = smooth(example).eval()
    short = sorted(example.lengths)[:3]
    longest = max(example.lengths)
    lengths = [*short, longest]
    inputs = tensors(example.inputs, lengths)
    together = call(layer, inputs)
    first = list(range(len(short)))
    apart = call(layer, [_take(x, first, lengths) for x in inputs])
    for mixed, plain in zip(together, apart, strict=True):
        for row in first:
            _compare(
                _rows(mixed, lengths)[row],
                _rows(plain, short)[row],
                f"a history of {short[row]} steps gives another result beside one of {longest}:"
                " padding is counted",
            )


def check_batches(example: Example) -> None:
    """Batches of 0, 1 and odd sizes, histories without steps, with one and full: all finite."""
    longest = max(example.lengths)
    tried = [[0, 0, 0], [1, 1, 1], [0], [longest] * 5, []]
    for lengths in tried:
        layer = smooth(example)
        if len(lengths) < 2 and _needs_rows(layer):
            layer.eval()  # torch's batch norm refuses to train on a single row
        what = f"{len(lengths)} rows"
        if example.has_history:
            what += f" with histories of {lengths} steps"
        _finite(layer, tensors(example.inputs, lengths), example.input_names, what)


def _finite(layer: nn.Module, inputs: list[Value], names: Sequence[str], what: str) -> None:
    leaves = [values_of(x).requires_grad_() for x in inputs]
    outputs = reported(f"{what}", lambda: call(layer, inputs))
    total = sum(values_of(output).sum() for output in outputs)
    assert isinstance(total, Tensor)
    if not bool(total.isfinite()):
        raise Unfit(f"{what}: the result is not finite")
    if not total.requires_grad:
        return
    total.backward()  # type: ignore[no-untyped-call]
    named = {**dict(zip(names, leaves, strict=True)), **dict(layer.named_parameters())}
    for name, leaf in named.items():
        if leaf.grad is not None and not bool(leaf.grad.isfinite().all()):
            raise Unfit(f"{what}: the gradient of `{name}` is not finite")


def _needs_rows(layer: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in layer.modules())


def _rows(x: Value, lengths: Sequence[int]) -> list[Tensor]:
    return list(torch.split(x.values, list(lengths))) if isinstance(x, Jagged) else list(x)


def _take(x: Value, rows: Sequence[int], lengths: Sequence[int]) -> Value:
    if not isinstance(x, Jagged):
        return x[list(rows)]
    pieces = torch.split(x.values, list(lengths))
    values = torch.cat([pieces[row] for row in rows])
    return Jagged(values, torch.tensor([lengths[row] for row in rows]))


def _compare(actual: Tensor, wanted: Tensor, message: str) -> None:
    if actual.shape != wanted.shape:
        raise Unfit(f"{message}: {list(actual.shape)} instead of {list(wanted.shape)}")
    if not torch.allclose(actual, wanted, rtol=_RELATIVE, atol=_ABSOLUTE):
        raise Unfit(f"{message}, by {float((actual - wanted).detach().abs().max()):.3g}")
