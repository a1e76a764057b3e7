"""The kernels of target attention, run by Triton's interpreter through the public layer."""

from __future__ import annotations

import pytest
import torch
from histories import LENGTHS, check_din, drawn
from interpreter_watch import watch

from graphrec.kernels import TritonDIN
from graphrec.kernels.ops.reference import FUSED
from graphrec.kernels.ops.segments import jagged_softmax_sum
from graphrec.kernels.ops.step_linear import step_linear_act
from graphrec.kernels.ops.target_attention import target_attention
from graphrec.kernels.triton import segments, target_attention_backward
from graphrec.kernels.triton.attention_tiles import SegmentTile
from graphrec.nn.batch import Jagged
from graphrec.nn.sequence import DIN

ONE, DEEP = (24,), (40, 8)
each_road = pytest.mark.parametrize("hidden", [ONE, DEEP], ids=["one", "deep"])
FEW = (2, 0, 3)


@pytest.mark.parametrize("act", FUSED)
def test_every_activation_in_fp32(act, launches) -> None:
    check_din(8, 16, ONE, act, torch.float32, LENGTHS[:8])
    assert launches == ["attention_kernel", "attention_backward_kernel", "step_weights_kernel"]


@pytest.mark.parametrize("act", ["relu", "gelu", "none"])
def test_deep_scorers(act, launches) -> None:
    check_din(18, 18, DEEP, act, torch.float64, LENGTHS[:9])
    assert [name for name in launches if name.startswith(("step", "softmax", "row"))] == [
        "step_linear_kernel",
        "softmax_sum_kernel",
        "softmax_sum_backward_kernel",
        "step_inputs_kernel",
        "row_sum_kernel",
        "step_weights_kernel",
    ]


@each_road
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision(hidden, dtype) -> None:
    check_din(16, 32, hidden, "silu", dtype, LENGTHS[:8])


@pytest.mark.parametrize(
    ("query", "depth", "hidden"),
    [(1, 1, (1,)), (33, 33, (48,)), (5, 64, (17,)), (4, 70, (20,)), (7, 20, (66, 3, 5))],
)
def test_odd_widths(query, depth, hidden) -> None:
    check_din(query, depth, hidden, lengths=LENGTHS[1:9], bias=depth != 33)


@each_road
@pytest.mark.parametrize(
    "lengths", [(0, 0, 0), (1,), (0,), (37,), (0, 0, 0, 0, 0, 0, 4), (1,) * 11, (5, 0, 0, 0, 0, 0)]
)
def test_odd_histories(hidden, lengths, launches) -> None:
    check_din(6, 16, hidden, lengths=lengths)


@each_road
def test_no_rows(hidden, launches) -> None:
    launches.append("none: there is nothing to do")
    query, steps = drawn(6, 16, ())
    assert TritonDIN(6, 16, hidden)(query, steps).shape == (0, 16)


def split(lengths=FEW, depth: int = 4, hidden: int = 3):
    """What the operators take, in fp64."""
    torch.manual_seed(3)
    rows, steps = len(lengths), sum(lengths)
    shapes = (rows, depth), (rows, hidden), (steps, depth), (hidden, depth), (hidden, depth)
    tensors = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    tensors.insert(3, torch.tensor([0, *lengths]).cumsum(0))
    weight, bias = torch.randn(hidden), torch.randn(1)
    return tensors, [t.double().requires_grad_() for t in (weight, bias)]


@pytest.mark.parametrize("act", ["silu", "tanh"])
def test_gradients_by_differences(act) -> None:
    inputs, out = split()
    options = {"fast_mode": True}
    assert torch.autograd.gradcheck(
        lambda *args: target_attention(*args, act)[0], (*inputs, *out), **options
    )
    assert torch.autograd.gradcheck(
        lambda *args: step_linear_act(*args, act, True)[0], inputs, **options
    )


def test_gradients_of_the_softmax_by_differences() -> None:
    inputs, _ = split()
    scores = torch.randn(5, dtype=torch.float64, requires_grad=True)
    both = (scores, inputs[2])
    assert torch.autograd.gradcheck(lambda s, v: jagged_softmax_sum(s, v, inputs[3])[0], both)


@each_road
def test_large_scores(hidden) -> None:
    query, steps = drawn(16, 16, LENGTHS[:8])
    twin, plain = TritonDIN(16, 16, hidden), DIN(16, 16, hidden)
    plain.load_state_dict(twin.state_dict())
    values = 300 * steps.values
    y = twin(300 * query, steps.replace(values))
    assert y.isfinite().all()
    torch.testing.assert_close(y, plain(300 * query, steps.replace(values)), rtol=1e-3, atol=1e-3)


@each_road
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_row(hidden, bad) -> None:
    lengths = (3, 2, 4, 1, 2, 3)
    query, steps = drawn(16, 16, lengths)
    values = steps.values.clone()
    values[3, 5] = bad  # a step of row 1
    query.requires_grad_()
    module = TritonDIN(16, 16, hidden)
    y = module(query, steps.replace(values))
    (grad,) = torch.autograd.grad(y.sum(), query)
    wanted = module(query, steps)
    others = [0, 2, 3, 4, 5]
    torch.testing.assert_close(y[others], wanted[others], rtol=0, atol=0)
    assert not y[1].isfinite().all()
    assert grad[others].isfinite().all()


@each_road
@pytest.mark.parametrize(("query", "depth"), [(5, 18), (16, 16)])
def test_every_address_is_inside(hidden, query, depth) -> None:
    with watch():
        check_din(query, depth, hidden)


@each_road
def test_equal_runs_give_equal_bits(hidden) -> None:
    query, steps = drawn(16, 16, LENGTHS[:8])
    module = TritonDIN(16, 16, hidden)
    runs = []
    for _ in range(2):
        y = module(query, steps)
        runs.append([y, *torch.autograd.grad(y.square().sum(), list(module.parameters()))])
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
    # Nor does a row depend on its neighbours, but by where its tile begins.
    alone = module(query[4:5], Jagged(steps.values[4:44], steps.lengths[4:5]))
    torch.testing.assert_close(alone[0], runs[0][0][4])


def test_a_program_takes_several_blocks_of_rows(monkeypatch) -> None:
    monkeypatch.setattr(target_attention_backward, "_MOST_PROGRAMS", 2)
    check_din(8, 16, ONE)


def test_other_tiles_give_the_same() -> None:
    _, steps = drawn(4, 20)
    scores = torch.randn(sum(LENGTHS))
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)
    small = segments.forward(scores, steps.values, offsets)
    large = segments.forward(scores, steps.values, offsets, SegmentTile(64, 32, 0, 4, 1))
    torch.testing.assert_close(small, large)


def test_autocast_reaches_the_kernels(launches) -> None:
    query, steps = drawn(16, 16, LENGTHS[:6])
    for hidden in (ONE, DEEP):
        twin, plain = TritonDIN(16, 16, hidden), DIN(16, 16, hidden)
        plain.load_state_dict(twin.state_dict())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y, wanted = twin(query, steps), plain(query, steps)
        assert y.dtype == wanted.dtype
        assert (y - wanted).norm() <= 5e-2 * wanted.norm()
    assert launches.count("attention_kernel") == launches.count("step_linear_kernel") == 1
