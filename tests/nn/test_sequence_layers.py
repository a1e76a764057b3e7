"""Layers over histories against their formulas, and whatever lengths and padding there are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graphrec.nn import (
    DIN,
    AttentionScores,
    DotAttention,
    Jagged,
    MultiWindowDIN,
    SelfAttention,
    WeightedSum,
)
from graphrec.nn.segments import segment_softmax, segment_softmax_sum

LENGTHS = torch.tensor([3, 0, 1, 5])


def history(width: int = 4, seed: int = 0) -> Jagged:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(int(LENGTHS.sum()), width, dtype=torch.float64, generator=generator)
    return Jagged(values, LENGTHS)


def query(width: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(4, width, dtype=torch.float64, generator=generator)


def textbook(layer: DIN, q: Tensor, steps: Tensor) -> Tensor:
    """DIN over one row as it is written in the paper: concatenate, score, softmax, sum."""
    q = torch.nn.functional.pad(q, (0, steps.shape[1] - q.shape[0])).expand_as(steps)
    scores = layer.mlp(torch.cat([q, steps, q - steps, q * steps], dim=1))
    weights = torch.softmax(scores.squeeze(1), dim=0)
    total: Tensor = (weights.unsqueeze(1) * steps).sum(0)
    return total


@pytest.mark.parametrize("width", [4, 3, 1])
@pytest.mark.parametrize("activation", ["relu", "prelu", "sigmoid"])
def test_din_is_the_textbook_one(width: int, activation: str) -> None:
    layer = DIN(width, 4, [6, 3], activation).double()
    keys, q = history(), query(width)
    found = layer(q, keys)
    for row, steps in enumerate(keys.values.split(LENGTHS.tolist())):
        torch.testing.assert_close(found[row], textbook(layer, q[row], steps))
    assert list(layer.state_dict())[:2] == ["mlp.layers.0.weight", "mlp.layers.0.bias"]
    assert layer.mlp.layers[0].weight.shape == (6, 16)


def test_two_steps_of_attention_are_din() -> None:
    din, scores = DIN(4, 4, [6]).double(), AttentionScores(4, 4, [6]).double()
    scores.load_state_dict(din.state_dict())
    keys, q = history(), query()
    weights = scores(q, keys)
    torch.testing.assert_close(WeightedSum()(weights, keys), din(q, keys))
    sums = torch.stack([part.sum() for part in weights.values.split(LENGTHS.tolist())])
    assert sums.tolist() == pytest.approx([1, 0, 1, 1])


def test_fields_are_a_history_of_fixed_length() -> None:
    fields = torch.randn(4, 3, 4, dtype=torch.float64)
    steps = Jagged(fields.reshape(12, 4), torch.full((4,), 3))
    for layer in (DIN(4, 4, [5]).double(), DotAttention()):
        torch.testing.assert_close(layer(query(), fields), layer(query(), steps))


def test_scores_of_any_size_have_a_softmax() -> None:
    rows = torch.tensor([0, 0, 2])
    scores = torch.tensor([1e4, 1e4, -1e4], requires_grad=True)
    assert segment_softmax(scores, rows, 3).tolist() == [0.5, 0.5, 1.0]
    values = torch.tensor([[2.0], [4.0], [7.0]])
    found = segment_softmax_sum(scores, values, rows, 3)
    assert found.tolist() == [[3.0], [0.0], [7.0]]
    found.sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [-0.5, 0.5, 0.0]


def test_half_precision_scores_are_summed_in_single() -> None:
    scores = torch.zeros(1000, dtype=torch.bfloat16)
    weights = segment_softmax(scores, torch.zeros(1000, dtype=torch.int64), 1)
    assert weights.dtype == torch.float32
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-5)


def test_batch_statistics_count_real_steps_only() -> None:
    layer = DIN(4, 4, [6], norm="batch").double()
    keys, q = history(), query()
    layer(q, keys)
    steps = torch.cat([q.repeat_interleave(LENGTHS, 0), keys.values], dim=1)
    first = layer.mlp.layers[0]
    joined = torch.cat([steps, steps[:, :4] - steps[:, 4:], steps[:, :4] * steps[:, 4:]], dim=1)
    seen = joined @ first.weight.t()
    torch.testing.assert_close(first.norm.running_mean, 0.1 * seen.mean(0))


def test_din_runs_in_autocast() -> None:
    layer, keys, q = DIN(4, 4, [6]), history(), query().float()
    keys = keys.replace(keys.values.float().requires_grad_())
    plain = layer(q, keys)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(q, keys)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain, rtol=0.05, atol=0.05)
    found.sum().backward()
    assert bool(layer.mlp.layers[0].weight.grad.isfinite().all())


def attention_by_hand(layer: SelfAttention, x: Tensor) -> Tensor:
    """Self attention of one row with torch's own module, for the same weights."""
    width = layer.out_proj.weight.shape[0]
    torch_layer = torch.nn.MultiheadAttention(width, layer.heads, dtype=torch.float64)
    torch_layer.load_state_dict(
        {
            "in_proj_weight": layer.in_proj.weight,
            "in_proj_bias": layer.in_proj.bias,
            "out_proj.weight": layer.out_proj.weight,
            "out_proj.bias": layer.out_proj.bias,
        }
    )
    found: Tensor = torch_layer(layer.q(x), layer.k(x), layer.v(x))[0]
    return found


def test_self_attention_is_torchs() -> None:
    layer = SelfAttention(5, width=6, heads=3).double()
    for bias in (layer.in_proj.bias, layer.out_proj.bias, layer.q.bias):
        torch.nn.init.normal_(bias)
    keys = history(5)
    found = layer(keys)
    for row, steps in enumerate(keys.values.split(LENGTHS.tolist())):
        expected = (
            attention_by_hand(layer, steps).mean(0) if len(steps) else torch.zeros(6).double()
        )
        torch.testing.assert_close(found[row], expected)


def test_self_attention_with_positions_skip_and_norm() -> None:
    layer = SelfAttention(6, width=6, heads=2, positions=2, skip=True, norm=True).double()
    keys = history(6)
    found = layer(keys)
    assert layer.positions is not None
    assert layer.norm is not None
    for row, steps in enumerate(keys.values.split(LENGTHS.tolist())):
        if not len(steps):
            assert not found[row].any()
            continue
        # The newest step has position 0, the one before 1, older ones share it.
        age = torch.arange(len(steps)).flip(0).clamp(max=1)
        x = steps + layer.positions[age]
        expected = layer.norm(attention_by_hand(layer, x) + x).mean(0)
        torch.testing.assert_close(found[row], expected)


@pytest.mark.parametrize("more", [{}, {"skip": True, "norm": True, "positions": 3}])
def test_self_attention_of_every_step_has_the_mean_of_the_pooled_one(more: dict[str, Any]) -> None:
    every = SelfAttention(6, width=6, heads=2, pool="none", **more).double()
    pooled = SelfAttention(6, width=6, heads=2, **more).double()
    pooled.load_state_dict(every.state_dict())
    keys = history(6)
    steps = every(keys)
    assert isinstance(steps, Jagged)
    for row, values in enumerate(steps.values.split(LENGTHS.tolist())):
        if len(values):
            torch.testing.assert_close(values.mean(0), pooled(keys)[row])
    fields = keys.values[:8].reshape(2, 4, 6)
    torch.testing.assert_close(every(fields).mean(1), pooled(fields))


def windows_by_hand(layer: MultiWindowDIN, q: Tensor, steps: Tensor) -> Tensor:
    """One row: a_t s_t summed per window, divided by the window's real steps, then the query."""
    padded = torch.nn.functional.pad(q, (0, steps.shape[1] - q.shape[0]))
    wide = padded.expand_as(steps)
    weighted = layer.act(layer.mlp(torch.cat([steps, wide * steps, wide], dim=1))) * steps
    means, start = [], 0
    for size in layer.windows:
        part = weighted[start : start + size]
        means.append(part.sum(0) / max(len(part), 1))
        start += size
    return torch.cat([*means, padded])


@pytest.mark.parametrize(
    ("keep", "windows"), [(None, [1, 2, 4]), ("first", [1, 2]), ("last", [2, 1])]
)
def test_windows(keep: str | None, windows: list[int]) -> None:
    layer = MultiWindowDIN(3, 4, [6], windows, keep=keep).double()
    keys, q = history(), query(3)
    found = layer(q, keys)
    total = sum(windows)
    for row, steps in enumerate(keys.values.split(LENGTHS.tolist())):
        kept = steps[-total:] if keep == "last" else steps[:total]
        torch.testing.assert_close(found[row], windows_by_hand(layer, q[row], kept))


def test_steps_beyond_the_windows_are_not_dropped_silently() -> None:
    layer = MultiWindowDIN(4, 4, [6], [1, 2]).double()
    with pytest.raises(ValueError, match="a history of 5 steps is longer than the windows"):
        layer(query(), history())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DIN(5, 4, [3]), "a query of width 5 for keys of 4"),
        (lambda: SelfAttention(4, width=6, heads=4), "width 6 is no multiple of 4 heads"),
        (lambda: SelfAttention(4, width=6, heads=2, skip=True), "skip needs width 4, got 6"),
        (
            lambda: SelfAttention(4, width=6, heads=2, pool="max"),
            "unknown pool `max`; there are mean, none",
        ),
    ],
)
def test_wrong_sizes_are_refused(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=said):
        make()


# ---- dropout of attention -------------------------------------------------------------------


def test_self_attention_drops_as_torchs_does() -> None:
    """Of weights drawn by torch from one seed the same are dropped; none in evaluation."""
    torch.manual_seed(0)
    layer = SelfAttention(4, 8, heads=2, pool="none", dropout=0.5)
    steps = torch.randn(3, 5, 4)
    q, k, v = (x.reshape(3, 5, 2, 4).transpose(1, 2) for x in layer._project(steps.flatten(0, 1)))
    torch.manual_seed(7)
    mixed = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=torch.ones(3, 1, 1, 5, dtype=torch.bool), dropout_p=0.5
    )
    torch.manual_seed(7)
    torch.testing.assert_close(layer(steps), layer.out_proj(mixed.transpose(1, 2).flatten(2)))
    plain = SelfAttention(4, 8, heads=2, pool="none")
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer.eval()(steps), plain(steps))


def test_din_drops_weights_of_its_softmax() -> None:
    torch.manual_seed(0)
    layer = DIN(4, 4, [6], attention_dropout=0.4).double()
    plain = DIN(4, 4, [6]).double()
    plain.load_state_dict(layer.state_dict())
    q, keys = query(), history()
    weights = segment_softmax(layer.scores(q, keys, keys.rows()), keys.rows(), keys.num_rows)
    torch.manual_seed(3)
    kept = torch.nn.functional.dropout(weights, 0.4).unsqueeze(1) * keys.values
    torch.manual_seed(3)
    expected = torch.stack([part.sum(0) for part in kept.split(LENGTHS.tolist())])
    torch.testing.assert_close(layer(q, keys), expected)
    assert not torch.allclose(expected, plain(q, keys))
    torch.testing.assert_close(layer.eval()(q, keys), plain(q, keys))
