"""Faults planted in the kernels of target attention: each must be found."""

from __future__ import annotations

import importlib

import pytest
import torch
from attention_checks import check_dead_units, check_large_values, check_scores
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
    ("the sum is not rescaled", ROWS, "total *= shrink[:, None]", "total *= 1.0"),
    ("no largest score", ROWS, "tl.maximum(top, tl.max(s, 1))", "top"),
    ("a NaN meets its neighbours", ROWS, "tl.abs(wide) <", "0.0 * tl.abs(wide) != "),
    ("only fp16 is finite", ROWS, '< float("inf")', "< 65504.0"),
    ("a NaN is lost", ROWS, "total += marks[:, None]", "total += 0.0 * tl.zeros_like(total)"),
    ("no NaN is seen", ROWS, "(x != x)", "(x < x)"),
    ("careless with a NaN", FUSED, "if any_nan(total)", "if any_nan(tl.zeros_like(total))"),
    ("careless with its gradient", FUSED_BACK, "elif any_nan(dq) | any_nan(dpart)", "elif False"),
    (
        "careless over columns",
        SEGMENTS,
        "FEW, BN, True\n        )\n    some",
        "FEW, BN, False\n        )\n    some",
    ),
    ("low scores vanish", FUSED, "-1e38", "-100.0"),
    ("low scores vanish in sums", SEGMENTS, "-1e38", "-100.0"),
    (
        "empty rows have a sum",
        FUSED,
        "tl.where(some, top + tl.log(whole), 0.0)",
        "top + tl.log(whole)",
    ),
    (
        "empty rows have a sum of exponentials",
        SEGMENTS,
        "tl.where(some, top + tl.log(whole), 0.0)",
        "top + tl.log(whole)",
    ),
    (
        "a unit that is off passes NaN",
        f"{PLACE}activations",
        "d = tl.where(kept <= 0.0, 0.0, d)",
        "d *= slope(kept, ACT)",
    ),
    (
        "weights of the first steps only",
        STEP_BACK,
        "range(program * BT, steps, programs * BT)",
        "range(program * BT, program * BT + BT, programs * BT)",
    ),
    ("widths in other units", STEP, "depth *= UNIT", "depth *= 1"),
    ("strides in other units", STEP_BACK, "    dz_stride *= DZ_UNIT\n    first", "    first"),
    ("empty rows divide by zero", FUSED, "tl.where(some, whole, 1.0)", "whole"),
    ("the product is lost", FUSED, "(q * k.to(ACC))", "(k.to(ACC))"),
    ("the part of another row", FUSED, "part + row[:, None] * H", "part + 0 * row[:, None] * H"),
    ("no shift by the row's sum", FUSED_BACK, "- value_of_row(inside, delta)", ""),
    ("the keys' own gradient", FUSED_BACK, "p[:, None] * g + q * u", "q * u"),
    ("the query's share", FUSED_BACK, "p[:, None] * g + q * u", "p[:, None] * g"),
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
    ("the next columns", SEGMENTS, "met += gradients", "met = gradients"),
]


def check_all() -> None:
    """What the ordinary tests ask, in short: both roads, tails, every address, NaN."""
    lengths = (0, 3, 0, 1, 18, 2, 0)
    for name in (FUSED_BACK, STEP_BACK):  # the copies: they are gone after the test
        importlib.import_module(name)._MOST_PROGRAMS = 1
    with watch():
        check_din(5, 18, (20,), "silu", lengths=lengths)
        check_din(5, 18, (20, 3), "gelu", lengths=lengths)
    query, steps = drawn(16, 16, (3, 2))
    steps.values[0, 5] = float("nan")
    y = TritonDIN(16, 16, [16])(query, steps)
    assert y[0].isnan().all()
    assert torch.isfinite(y[1]).all()
    check_scores(-5000.0)
    check_large_values()
    check_dead_units()


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
