"""The kernels of `mix_experts`, run by Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from agreement import TOLERANCE
from interpreter_watch import watch

from graphrec.kernels.ops.mix import mix_experts, mix_experts_backward, seats
from graphrec.kernels.triton import mix
from graphrec.kernels.triton.expert_tiles import MixTile

# Gates, experts, tasks, private, logits: MMoE; the last level of PLE, and another.
KINDS = [
    (1, 1, 0, 0, 1),
    (1, 3, 0, 0, 3),
    (3, 5, 0, 0, 16),
    (3, 4, 3, 1, 16),
    (4, 8, 3, 2, 8),
    (2, 3, 1, 2, 5),
]


def parts(kind, rows: int, columns: int, dtype: torch.dtype = torch.float64):
    torch.manual_seed(0)
    gates, count, _, _, width = kind
    shapes = (rows, gates, width), (rows, count, columns)
    return [torch.randn(s).to(dtype).requires_grad_() for s in shapes]


def reference(logits, experts, tasks, private):
    mixed = []
    for gate, seen in enumerate(seats(logits.shape[1], experts.shape[1], tasks, private)):
        weights = torch.softmax(logits[:, gate, : len(seen)], dim=1)
        mixed.append((weights[:, :, None] * experts[:, seen]).sum(1))
    return torch.stack(mixed)


def distances(kind, rows: int, columns: int, dtype: torch.dtype) -> list[float]:
    """Relative errors of output and gradients against float64."""
    inputs = parts(kind, rows, columns, dtype)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    y, wanted = mix_experts(*inputs, *kind[2:4]), reference(*exact, *kind[2:4])
    along = torch.randint(-8, 9, y.shape) / 8
    ours = [y, *torch.autograd.grad(y, inputs, along.to(dtype))]
    theirs = [wanted, *torch.autograd.grad(wanted, exact, along.double())]
    floor = along.norm()
    return [
        ((a.double() - b).norm() / torch.maximum(b.norm(), floor)).item()
        for a, b in zip(ours, theirs, strict=True)
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_agreement(kind, dtype, launches) -> None:
    assert max(distances(kind, 6, 37, dtype)) <= TOLERANCE[dtype]
    assert launches == ["mix_kernel", "mix_backward_kernel"]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 16), (5, 17), (9, 40)])
def test_odd_shapes(rows, columns) -> None:
    assert max(distances(KINDS[4], rows, columns, torch.float64)) <= 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_differences(kind) -> None:
    inputs = parts(kind, 2, 3)
    assert torch.autograd.gradcheck(lambda *args: mix_experts(*args, *kind[2:4]), inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_address_is_inside(kind) -> None:
    with watch():
        assert max(distances(kind, 6, 19, torch.float64)) <= 1e-12


def test_no_rows() -> None:
    logits, experts = parts(KINDS[2], 0, 5)
    mixed = mix_experts(logits, experts, 0, 0)
    assert mixed.shape == (3, 0, 5)
    mixed.sum().backward()
    assert logits.grad is not None and experts.grad is not None
    mix_experts(*parts(KINDS[2], 1, 5), 0, 0)


def test_large_logits() -> None:
    logits, experts = parts(KINDS[3], 5, 20, torch.float32)
    for shift in (1e4, -1e4):
        far = (logits * 50 + shift).detach()
        wanted = reference(far.double(), experts.double(), 3, 1).float()
        torch.testing.assert_close(mix_experts(far, experts, 3, 1), wanted)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of each NaN it makes
def test_an_infinity_reaches_only_who_sees_it() -> None:
    logits, experts = (t.detach() for t in parts(KINDS[4], 3, 20))
    experts[1, 0] = float("inf")  # of the first task
    mixed = mix_experts(logits, experts, 3, 2)
    reached = ~mixed.isfinite().all(2)
    assert reached.nonzero().tolist() == [[0, 1], [3, 1]]
    grad = torch.ones(4, 3, 20, dtype=torch.float64)
    grad[1, 2] = float("nan")  # of the second task
    logits[:] = 0
    _, to_experts = mix_experts_backward(grad, logits, experts.nan_to_num(posinf=0), 3, 2)
    reached = to_experts.isnan().any(2)
    assert reached.nonzero().tolist() == [[2, e] for e in (2, 3, 6, 7)]


def test_equal_runs_give_equal_bits_with_any_tile() -> None:
    logits, experts = (t.detach() for t in parts(KINDS[4], 21, 40, torch.float32))
    grad = torch.randn(4, 21, 40)
    results = [
        (mix.forward(logits, experts, 3, 2, tile), *mix.backward(grad, logits, experts, 3, 2, tile))
        for tile in (None, None, MixTile(8, 64, 4), MixTile(1, 16, 4))
    ]
    for other in results[1:]:
        assert torch.equal(other[0], results[0][0])
        assert torch.equal(other[2], results[0][2])
        torch.testing.assert_close(other[1], results[0][1])
    assert torch.equal(results[1][1], results[0][1])
