"""Faults planted in the kernels of target attention: each must be found."""

from __future__ import annotations

import pytest
import torch
from histories import check_din, drawn
from interpreter_watch import watch
from planting import plant
from triton.runtime.errors import InterpreterError

from graphrec.kernels import TritonDIN

PLACE = "graphrec.kernels.triton."
ROWS, SEGMENTS = f"{PLACE}attention_rows", f"{PLACE}segments"
FUSED, FUSED_BACK = f"{PLACE}target_attention", f"{PLACE}target_attention_backward"
STEP, STEP_BACK = f"{PLACE}step_linear", f"{PLACE}step_linear_backward"

FAULTS = [
    # (what is wrong, module, the text as it is, as it is then)
    ("nothing", ROWS, "tl.minimum(rows - first, TAKES)", "tl.minimum(rows - first, TAKES)"),
    ("rows beyond the last", ROWS, "tl.minimum(rows - first, TAKES)", "(TAKES + 0 * rows)"),
    ("the step before belongs to the row", ROWS, "step[None, :] >= end", "step[None, :] > end"),
    (
        "earlier steps belong to the row",
        ROWS,
        "step[None, :] >= begin",
        "step[None, :] + 1 >= begin",
    ),
    ("no rescaling", ROWS, "whole * shrink + tl.sum", "whole + tl.sum"),
    ("the sum is not rescaled", ROWS, "total * shrink[:, None]", "total"),
    ("no largest score", ROWS, "tl.maximum(top, tl.max(s, 1))", "top"),
    ("a NaN meets its neighbours", ROWS, "tl.abs(x) <", "0.0 * tl.abs(x) != "),
    ("empty rows divide by zero", FUSED, "tl.where(some, whole, 1.0)", "whole"),
    ("the product is lost", FUSED, "(q * k.to(ACC))", "(k.to(ACC))"),
    ("the part of another row", FUSED, "part + row[:, None] * H", "part + 0 * row[:, None] * H"),
    ("no shift by the row's sum", FUSED_BACK, "- value_of_row(inside, delta)", ""),
    ("the keys' own gradient", FUSED_BACK, "p[:, None] * g + q * through", "q * through"),
    ("the query's share", FUSED_BACK, "p[:, None] * g + q * through", "p[:, None] * g"),
    ("sums of one tile only", FUSED_BACK, "out_sum += tl.sum", "out_sum = tl.sum"),
    ("steps of one block of rows", STEP_BACK, "steps, programs * BT", "BT, programs * BT"),
    ("the weights of the product", STEP_BACK, "tl.dot(d, product, of", "tl.dot(d, s, of"),
    ("the hidden layer's tail", STEP_BACK, "range(0, hidden, BK)", "range(0, hidden - BK, BK)"),
    (
        "the query of the first row",
        STEP,
        "query + row[:, None] * depth",
        "query + 0 * row[:, None]",
    ),
    ("the part is not added", STEP, "acc += tl.load(part", "acc += 0 * tl.load(part"),
    ("scores of other steps", SEGMENTS, "scores_grad + low + step", "scores_grad + step"),
    ("the next columns", SEGMENTS, "met += tl.sum", "met = tl.sum"),
]


def check_all() -> None:
    """What the ordinary tests ask, in short: both roads, tails, every address, NaN."""
    lengths = (0, 3, 0, 1, 18, 2, 0)
    with watch():
        check_din(5, 18, (20,), "silu", lengths=lengths)
        check_din(5, 18, (20, 3), "gelu", lengths=lengths)
    query, steps = drawn(16, 16, (3, 2))
    steps.values[0, 5] = float("nan")
    y = TritonDIN(16, 16, [16])(query, steps)
    assert y[0].isnan().all()
    assert torch.isfinite(y[1]).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
@pytest.mark.parametrize(("what", "module", "old", "new"), FAULTS, ids=[f[0] for f in FAULTS])
def test_planted_faults_are_found(what, module, old, new, tmp_path, monkeypatch, launches) -> None:
    plant(module, old, new, tmp_path, monkeypatch)
    launches.append("of the copies")  # the spy watches the real kernels
    if what == "nothing":
        check_all()
        return
    with pytest.raises((AssertionError, InterpreterError)):
        check_all()
