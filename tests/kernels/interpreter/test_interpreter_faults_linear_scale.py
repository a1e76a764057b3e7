"""Faults planted in the kernels of `linear_scale`: each must be found."""

from __future__ import annotations

import sys

import pytest
import torch
from interpreter_watch import watch
from planting import plant
from triton.runtime.errors import InterpreterError

from graphrec.kernels.ops.linear_scale import linear_scale

SCALE = "graphrec.kernels.triton.linear_scale"

FAULTS = [
    # (what is wrong, the line as it is, as it is then)
    ("nothing", "d *= f", "d *= f"),
    ("no scale", "acc *= tl.full((1, 1), SCALE, ACC)", "acc *= 1.0"),
    ("no scale going back", "d *= tl.full((1, 1), SCALE, ACC)", "d *= 1.0"),
    ("no skip", "acc += tl.load(skip", "acc += 0.0 * tl.load(skip"),
    ("the stride of the skip", "m[:, None] * (skip_stride", "m[:, None] * (factor_stride"),
    ("the stride of the factor", "factor += m[:, None] * (factor_stride * UNIT)", "factor += m[:, None] * columns"),
    ("the factor beyond the last row", "in_m, in_n = m < rows", "in_m, in_n = m <= rows"),
    ("kept before the activation", "    acc = activate(acc, ACT)\n    if KEEP_OUTPUT:", "    if KEEP_OUTPUT:"),
    ("kept after the scale", "    acc = activate(acc, ACT)\n    if KEEP_OUTPUT:", "    acc = activate(acc, ACT) * SCALE\n    if KEEP_OUTPUT:"),
    ("no slope", "d = activation_backward(d, k, ACT)", "d = d"),
    ("the factor's gradient from the input", "activate(k, ACT) if KEPT_INPUT else k", "k"),
    ("the factor's gradient from the output", "activate(k, ACT) if KEPT_INPUT else k", "activate(k, ACT)"),
    ("the factor is left out", "d *= f", "d *= 1.0"),
    ("the stride of a view going back", "factor + m[:, None] * factor_stride", "factor + m[:, None] * columns"),
    ("the stride of dz", "dz + m[:, None] * dz_stride", "dz + m[:, None] * columns"),
    ("sums before the factor", "        d *= f\n", "        if NEED_BIAS:\n            total += d - d * f\n        d *= f\n"),
    ("sums of the last block", "total += d", "total = d"),
    ("sums of the wrong program", "sums + program * columns", "sums + 0 * columns"),
    ("only the first rows of a program", "rows, programs * BM", "BM * 3, programs * BM"),
]  # fmt: skip


def check_all() -> None:
    """What the ordinary tests ask, in short: tails, views, each kind of kept tensor, addresses."""
    for act, rows, depth, columns, wide in (
        ("sigmoid", 37, 18, 16, 48),
        ("silu", 40, 3, 17, 17),
        ("none", 200, 4, 16, 32),
    ):
        torch.manual_seed(0)
        shapes = (rows, depth), (columns, depth), (columns,), (rows, wide), (rows, columns)
        x, weight, bias, factor, skip = (torch.randn(s, dtype=torch.float64) for s in shapes)
        inputs = [x, weight, bias, factor[:, :columns], skip]
        for tensor in inputs:
            tensor.requires_grad_()
        with watch():
            y = linear_scale(*inputs, act, 1.7, True)[0]
            grads = torch.autograd.grad(y, inputs, y.detach())
        z = torch.nn.functional.linear(*inputs[:3])
        a = {"sigmoid": torch.sigmoid, "silu": torch.nn.functional.silu, "none": torch.clone}[act](
            z
        )
        exact = 1.7 * inputs[3] * a + skip
        wanted = [exact, *torch.autograd.grad(exact, inputs, exact.detach())]
        torch.testing.assert_close([y, *grads], wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("what", "old", "new"), FAULTS, ids=[f[0] for f in FAULTS])
def test_planted_faults_are_found(what, old, new, tmp_path, monkeypatch, launches) -> None:
    plant(SCALE, old, new, tmp_path, monkeypatch)
    monkeypatch.setattr(sys.modules[SCALE], "MOST_PROGRAMS", 5)
    launches.append("of the copies")  # the spy watches the real kernels
    if what == "nothing":
        check_all()
        return
    with pytest.raises((AssertionError, InterpreterError)):
        check_all()
