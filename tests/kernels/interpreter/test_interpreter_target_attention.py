"""The kernels of target attention, run by Triton's interpreter through the public layer."""

from __future__ import annotations

import pytest
import torch
from attention_checks import check_dead_units, check_large_values, check_scores, of_layer
from histories import LENGTHS, check_din, drawn
from interpreter_watch import watch

from graphrec.kernels import TritonDIN
from graphrec.kernels.ops.reference import FUSED
from graphrec.kernels.ops.segments import jagged_softmax_sum
from graphrec.kernels.ops.step_linear import step_linear_act
from graphrec.kernels.ops.target_attention import target_attention
from graphrec.kernels.triton import segments, step_linear_backward, target_attention_backward
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


def split():
    """What the operators take, in fp64."""
    tensors = of_layer(FEW, 4, 3)
    inputs = [t.requires_grad_() if t.is_floating_point() else t for t in tensors]
    return inputs[:6], inputs[6:]


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


@pytest.mark.parametrize("shift", [-300.0, -5000.0, 300.0, 0.0])
def test_scores_far_from_zero(shift) -> None:
    check_scores(shift)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_only_a_row_with_a_nan_is_nan() -> None:
    check_large_values()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_unit_that_is_off_passes_no_nan() -> None:
    check_dead_units()


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
    for module in (target_attention_backward, step_linear_backward):
        monkeypatch.setattr(module, "_MOST_PROGRAMS", 2)
    check_din(8, 16, ONE)
    check_din(8, 16, DEEP)


@pytest.mark.parametrize("columns", [16, 32])
def test_other_tiles_give_the_same(columns) -> None:
    _, steps = drawn(4, 20)
    scores = torch.randn(sum(LENGTHS))
    inputs = scores, steps.values, torch.tensor([0, *LENGTHS]).cumsum(0)
    tile = SegmentTile(64, columns, 0, 4, 1)
    out, norm = segments.forward(*inputs)
    torch.testing.assert_close(segments.forward(*inputs, tile), (out, norm))
    wanted = segments.backward(out, *inputs, out, norm)
    torch.testing.assert_close(segments.backward(out, *inputs, out, norm, tile), wanted)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_tile_that_is_careful_from_the_start_gives_the_same() -> None:
    inputs = of_layer((3, 2, 20), 8, 16, torch.float32)
    out, norm = target_attention(*inputs, "silu")
    careful = SegmentTile(16, 0, 0, 4, 1, careful=True)
    for bad in (0.0, float("nan")):
        grad = torch.ones_like(out)
        grad[1] += bad
        wanted = target_attention_backward.backward(grad, *inputs, out, norm, "silu")
        found = target_attention_backward.backward(grad, *inputs, out, norm, "silu", careful)
        torch.testing.assert_close(found, wanted, equal_nan=True)
        assert found[0].isfinite().all() == (bad == 0)
        assert found[0][[0, 2]].isfinite().all()


def test_layers_too_wide_for_the_kernels_are_left_to_torch(launches) -> None:
    inputs = [t.float() for t in of_layer(FEW, 65, 3)]
    inputs[3] = inputs[3].long()
    out, _ = target_attention(*(t.requires_grad_(t.is_floating_point()) for t in inputs), "relu")
    out.sum().backward()
    assert not launches
    launches.append("none: that was the test")


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
