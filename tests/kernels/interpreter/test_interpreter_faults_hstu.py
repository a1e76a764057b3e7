"""Faults planted in HSTU's kernels: each must be found."""

from __future__ import annotations

import pytest
import torch
from hstu_checks import agrees, at_edges, given, run
from interpreter_watch import watch
from planting import plant
from triton.runtime.errors import InterpreterError

from graphrec.kernels.ops.hstu_attention import hstu_attention

PAIRS = "graphrec.kernels.triton.hstu_pairs"
AHEAD = "graphrec.kernels.triton.hstu_attention"
BACK = f"{AHEAD}_backward"

LOW = """\
    close = tl.log(tl.maximum(apart, 1).to(tl.float32)) * PER_E
    bucket = tl.minimum(close.to(tl.int32), BUCKETS - 1)
    bucket = tl.where(tl.load(limits + bucket) > apart, bucket - 1, bucket)
    behind = tl.minimum(bucket + 1, BUCKETS - 1)
    return tl.where(tl.load(limits + behind) <= apart, behind, bucket)
"""
HARMLESS = {"nothing", "a low logarithm"}
"""The bucket is right even if a GPU's logarithm is a little off."""
FAULTS = [
    # (what is wrong, module, the text as it is, as it is then)
    ("nothing", AHEAD, "k += head * D", "k += head * D"),
    ("a step does not meet itself", PAIRS, "(met | (step == key))", "met"),
    ("rows meet", PAIRS, " & (begin == key_begin)", ""),
    ("candidates meet", PAIRS, "tl.minimum(at, history)\n    first", "at\n    first"),
    ("the window is one wider", PAIRS, "before <= WINDOW", "before <= WINDOW + 1"),
    ("no window", PAIRS, "WINDOW > 0", "WINDOW < 0"),
    ("the context sees no history", PAIRS, "    if CONTEXT:", "    if False:"),
    ("the context sees candidates", PAIRS, "(key_marks & 2) != 0", "(key_marks & 2) >= 0"),
    ("the context is one longer", PAIRS, "(at < first).to", "(at <= first).to"),
    ("the context is many steps", PAIRS, "tl.maximum(stand - first + 1, 0)", "stand"),
    ("distances beyond the last", PAIRS, "POSITIONS - 1, 0))", "POSITIONS - 2, 0))"),
    ("distances with their sign", PAIRS, "tl.abs(stand - key_stand)", "stand - key_stand"),
    ("the bucket is not mended", PAIRS, "> apart, bucket - 1, bucket)", "> apart, bucket, bucket)"),
    ("a low logarithm", PAIRS, "3.3222591362126246", "3.3122591362126246"),
    ("a low logarithm, not mended", PAIRS, LOW, LOW.replace("PER_E", "3.31").replace("<=", "<")),
    ("a bucket behind the last", PAIRS, "tl.minimum(bucket + 1, BUCKETS - 1)", "bucket + 1"),
    ("the search is off by one", PAIRS, "other=0) <= step", "other=0) < step"),
    ("the search ends early", PAIRS, "(rows - 1).bit_length()", "(rows - 1).bit_length() - 1"),
    ("the slope of a sigmoid", PAIRS, "share * (1.0 + s * (1.0 - share))", "share * (1.0 - share)"),
    ("strides in other units", AHEAD, "    stride *= UNIT", "    stride *= 1"),
    ("values in other units", AHEAD, "v_stride *= UNIT", "v_stride *= 1"),
    ("no scale", AHEAD, "tl.sigmoid(s) * INVERSE", "tl.sigmoid(s)"),
    ("no sigmoid", AHEAD, "s * tl.sigmoid(s)", "s"),
    ("the padding of a head counts", AHEAD, "(width // heads) ** -0.5", "head ** -0.5"),
    ("values of the first head", AHEAD, "    v += head * E\n", ""),
    ("keys of the first head", AHEAD, "    k += head * D\n", ""),
    ("the own step is not reached", AHEAD, "heads * OWN + OWN)", "heads * OWN + OWN - 1)"),
    ("the future is not read", AHEAD, "if not CONTEXT", "if True"),
    ("a NaN meets its neighbours", AHEAD, "if any_nan(total)", "if any_nan(tl.zeros_like(total))"),
    ("the first tile of keys again", AHEAD, "        v += OTHERS * v_stride\n", ""),
    ("the queries' gradient unscaled", BACK, "(dq * ALPHA)", "dq"),
    ("the keys' gradient unscaled", BACK, "(dk * ALPHA)", "dk"),
    ("values without their weight", BACK, "value * INVERSE, 0.0)", "value, 0.0)"),
    ("earlier queries are left out", BACK, "if not CONTEXT:\n        low", "if True:\n        low"),
    ("later keys are left out", BACK, "if not CONTEXT:\n        high", "if True:\n        high"),
    ("all sums at the first distance", BACK, "distance_sums + apart", "distance_sums + apart * 0"),
    ("no sums by time", BACK, "SUMS & (BUCKETS > 0)", "False & (BUCKETS > 0)"),
    ("sums are added twice", BACK, "True,\n                        False, TYPE", "True,\n                        True, TYPE"),
    ("only the last keys", BACK, "met, k_tile, dq,", "met, k_tile, dq * 0,"),
    ("only the last queries", BACK, "met, g_tile, dv,", "met, g_tile, dv * 0,"),
    ("gradients of the first head", BACK, "    grad += head * E\n", ""),
    ("a NaN meets its keys", BACK, "if any_nan(dk) | any_nan(dv)", "if any_nan(tl.zeros_like(dk))"),
    ("a NaN meets its queries", BACK, "if any_nan(dq)", "if any_nan(tl.zeros_like(dq))"),
]  # fmt: skip


def check_all() -> None:
    """What the ordinary tests ask, in short: masks, biases, edges, tails, every address, NaN."""
    with watch():
        agrees(given((0, 3, 22, 1), 6, 3, 2), torch.float64, 1e-12)
        everything = {"candidates": 2, "window": 6, "context": 3, "positions": 5}
        agrees(given((0, 2, 23, 1, 9), 5, 18, 2, **everything), torch.float64, 1e-12)
        agrees(given((30,), 2, 2, 1, buckets=3), torch.float64, 1e-12)
    agrees(at_edges(), torch.float64, 1e-12)
    spoilt = given((3, 2, 20), 4, 4, 1, dtype=torch.float32, positions=3)
    whole = run(hstu_attention, spoilt, torch.float32)
    for name in ("q", "k", "v"):
        spoilt[name][1] = float("nan")
    found = run(hstu_attention, spoilt, torch.float32)
    for result, right in zip(found[:4], whole, strict=False):
        assert result[:3].isnan().any()
        torch.testing.assert_close(result[3:], right[3:])
    ends = given((3, 2, 20), 4, 4, 1, dtype=torch.float32, positions=30)
    before = run(hstu_attention, ends, torch.float32)[4]
    ends["v"][0] = float("inf")
    after = run(hstu_attention, ends, torch.float32)[4]
    torch.testing.assert_close(after[5:], before[5:])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
@pytest.mark.parametrize(("what", "module", "old", "new"), FAULTS, ids=[f[0] for f in FAULTS])
def test_planted_faults_are_found(what, module, old, new, tmp_path, monkeypatch, launches) -> None:
    plant(module, old, new, tmp_path, monkeypatch)
    launches.append("of the copies")  # the spy watches the real kernels
    if what in HARMLESS:
        check_all()
        return
    with pytest.raises((AssertionError, InterpreterError)):
        check_all()
