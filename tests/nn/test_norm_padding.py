"""`norm_padding`: whether batch statistics in sequence blocks count padded steps, as the peer does."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from graphrec.blocks.sequence import Din
from graphrec.nn import DIN, Jagged, MultiWindowDIN

LENGTHS = [3, 0, 1]
STATISTICS = [{"norm": "batch"}, {"activation": "dice"}]
each = pytest.mark.parametrize("statistics", STATISTICS, ids=["batch_norm", "dice"])


def example() -> tuple[torch.Tensor, Jagged, torch.Tensor]:
    """A query, a history, and the same history padded with zeros to the longest [3, 3, 4]."""
    torch.manual_seed(0)
    query = torch.randn(3, 4, dtype=torch.float64)
    values = torch.randn(sum(LENGTHS), 4, dtype=torch.float64)
    padded = torch.zeros(3, max(LENGTHS), 4, dtype=torch.float64)
    for row, steps in enumerate(values.split(LENGTHS)):
        padded[row, : len(steps)] = steps
    return query, Jagged(values, torch.tensor(LENGTHS)), padded


def by_padding(layer: DIN, query: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
    """The textbook form: scores of every padded step, then a masked softmax."""
    spread = query.unsqueeze(1).expand_as(padded)
    features = torch.cat([spread, padded, spread - padded, spread * padded], dim=-1)
    scores = layer.mlp(features.flatten(0, 1)).reshape(padded.shape[:2])
    real = torch.arange(padded.shape[1]) < torch.tensor(LENGTHS).unsqueeze(1)
    weights = torch.softmax(scores.masked_fill(~real, -1e30), dim=1) * real
    return (weights.unsqueeze(-1) * padded).sum(1)


def twins(padding: str, statistics: dict[str, str]) -> tuple[DIN, DIN]:
    made = [DIN(4, 4, [5, 3], norm_padding=padding, **statistics).double() for _ in range(2)]
    with torch.no_grad():
        for parameter in made[0].parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    made[1].load_state_dict(made[0].state_dict())
    return made[0], made[1]


def buffers(layer: nn.Module) -> dict[str, torch.Tensor]:
    return dict(layer.named_buffers())


@each
def test_included_it_is_the_padded_form(statistics: dict[str, str]) -> None:
    layer, plain = twins("include", statistics)
    query, history, padded = example()
    torch.testing.assert_close(layer(query, history), by_padding(plain, query, padded))
    # The running statistics are the padded ones too, and evaluation uses them.
    torch.testing.assert_close(buffers(layer), buffers(plain))
    layer.eval(), plain.eval()
    torch.testing.assert_close(layer(query, history), by_padding(plain, query, padded))


@each
@pytest.mark.parametrize("padding", ["include", "exclude"])
def test_only_included_padding_changes_a_row(statistics: dict[str, str], padding: str) -> None:
    layer, same = twins(padding, statistics)
    query, history, _ = example()
    # One more row without a history: its padding, if any, is all that is new.
    more = Jagged(history.values, torch.tensor([*LENGTHS, 0]))
    wider = layer(torch.cat([query, query[:1]]), more)[:3]
    equal = torch.allclose(wider, same(query, history), rtol=1e-9, atol=1e-12)
    assert equal == (padding == "exclude")


@each
def test_gradients_with_included_padding(statistics: dict[str, str]) -> None:
    layer, plain = twins("include", statistics)
    query, history, padded = example()
    layer(query, history).square().sum().backward()
    by_padding(plain, query, padded).square().sum().backward()
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_windows_count_it_too() -> None:
    query, history, _ = example()
    results = []
    for padding in ("include", "exclude"):
        torch.manual_seed(1)
        layer = MultiWindowDIN(4, 4, [5], windows=[1, 2], norm="batch", norm_padding=padding)
        results.append(layer.double()(query, history))
    assert not torch.allclose(*results)


def test_it_needs_statistics() -> None:
    with pytest.raises(ValidationError, match="norm_padding needs norm: batch"):
        Din(hidden=(4,), norm_padding="include")
