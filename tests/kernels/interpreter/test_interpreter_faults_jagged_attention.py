"""Faults planted in the kernels of attention among steps: each must be found."""

from __future__ import annotations

import pytest
import torch
from agreement import check_twin
from attention_checks import check_low_scores_of_heads
from histories import drawn
from interpreter_watch import watch
from planting import plant
from triton.runtime.errors import InterpreterError

from graphrec.kernels import TritonSelfAttention
from graphrec.kernels.ops.jagged_attention import jagged_attention
from graphrec.nn.attention import SelfAttention

AHEAD = "graphrec.kernels.triton.jagged_attention"
BACK = f"{AHEAD}_backward"

FAULTS = [
    # (what is wrong, module, the text as it is, as it is then)
    ("nothing", AHEAD, "top = higher", "top = higher"),
    ("no rescaling", AHEAD, "whole * shrink + tl.sum", "whole + tl.sum"),
    ("the sum is not rescaled", AHEAD, "total *= shrink[:, None]", "total *= 1.0"),
    ("no largest score", AHEAD, "tl.maximum(top, tl.max(s, 1))", "top"),
    ("low scores vanish", AHEAD, "-1e38", "-100.0"),
    ("strides in other units", AHEAD, "stride *= UNIT", "stride *= 1"),
    ("keys of the rows before", AHEAD, "(key[None, :] >= begin[:, None]) & ", ""),
    ("keys of the rows behind", AHEAD, " & (key[None, :] < end[:, None])", ""),
    (
        "the last keys are left out",
        AHEAD,
        "range(low, high, OTHERS)",
        "range(low, high - OTHERS, OTHERS)",
    ),
    (
        "the first key is left out",
        AHEAD,
        "low = tl.load(ends + first)",
        "low = tl.load(ends + first) + 1",
    ),
    ("rows end where the tile does", AHEAD, "tl.load(ends + steps + tl.minimum", "(tl.minimum"),
    ("the padding of a head counts", AHEAD, "(width // heads) ** -0.5", "head ** -0.5"),
    ("values of the first head", AHEAD, "    v += head * D\n", ""),
    ("the sums are in base 2", AHEAD, "tl.log2(whole)) / LOG2E", "tl.log2(whole))"),
    ("a NaN meets its neighbours", AHEAD, "if any_nan(total)", "if any_nan(tl.zeros_like(total))"),
    ("steps behind the last are kept", AHEAD, "here = own < steps", "here = own < steps + 1"),
    ("the search is off by one", AHEAD, "other=0) <= step", "other=0) < step"),
    ("the search ends early", AHEAD, "(rows - 1).bit_length()", "(rows - 1).bit_length() - 1"),
    ("no shift by the row's sum", BACK, "p * (dp - delta[:, None])", "p * dp"),
    ("no shift for the keys", BACK, "p * (dp - shift[None, :])", "p * dp"),
    ("the queries' gradient unscaled", BACK, "dq * (SCALE / LOG2E)", "dq"),
    ("the keys' gradient unscaled", BACK, "dk * (SCALE / LOG2E)", "dk"),
    ("sums of the first head", BACK, "    norm += head.to(tl.int64) * steps\n", ""),
    ("queries of the rows before", BACK, "(query[None, :] >= begin[:, None]) & ", ""),
    (
        "only the last queries",
        BACK,
        "row_sums(p, inside, g_tile, dv,",
        "row_sums(p, inside, g_tile, dv * 0,",
    ),
    (
        "only the last keys",
        BACK,
        "row_sums(ds, inside, k_tile, dq,",
        "row_sums(ds, inside, k_tile, dq * 0,",
    ),
    ("a NaN meets its keys", BACK, "if any_nan(dk) | any_nan(dv)", "if any_nan(tl.zeros_like(dk))"),
    ("a NaN meets its queries", BACK, "if any_nan(dq)", "if any_nan(tl.zeros_like(dq))"),
]


def check_all() -> None:
    """What the ordinary tests ask, in short: tails, padded heads, every address, NaN."""
    lengths = (0, 3, 0, 22, 1, 4, 0)
    with watch():
        check_twin(
            lambda kind: kind(6, 18, 2),
            TritonSelfAttention,
            SelfAttention,
            drawn(1, 6, lengths)[1:],
            torch.float64,
            1e-12,
        )
    check_low_scores_of_heads()
    torch.manual_seed(0)
    q, k, v, grad = torch.randn(4, 5, 16).unbind()
    for x in (k, v, grad):
        x[0, 2] = float("nan")
    q.requires_grad_(), k.requires_grad_(), v.requires_grad_()
    y, norm = jagged_attention(q, k, v, torch.tensor([0, 3, 5]), 1)
    torch.testing.assert_close(norm[0, 3:], ((q[3:] @ k[3:].T) / 4).logsumexp(1))
    for result in (y, *torch.autograd.grad(y, (q, k, v), grad)):
        assert result[:3].isnan().any()
        assert result[3:].isfinite().all()


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
