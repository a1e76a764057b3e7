"""HSTU: the compiled attention, the padded one and one written pair by pair give the same."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graphrec.nn import HSTU, Jagged
from graphrec.nn.hstu_attention import Bias, hstu_attention, time_limits
from graphrec.nn.native.hstu import hstu_kernel

attention = hstu_attention


def pairs(history: int, length: int, window: int, context: int) -> list[tuple[int, int]]:
    """Who meets whom in one row, by the words of the paper."""
    first = min(context, history)
    met = []
    for i in range(length):
        for j in range(length):
            if i == j:
                met.append((i, j))
            elif i < first:  # the context sees the whole history
                met += [(i, j)] if j < history else []
            elif j < min(i, history):
                # The context stands as one step before the others, all candidates as one behind.
                steps = min(i, history) - max(j, first - 1 if first else j)
                met += [(i, j)] if not window or steps <= window else []
    return met


def by_hand(
    q: Tensor, k: Tensor, v: Tensor, lengths: list[int], scale: float, bias: Bias, targets: Tensor,
    window: int, context: int,
) -> Tensor:  # fmt: skip
    """One pair of steps after another, in float64."""
    out = torch.zeros_like(v)
    start = 0
    for row, length in enumerate(lengths):
        history = length - int(targets[row])
        for i, j in pairs(history, length, window, context):
            score = (q[start + i] * k[start + j]).sum(-1) / math.sqrt(q.shape[-1])
            if bias.position is not None:
                apart = abs(min(i, history) - min(j, history))
                score = score + bias.position[min(apart, len(bias.position) - 1)]
            if bias.time is not None:
                assert bias.times is not None
                seconds = abs(int(bias.times[start + i]) - int(bias.times[start + j]))
                bucket = math.floor(math.log(max(1, seconds)) / 0.301)
                score = score + bias.time[min(bucket, len(bias.time) - 1)]
            weight = torch.nn.functional.silu(score) / scale
            out = out.index_add(
                0, torch.tensor([start + i]), (weight.unsqueeze(-1) * v[start + j]).unsqueeze(0)
            )
        start += length
    return out


CASES = {
    "plain": ([5, 0, 3], False, 0, 0, False),
    "candidates": ([5, 2, 0, 7], True, 0, 0, False),
    "window": ([9, 1, 6], True, 2, 0, False),
    "context": ([8, 4, 6], True, 0, 3, False),
    "all_of_it": ([9, 6, 7], True, 3, 2, True),
    "biases": ([6, 3], False, 0, 0, True),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradients(case: str, compiled: bool) -> None:
    if compiled and hstu_kernel() is None:
        pytest.skip("no C++ compiler")
    lengths, with_targets, window, context, biased = CASES[case]
    torch.manual_seed(3)
    total, heads = sum(lengths), 2
    q, k = torch.randn(total, heads, 5), torch.randn(total, heads, 5)
    v, grad = torch.randn(total, heads, 3), torch.randn(total, heads, 3)
    targets = torch.tensor([min(n, 2) if with_targets else 0 for n in lengths])
    position, time = torch.randn(4), torch.randn(9)
    times = torch.randint(0, 40, (total,))

    def run(dtype: torch.dtype, hand: bool) -> list[Tensor]:
        leaves = [x.to(dtype).clone().requires_grad_() for x in (q, k, v, position, time)]
        bias = Bias(leaves[3], leaves[4], times, time_limits(9)) if biased else Bias()
        if hand:
            out = by_hand(*leaves[:3], lengths, 7.0, bias, targets, window, context)
        else:
            out = attention(
                *leaves[:3], torch.tensor(lengths), scale=7.0, bias=bias,
                targets=targets if with_targets else None, window=window, context=context,
            )  # fmt: skip
        out.backward(grad.to(dtype))
        return [out.detach(), *(x.grad for x in leaves if x.grad is not None)]

    right = run(torch.float64, hand=True)
    # float64 takes the padded form, float32 the compiled one
    ours = run(torch.float32 if compiled else torch.float64, hand=False)
    assert len(right) == len(ours)
    for ours_one, right_one in zip(ours, right, strict=True):
        limit = 2e-6 if compiled else 1e-12
        torch.testing.assert_close(ours_one.double(), right_one, rtol=limit, atol=limit)


@pytest.mark.parametrize("width", [1, 16, 17, 40])
def test_the_compiled_form_on_long_rows(width: int) -> None:
    if hstu_kernel() is None:
        pytest.skip("no C++ compiler")
    torch.manual_seed(width)
    lengths = torch.tensor([130, 0, 1, 97, 48])
    q, k, v = (torch.randn(int(lengths.sum()), 3, width) for _ in range(3))
    targets = torch.tensor([5, 0, 1, 0, 3])
    found = []
    for dtype in (torch.float32, torch.float64):
        leaves = [x.to(dtype).clone().requires_grad_() for x in (q, k, v)]
        out = attention(*leaves, lengths, scale=130.0, targets=targets, window=60, context=2)
        (out * out.detach().sin()).sum().backward()
        found.append([out, *(x.grad for x in leaves)])
    for ours, right in zip(*found, strict=True):
        top = right.abs().max().item()
        torch.testing.assert_close(ours.double(), right, rtol=0, atol=3e-6 * max(top, 1e-3))


def test_buckets_of_time() -> None:
    limits = time_limits(40)
    seconds = torch.arange(0, 100_000)
    ours = torch.searchsorted(limits, seconds, right=True) - 1
    paper = torch.floor(torch.log(seconds.clamp(min=1).double()) / 0.301).clamp(max=39).long()
    # Where the logarithm lies on an edge of a bucket, the paper's floor depends on rounding.
    assert torch.equal(ours, paper)


def layer(**settings: object) -> HSTU:
    torch.manual_seed(0)
    made = HSTU(6, layers=2, heads=2, head_width=3, max_len=8, positions=4, **settings)  # type: ignore[arg-type]
    return made.double().eval()


def history(*lengths: int) -> Jagged:
    generator = torch.Generator().manual_seed(len(lengths))
    values = torch.randn(sum(lengths), 6, dtype=torch.float64, generator=generator)
    return Jagged(values, torch.tensor(lengths))


def test_candidates_of_one_request_do_not_meet() -> None:
    module, keys = layer(), history(5)
    query = torch.randn(7, 4, dtype=torch.float64)
    context = torch.randn(1, 2, 3, dtype=torch.float64)
    together = module(keys, query, context)
    for n in range(7):
        alone = module(keys, query[n : n + 1], context)
        torch.testing.assert_close(together[n : n + 1], alone)


def test_a_candidate_changes_no_step() -> None:
    module, keys = layer(pool="none"), history(4, 0, 3)
    plain = module(keys)
    changed = Jagged(keys.values.clone(), keys.lengths)
    changed.values[-1] += 1.0
    again = module(changed)
    torch.testing.assert_close(plain.values[:-1], again.values[:-1])
    assert not torch.allclose(plain.values[-1], again.values[-1])


def test_pools() -> None:
    keys = history(4, 0, 3)
    every = layer(pool="none")(keys)
    last, mean = layer(pool="last")(keys), layer(pool="mean")(keys)
    torch.testing.assert_close(last, torch.stack([every.values[3], torch.zeros(6), every.values[6]]))  # fmt: skip
    torch.testing.assert_close(mean[0], every.values[:4].mean(0))
    assert not mean[1].any()


def test_times_matter_in_whole_units() -> None:
    module, keys = layer(time_buckets=16), history(3, 2)
    query, now = torch.randn(2, 6).double(), torch.tensor([[50.0], [9.0]]).double()
    times = Jagged(torch.tensor([[1.0], [20.0], [49.0], [3.0], [8.0]]).double(), keys.lengths)
    out = module(keys, query, times=times, now=now)
    nudged = module(keys, query, times=times.replace(times.values + 0.2), now=now)
    later = module(keys, query, times=times, now=now + 500)
    torch.testing.assert_close(out, nudged)
    assert not torch.allclose(out, later)


def test_autocast_is_near() -> None:
    module, keys = layer().float(), history(9, 4)
    keys = Jagged(keys.values.float(), keys.lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module(keys)
    torch.testing.assert_close(low.float(), module(keys), rtol=0.05, atol=0.05)


def test_dropped_pairs_are_those_of_torch() -> None:
    """silu(scores) / scale [B, H, N, N] through torch's dropout; none in evaluation."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(6, 2, 3) for _ in range(3))
    scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(3)
    weights = torch.nn.functional.silu(scores) / 5.0 * torch.ones(6, 6).tril()
    torch.manual_seed(4)
    kept = torch.nn.functional.dropout(weights.unsqueeze(0), 0.5)[0]
    torch.manual_seed(4)
    y = hstu_attention(q, k, v, torch.tensor([6]), scale=5.0, dropout=0.5)
    torch.testing.assert_close(y, torch.einsum("hij,jhd->ihd", kept, v))
    layer = HSTU(4, 1, 2, 3, attention_dropout=0.5, pool="none")
    plain = HSTU(4, 1, 2, 3, pool="none")
    plain.load_state_dict(layer.state_dict())
    steps = Jagged(torch.randn(6, 4), torch.tensor([4, 2]))
    a, b = layer.eval()(steps), plain.eval()(steps)
    assert isinstance(a, Jagged) and isinstance(b, Jagged)
    torch.testing.assert_close(a.values, b.values)
    c = layer.train()(steps)
    assert isinstance(c, Jagged) and not torch.allclose(c.values, b.values)
