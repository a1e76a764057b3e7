"""HSTU's kernels, run by Triton's interpreter, against pairs in float64 and through the layer."""

from __future__ import annotations

import pytest
import torch
from agreement import check_twin
from hstu_checks import agrees, at_edges, given, run
from interpreter_watch import watch

from graphrec.kernels import TritonHSTU
from graphrec.kernels.ops.hstu_attention import hstu_attention
from graphrec.nn import HSTU, Jagged

ALL = ["places_kernel", "hstu_attention_kernel"]
ALL += ["places_kernel", "queries_grad_kernel", "keys_grad_kernel"]
LIMITS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 8e-3, torch.bfloat16: 5e-2}
EVERYTHING = {"candidates": 2, "window": 6, "context": 3, "positions": 5, "buckets": 9}


@pytest.mark.parametrize("dtype", list(LIMITS))
def test_every_precision(dtype: torch.dtype, launches: list[str]) -> None:
    agrees(given(dtype=dtype, **EVERYTHING), dtype, LIMITS[dtype])
    assert launches == ALL


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"candidates": 3},
        {"window": 4},
        {"context": 2},
        {"positions": 1},
        {"positions": 64},
        {"buckets": 1},
        {"buckets": 20},
        {"candidates": 30, "context": 4},
        {"context": 40, "window": 2},
    ],
    ids=str,
)
def test_who_meets_whom_and_what_is_added(options: dict[str, int]) -> None:
    agrees(given(**options), torch.float64, 1e-12)


@pytest.mark.parametrize(
    ("width", "value", "heads"), [(1, 1, 1), (6, 18, 3), (18, 6, 1), (16, 16, 2), (40, 8, 1)]
)
def test_odd_widths(width: int, value: int, heads: int) -> None:
    agrees(given((3, 20, 0), width, value, heads, candidates=1), torch.float64, 1e-12)


@pytest.mark.parametrize(
    "lengths",
    [(0, 0, 0), (1,), (0,), (37,), (0, 0, 4), (1,) * 19, (5, 0, 0), (16, 16), (15, 2, 0, 30)],
)
def test_odd_histories(lengths: tuple[int, ...], launches: list[str]) -> None:
    launches += [] if sum(lengths) else ["none: there is nothing to do"]
    agrees(given(lengths, 4, 4, 1, candidates=1, context=1, positions=3), torch.float64, 1e-12)


def test_gradients_by_differences() -> None:
    arguments = given(
        (9, 0, 19), 3, 2, 1, positions=4, buckets=6, candidates=2, window=7, context=2
    )
    names = ["q", "k", "v", "position", "time"]
    inputs = [arguments.pop(name).requires_grad_() for name in names]

    def attended(*leaves: torch.Tensor) -> torch.Tensor:
        return hstu_attention(**dict(zip(names, leaves, strict=True)), **arguments)

    assert torch.autograd.gradcheck(attended, inputs, fast_mode=True)


def test_times_at_the_edges_of_buckets() -> None:
    """Each least difference, and one less: in the bucket that the list of them says."""
    agrees(at_edges(), torch.float64, 1e-12)


def test_a_nan_stays_in_its_row() -> None:
    arguments = given((3, 2, 20), 4, 4, 1, dtype=torch.float32, positions=3)
    for name in ("q", "k", "v"):
        arguments[name][1] = float("nan")
    for result in run(hstu_attention, arguments, torch.float32)[:4]:
        assert result[:3].isnan().any()
        assert result[3:].isfinite().all()


def test_every_address_is_inside() -> None:
    with watch():
        agrees(given((0, 3, 0, 22, 1), **EVERYTHING), torch.float64, 1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 2, "heads": 2, "head_width": 4, "max_len": 8},
        {"layers": 1, "heads": 1, "head_width": 3, "value_width": 5, "positions": 4, "window": 3},
    ],
)
def test_the_layer(options: dict[str, int], launches: list[str]) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([0, 3, 18, 1])
    keys = Jagged(torch.randn(int(lengths.sum()), 6), lengths)
    inputs = keys, torch.randn(4, 5), torch.randn(4, 2, 6)
    check_twin(lambda kind: kind(6, **options), TritonHSTU, HSTU, inputs, torch.float64, 1e-11)
    assert launches


def test_times_reach_the_kernel() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([2, 0, 6])
    keys, times = torch.randn(8, 4), torch.randint(0, 99, (8, 1)).double()
    query, now = torch.randn(3, 4), torch.full((3, 1), 100.0)
    twin, plain = (kind(4, 1, 2, 3, time_buckets=12).double() for kind in (TritonHSTU, HSTU))
    plain.load_state_dict(twin.state_dict())
    given_inputs = Jagged(keys.double(), lengths), query.double(), None, Jagged(times, lengths), now
    torch.testing.assert_close(twin(*given_inputs), plain(*given_inputs))


def test_heads_too_wide_are_left_to_torch(launches: list[str]) -> None:
    keys = Jagged(torch.randn(5, 4), torch.tensor([2, 3]))
    TritonHSTU(4, 1, 1, 129)(keys).sum().backward()
    assert not launches
    launches.append("none: that was the test")
