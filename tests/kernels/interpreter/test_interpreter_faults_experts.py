"""Faults planted in the kernels of the experts: each must be found by what the tests ask."""

from __future__ import annotations

import pytest
import torch
from agreement import check_twin
from interpreter_watch import watch
from planting import plant
from triton.runtime.errors import InterpreterError

from graphrec.kernels import TritonMMoE, TritonPLE
from graphrec.kernels.ops.experts import experts_act, experts_act_backward
from graphrec.kernels.ops.mix import mix_experts
from graphrec.nn import PLE, MMoE

EXPERTS = "graphrec.kernels.triton.experts"
MIX = "graphrec.kernels.triton.mix"

FAULTS = [
    # (what is wrong, module, the line as it is, as it is then)
    ("nothing", EXPERTS, "slot * (slot_stride", "slot * (slot_stride"),
    ("everyone reads the first slot", EXPERTS, "x + slot * (slot_stride * UNIT)", "x"),
    ("the last slot is not the limit", EXPERTS, "expert // per, slots - 1", "expert // per, slots"),
    ("a slot for each expert", EXPERTS, "expert // per, slots", "expert, slots"),
    ("the first expert's weights", EXPERTS, "expert.to(tl.int64) * columns", "0 * columns"),
    ("the first expert's bias", EXPERTS, "bias + expert * columns", "bias"),
    ("experts in the wrong rows", EXPERTS, "m[:, None] * experts + expert)", "m[:, None] * experts)"),
    ("the experts of other tiles", EXPERTS, "program // tiles % experts", "program // (tiles + 1) % experts"),
    ("a row ends in a vector", EXPERTS, "if x.shape[2] % multiple", "if False"),
    ("the padding of the experts", MIX, "more = -x.shape[2] % multiple", "more = 0"),
    ("the output is kept", EXPERTS, "z + at, acc.to", "z + at, activate(acc, ACT).to"),
    ("the stride of dz", EXPERTS, "dz + row * padded", "dz + row * columns"),
    ("columns of dz are left", EXPERTS, "(n < padded)[None, :]", "(n < columns)[None, :]"),
    ("sums of the wrong expert", EXPERTS, "program * experts + expert)", "program * experts)"),
    ("sums of the last block only", EXPERTS, "total += tl.sum(d, 0)", "total = tl.sum(d, 0)"),
    ("padding joins the softmax", MIX, "c < seen, tl.load", "c < C, tl.load"),
    ("the largest logit is not taken off", MIX, "value - top) * scale\n        term", "value) * scale\n        term"),
    ("all experts are seen", MIX, "expert % private, -1)", "expert % private, 0)"),
    ("the shared seats come first", MIX, "private + shared, own", "shared, own"),
    ("a weight of the wrong gate", MIX, "gates + g) * width\n    real = in_m[None, :] & (g < gates)\n    inside", "gates) * width\n    real = in_m[None, :] & (g < gates)\n    inside"),
    ("the first expert again", MIX, "tile += columns", "tile += 0"),
    ("the tail of the rows", MIX, "fits = real[:, :, None] & (d < columns)[None, None, :]\n    tl.store", "fits = (g < gates)[:, :, None] & (d < columns)[None, None, :]\n    tl.store"),
    ("one gate's gradient", MIX, "tl.sum(term, 0, keep_dims=True)", "tl.max(term, 0, keep_dims=True)"),
    ("the last columns only", MIX, "to_weights += tl.where", "to_weights = tl.where"),
    ("the softmax's own share", MIX, "to_weights - tl.sum(share * to_weights, 2)[:, :, None]", "to_weights"),
    ("the place is not moved on", MIX, "place += columns", "place += 0"),
]  # fmt: skip


def mmoe(kind: type[MMoE]) -> MMoE:
    return kind(17, 3, [33, 40], ["a", "b", "c"], activation="silu")


def ple(kind: type[PLE]) -> PLE:
    return kind(17, 2, ["a", "b", "c"], 2, 3, [20])


def check_all() -> None:
    """What the ordinary tests ask, in short: slots, padding, tails, and every address."""
    torch.manual_seed(0)
    with watch():
        check_twin(mmoe, TritonMMoE, MMoE, [torch.randn(35, 17)], torch.float64)
        check_twin(ple, TritonPLE, PLE, [torch.randn(5, 17)], torch.float64)
    torch.manual_seed(0)
    shapes = (9, 2, 17), (4, 19, 17)  # the layers above make their widths whole
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    wanted = torch.einsum("msk,senk->msen", inputs[0], inputs[1].view(2, 2, 19, 17)).flatten(1, 2)
    with watch():
        y = experts_act(*inputs, None, 2, "none", True)[0]
        grads = torch.autograd.grad(y, inputs, y.detach())
    exact = torch.autograd.grad(wanted, inputs, wanted.detach())
    torch.testing.assert_close((y, *grads), (wanted, *exact))
    many = torch.randn(512 * 32 + 40, 2, 3)
    sums = experts_act_backward(
        many, many, torch.ones(2, 3, 3), many, 1, "none", False, False, True
    )[2]
    torch.testing.assert_close(sums, many.sum(0), rtol=1e-4, atol=1e-3)
    logits, experts = torch.full((1, 1, 2), 1e4), torch.ones(1, 2, 3)
    torch.testing.assert_close(mix_experts(logits, experts, 0, 0), torch.ones(1, 1, 3))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each overflow
@pytest.mark.parametrize(("what", "module", "old", "new"), FAULTS, ids=[f[0] for f in FAULTS])
def test_planted_faults_are_found(what, module, old, new, tmp_path, monkeypatch, launches) -> None:
    plant(module, old, new, tmp_path, monkeypatch)
    launches.append("of the copies")  # the spy watches the real kernels
    if what == "nothing":
        check_all()
        return
    with pytest.raises((AssertionError, InterpreterError)):
        check_all()
