"""Faults planted in the kernels: each must be found, or the other tests prove little."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch
import triton
import triton.language as tl
from agreement import check_mlp
from interpreter_watch import watch
from planting import plant
from triton.runtime.errors import InterpreterError

from graphrec.kernels.ops.linear_act import linear_act, linear_act_backward
from graphrec.nn.dense import MLP

LINEAR = "graphrec.kernels.triton.linear_act"
GEMM = "graphrec.kernels.triton.gemm"
ACTIVATIONS = "graphrec.kernels.triton.activations"

FAULTS = [
    # (what is wrong, module, the line as it is, as it is then)
    ("nothing", GEMM, "in_k = start + k < depth", "in_k = start + k < depth"),
    ("the tail of the sum, x not masked", GEMM, "in_m[:, None] & in_k[None, :]", "in_m[:, None]"),
    (
        "the tail of the sum is lost",
        GEMM,
        "range(0, depth, BK)",
        "range(0, depth // BK * BK, BK)",
    ),
    ("x is not moved on", GEMM, "x_tile += BK", "x_tile += 0"),
    ("the stride of the weights", LINEAR, "n * (weight_stride", "n * (x_stride"),
    ("rows of x beyond the last", LINEAR, "in_m, in_n = m < rows", "in_m, in_n = m < m + 1"),
    ("the bias is cut off", GEMM, "(row + n, mask=in_n", "(row + n, mask=n < 16"),
    ("the bias is added twice", GEMM, "to(ACC)[None, :]", "to(ACC)[None, :] * 2"),
    ("the output is kept", LINEAR, "z + at, acc.to", "z + at, activate(acc, ACT).to"),
    ("rows for columns", GEMM, "n = within // height * BN", "n = within % height * BN"),
    ("groups of tiles overlap", GEMM, "m = (first + within", "m = (first // 2 + within"),
    ("a lower last group", GEMM, "tl.minimum(down - first, 8)", "8"),
    ("only the first rows of a program", LINEAR, "rows, programs * BM", "BM * 3, programs * BM"),
    ("partial sums left out", GEMM, "range(0, programs, BM,", "range(0, programs - 1, BM,"),
    ("partial sums of the last block", GEMM, "total += tl.load(sums", "total = tl.load(sums"),
    ("sums of the wrong program", LINEAR, "sums + program * columns", "sums + 0 * columns"),
    ("sums of the last block only", LINEAR, "total += d", "total = d"),
    ("the stride of dz", LINEAR, "m[:, None] * dz_stride", "m[:, None] * columns"),
    ("the slope of silu", ACTIVATIONS, "s * (1.0 + kept * (1.0 - s))", "s * (1.0 + kept * s)"),
    ("the slope of gelu", ACTIVATIONS, "+ kept * density", "- kept * density"),
    ("the slope of tanh", ACTIVATIONS, "1.0 - kept * kept", "1.0 - kept"),
    ("the slope of sigmoid", ACTIVATIONS, "kept * (1.0 - kept)", "kept * (1.0 + kept)"),
    ("the slope of leaky_relu", ACTIVATIONS, "0.01, kept.dtype", "0.011, kept.dtype"),
    ("a unit that is off", ACTIVATIONS, "tl.where(kept <= 0.0, 0.0, d)", "d * slope(kept, ACT)"),
    ("tanh near 0", ACTIVATIONS, "near = tl.abs(x) < LIMIT", "near = tl.abs(x) < 0.0"),
    ("the series of tanh", ACTIVATIONS, "s * (2 / 15", "s * (1 / 15"),
    ("a row ends in a vector", GEMM, "more = -matrix.shape[1] % multiple", "more = 0"),
    ("weights end in a vector", GEMM, "more = -weight.shape[0] % multiple", "more = 0"),
    ("rows begin in a vector", GEMM, "begins = matrix", "begins = True or matrix"),
    ("less than a unit", LINEAR, "columns *= UNIT\n    m, n", "m, n"),
    ("a constant of gelu", ACTIVATIONS, "tl.erf(x * 0.7071067811865476)", "tl.erf(x * 0.7071)"),
]


def layer(depth: int, columns: int, act: str, kind: type[MLP]) -> MLP:
    return kind(depth, [columns], act)


def check_all() -> None:
    """What the ordinary tests ask, in short: each activation, tails, and every address."""
    for act, rows, depth, columns in (
        ("silu", 37, 45, 40),
        ("gelu", 5, 3, 50),
        ("tanh", 40, 32, 17),
        ("sigmoid", 3, 40, 4),
        ("leaky_relu", 9, 40, 36),
        ("relu", 70, 8, 8),
        ("none", 300, 4, 40),
    ):
        with watch():
            check_mlp(partial(layer, depth, columns, act), rows, torch.float64)
    view, weight = torch.randn(6, 48)[:, 16:32], torch.randn(5, 16)
    y = linear_act(view, weight, None, "none", False)[0]
    torch.testing.assert_close(y, view @ weight.t())
    odd = torch.randn(6, 45).double()[:, 3:19]  # no row begins at a whole vector
    y = linear_act(odd, odd[:5], None, "none", False)[0]
    torch.testing.assert_close(y, odd @ odd[:5].t())
    small = torch.tensor([[1e-6], [-1e-3], [0.2], [-0.3], [3.0]])
    y = linear_act(small, torch.ones(1, 1), None, "tanh", False)[0]
    torch.testing.assert_close(y, small.double().tanh().float(), rtol=3e-7, atol=0)
    grad, kept = torch.tensor([[float("nan"), float("inf"), 2.0]]), torch.tensor([[0, 0, 1.0]])
    dx = linear_act_backward(grad, kept, torch.eye(3), kept, "relu", True, False, False)[0]
    assert dx.tolist() == [[0, 0, 2]]
    many = torch.randn(33 * 32 + 40, 4)  # more blocks of rows than programs
    dx, _, sums = linear_act_backward(many, many, torch.eye(4), many, "none", True, False, True)
    assert torch.equal(dx, many)
    torch.testing.assert_close(sums, many.sum(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("what", "module", "old", "new"), FAULTS, ids=[f[0] for f in FAULTS])
def test_planted_faults_are_found(what, module, old, new, tmp_path, monkeypatch, launches) -> None:
    plant(module, old, new, tmp_path, monkeypatch)
    monkeypatch.setattr(sys.modules[LINEAR], "MOST_PROGRAMS", 33)
    launches.append("of the copies")  # the spy watches the real kernels
    if what == "nothing":
        check_all()
        return
    with pytest.raises((AssertionError, InterpreterError)):
        check_all()


@triton.jit
def copy_too_much(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i), mask=i < n)


@triton.jit
def store_too_much(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n))


@triton.jit
def race(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n), mask=i < n)


@triton.jit
def add_bf16(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i, mask=i < n)
    tl.store(y + i, v + v, mask=i < n)


@pytest.mark.parametrize(
    ("kernel", "dtype", "said"),
    [
        (copy_too_much, torch.float32, "OutOfBounds"),
        (store_too_much, torch.float32, "OutOfBounds"),
        (race, torch.float32, "Race"),
        (add_bf16, torch.bfloat16, "create_fadd on bf16"),
    ],
)
def test_the_helpers_see(kernel, dtype, said, launches) -> None:
    launches.append("of this file")
    x, y = torch.randn(100).to(dtype), torch.zeros(100, dtype=dtype)
    with watch(), pytest.raises(InterpreterError, match=said):
        kernel[(2,)](x, y, 100, 64)


def test_the_helpers_find_nothing_in_a_good_kernel(launches) -> None:
    launches.append("of this file")

    x, y = torch.randn(100), torch.zeros(100)
    with watch():
        good[(2,)](x, y, 100, 64)
    assert torch.equal(x, y)


@triton.jit
def good(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n), mask=i < n)
