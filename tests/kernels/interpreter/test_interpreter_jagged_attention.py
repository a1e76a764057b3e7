"""The kernels of attention among steps, run by Triton's interpreter through the public layer."""

from __future__ import annotations

import pytest
import torch
from agreement import check_twin
from attention_checks import check_low_scores_of_heads
from histories import LENGTHS, TOLERANCE, drawn
from interpreter_watch import watch

from graphrec.kernels import TritonSelfAttention
from graphrec.kernels.ops.jagged_attention import jagged_attention
from graphrec.kernels.triton import jagged_attention as kernels
from graphrec.kernels.triton import jagged_attention_backward as kernels_backward
from graphrec.kernels.triton.jagged_attention_tiles import PairTile
from graphrec.nn.attention import SelfAttention
from graphrec.nn.batch import Jagged

ALL = ["row_ends_kernel", "jagged_attention_kernel"]
ALL += ["row_ends_kernel", "queries_grad_kernel", "keys_grad_kernel"]


def check(width, heads, dtype=torch.float64, lengths=LENGTHS, features=8, **options) -> None:
    _, steps = drawn(1, features, lengths)
    check_twin(
        lambda kind: kind(features, width, heads, **options),
        TritonSelfAttention,
        SelfAttention,
        (steps,),
        dtype,
        TOLERANCE[dtype],
    )


def offsets_of(lengths) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def projected(lengths, width, dtype=torch.float64, scale=1.0):
    torch.manual_seed(0)
    shape = sum(lengths), width
    return [(scale * torch.randn(shape, dtype=dtype)).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_precision(dtype, launches) -> None:
    check(32, 2, dtype)
    assert launches == ALL


@pytest.mark.parametrize(("width", "heads"), [(1, 1), (6, 3), (18, 1), (40, 2), (34, 2), (70, 1)])
def test_odd_widths(width, heads) -> None:
    check(width, heads, lengths=LENGTHS[1:9])


@pytest.mark.parametrize(
    "lengths",
    [(0, 0, 0), (1,), (0,), (37,), (0, 0, 0, 0, 4), (1,) * 19, (5, 0, 0), (16, 16), (15, 2, 0, 30)],
)
def test_odd_histories(lengths, launches) -> None:
    launches += [] if sum(lengths) else ["none: there is nothing to do"]
    check(16, 1, lengths=lengths)


@pytest.mark.parametrize(
    "options", [{"positions": 3}, {"skip": True, "norm": True}, {"pool": "none", "skip": True}]
)
def test_what_is_around_it(options) -> None:
    check(8, 2, lengths=LENGTHS[:5], **options)


def test_heads_too_wide_are_left_to_torch(launches) -> None:
    check(129, 1, lengths=(2, 3))
    assert not launches
    launches.append("none: that was the test")


def test_gradients_by_differences() -> None:
    inputs, offsets = projected((2, 0, 1), 4), offsets_of((2, 0, 1))
    assert torch.autograd.gradcheck(lambda *x: jagged_attention(*x, offsets, 2)[0], inputs)


def test_gradients_by_differences_over_several_tiles() -> None:
    inputs, offsets = projected((9, 19), 4), offsets_of((9, 19))
    assert torch.autograd.gradcheck(
        lambda *x: jagged_attention(*x, offsets, 1)[0], inputs, fast_mode=True
    )


def by_hand(q, k, v, lengths, heads):
    rows = []
    for a, b, c in zip(*(x.double().split(lengths) for x in (q, k, v)), strict=True):
        parts = [x.unflatten(1, (heads, -1)).transpose(0, 1) for x in (a, b, c)]
        scores = parts[0] @ parts[1].mT * parts[0].shape[-1] ** -0.5
        rows.append((scores.softmax(-1) @ parts[2]).transpose(0, 1).flatten(1))
    return torch.cat(rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_scores(dtype) -> None:
    lengths = [3, 0, 20, 1]
    q, k, v = projected(lengths, 32, dtype)
    far = [(30 * x.detach()).requires_grad_() for x in (q, k)]
    y = jagged_attention(*far, v, offsets_of(lengths), 2)[0]
    wanted = by_hand(*far, v, lengths, 2)
    assert (y - wanted).norm() <= TOLERANCE[dtype] * wanted.norm()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), [*far, v]))


def test_low_scores() -> None:
    check_low_scores_of_heads()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_what_is_not_finite_stays_in_its_row(which, bad) -> None:
    lengths = (3, 2, 4, 20, 2)
    inputs, offsets = projected(lengths, 16, torch.float32), offsets_of(lengths)
    grad = torch.randn(sum(lengths), 16)
    others = torch.arange(sum(lengths))
    others = others[(others < 3) | (others >= 5)]

    def results(tensors):
        *plain, g = tensors
        y = jagged_attention(*plain, offsets, 1)[0]
        return y, *torch.autograd.grad(y, plain, g)

    wanted = results([*inputs, grad])
    spoiled = [x.detach().clone() for x in (*inputs, grad)]
    spoiled[which][3, 5] = bad  # a step of row 1
    found = results([x.requires_grad_() for x in spoiled])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a[others], b[others], rtol=1e-5, atol=1e-6)
    assert not torch.cat([x[3:5] for x in found]).isfinite().all()
    assert which == 3 or not found[0][3:5].isfinite().all()


@pytest.mark.parametrize(("width", "heads"), [(18, 3), (32, 2)])
def test_every_address_is_inside(width, heads) -> None:
    with watch():
        check(width, heads)


def test_equal_runs_give_equal_bits() -> None:
    inputs, offsets = projected(LENGTHS, 16, torch.float32), offsets_of(LENGTHS)
    runs = []
    for _ in range(2):
        y = jagged_attention(*inputs, offsets, 1)[0]
        runs.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
    # Nor does a row depend on its neighbours, but by where its tile begins.
    alone = [x[4:44] for x in inputs]
    torch.testing.assert_close(
        jagged_attention(*alone, offsets_of([40]), 1)[0], runs[0][0][4:44], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("tile", [PairTile(32, 16, 4, 1), PairTile(16, 64, 4, 1)])
def test_other_tiles_give_the_same(tile) -> None:
    q, k, v = (x.detach() for x in projected(LENGTHS, 40))
    ends = kernels.row_ends(offsets_of(LENGTHS), sum(LENGTHS))
    out, norm = kernels.forward(q, k, v, ends, 2)
    torch.testing.assert_close(kernels.forward(q, k, v, ends, 2, tile), (out, norm))
    rest = (q, k, v, ends, out, norm, 2)
    wanted = kernels_backward.backward(out, *rest)
    torch.testing.assert_close(kernels_backward.backward(out, *rest, tile), wanted)


@pytest.mark.parametrize("rows", [1, 2, 3, 64, 65, 300])
def test_the_rows_of_steps(rows) -> None:
    torch.manual_seed(rows)
    lengths = torch.randint(0, 5, (rows,))
    lengths[rows // 2] = 1
    offsets = offsets_of(lengths)
    of = torch.repeat_interleave(torch.arange(rows), lengths)
    found = kernels.row_ends(offsets, int(offsets[-1]))
    assert torch.equal(found.long(), torch.stack([offsets[of], offsets[of + 1]]))


def test_views_are_read_right() -> None:
    offsets = offsets_of((3, 5))
    whole = torch.randn(8, 48)
    views = whole.chunk(3, 1)
    y = jagged_attention(*views, offsets, 1)[0]
    torch.testing.assert_close(y.double(), by_hand(*views, [3, 5], 1), rtol=1e-5, atol=1e-5)


def test_autocast_reaches_the_kernels(launches) -> None:
    _, steps = drawn(1, 16, LENGTHS[:6])
    twin, plain = TritonSelfAttention(16, 32, 2), SelfAttention(16, 32, 2)
    plain.load_state_dict(twin.state_dict())
    seen = []
    hook = twin.out_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16), hook:
        y, wanted = twin(steps), plain(steps)
    assert y.dtype == wanted.dtype
    assert (y - wanted).norm() <= 5e-2 * wanted.norm()
    assert launches == ALL[:2]
    twin.eval().make_ready(torch.bfloat16)
    assert (twin(Jagged(steps.values, steps.lengths)) - wanted).norm() <= 5e-2 * wanted.norm()
