"""Faults planted in the kernels of `linear_norm_act`: each must be found."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch
from agreement import check_mlp
from interpreter_watch import watch
from planting import plant
from triton.runtime.errors import InterpreterError

from graphrec.kernels.ops.linear_norm_act import linear_norm_act_backward
from graphrec.nn.dense import MLP

FUSED = "graphrec.kernels.triton.linear_norm_act"
ROWS = "graphrec.kernels.triton.layer_norm"
ACTIVATIONS = "graphrec.kernels.triton.activations"
GEMM = "graphrec.kernels.triton.gemm"

FAULTS = [
    # (what is wrong, module, the line as it is, as it is then)
    ("nothing", ROWS, "d *= scale", "d *= scale"),
    ("padding in the variance", ROWS, "tl.where(in_n[None, :], z - mean[:, None], 0.0)", "z - mean[:, None]"),
    ("no mean", ROWS, "z - mean[:, None], 0.0", "z, 0.0"),
    ("eps outside the root", ROWS, "tl.sqrt(variance + tl.full(variance.shape, EPS, ACC))", "tl.sqrt(variance)"),
    ("gamma is left out", ROWS, "d *= scale", "d *= 1.0"),
    ("the mean of the gradient", ROWS, "(d - mean[:, None] - row", "(d - row"),
    ("the part along the row", ROWS, "- row * along[:, None])", "- along[:, None])"),
    ("the slope before beta", ROWS, "row * scale + shift, ACT", "row * scale, ACT"),
    ("beta and gamma changed places", ROWS, "tl.store(at, tl.sum(gamma_total, 0)", "tl.store(at, tl.sum(beta_total, 0)"),
    ("sums of the last block", ROWS, "gamma_total += d * row", "gamma_total = d * row"),
    ("sums over each other", ROWS, "        at += programs * columns", "        at += 0"),
    ("only the first rows of a program", ROWS, "rows, programs * BM", "BM * 3, programs * BM"),
    ("the stride of dz", ROWS, "m[:, None] * dz_stride", "m[:, None] * columns"),
    ("beta is left out of wide rows", ROWS, "ACC) + across(beta, n, in_n, ACC)", "ACC)"),
    ("rows beyond the last", ROWS, "inside = (m < rows)[:, None] & in_n[None, :]\n    at", "inside = (m < rows + 1)[:, None] & in_n[None, :]\n    at"),
    ("the padding counts", FUSED, "normalised(acc, n < columns, columns,", "normalised(acc, n < y_stride, y_stride,"),
    ("z is kept too late", FUSED, "z + at, acc.to", "z + at, activate(acc, ACT).to"),
    ("gamma of narrow rows", FUSED, "across(gamma, n, in_n", "across(gamma, n, n < 16"),
    ("stores at the true width", FUSED, "m[:, None] * y_stride", "m[:, None] * columns"),
    ("one block of rows", FUSED, "tl.program_id(0).to(tl.int64) * BM", "tl.program_id(0).to(tl.int64) * 0"),
    ("the slope of tanh from its input", ACTIVATIONS, 'ACT == "sigmoid" or ACT == "tanh"', 'ACT == "sigmoid"'),
    ("the second result", GEMM, "tl.store(second + n", "tl.store(first + n"),
    ("the first results only", GEMM, "sums += which * programs", "sums += 0 * programs"),
]  # fmt: skip


def layer(depth: int, columns: int, act: str, kind: type[MLP]) -> MLP:
    return kind(depth, [columns], act, "layer")


def check_all() -> None:
    """What the ordinary tests ask, in short: both ways, tails, and every address."""
    for act, rows, depth, columns in (
        ("silu", 37, 18, 40),
        ("tanh", 70, 3, 17),
        ("relu", 18, 5, 100),
        ("sigmoid", 5, 2, 6),
    ):
        with watch():
            check_mlp(partial(layer, depth, columns, act), rows, torch.float64)
    torch.manual_seed(0)
    grad, z = torch.randn(2, 33 * 16 + 40, 4)  # more blocks of rows than programs
    gamma, beta = (torch.randn(4, requires_grad=True) for _ in range(2))
    wanted = torch.nn.functional.layer_norm(z.requires_grad_(), [4], gamma, beta)
    exact = torch.autograd.grad(wanted, [z, gamma, beta], grad)
    tensors = grad, z, torch.eye(4), z, gamma, beta
    dx, _, _, *sums = linear_norm_act_backward(
        *(t.detach() for t in tensors), 1e-5, "none", True, False, False, True
    )
    torch.testing.assert_close([dx, *sums], list(exact), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("what", "module", "old", "new"), FAULTS, ids=[f[0] for f in FAULTS])
def test_planted_faults_are_found(what, module, old, new, tmp_path, monkeypatch, launches) -> None:
    plant(module, old, new, tmp_path, monkeypatch)
    monkeypatch.setattr(sys.modules[ROWS], "MOST_PROGRAMS", 33)
    launches.append("of the copies")  # the spy watches the real kernels
    if what == "nothing":
        check_all()
        return
    with pytest.raises((AssertionError, InterpreterError)):
        check_all()
