"""Recurrence, norms and powers of fields against the formulas, one row and step at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from graphrec.nn import (
    AUGRU,
    GRU,
    BatchNormalization,
    Jagged,
    LayerNormalization,
    Logarithmic,
    Pooling,
)
from graphrec.nn import functions as F


def history(width: int, *lengths: int) -> Jagged:
    generator = torch.Generator().manual_seed(width)
    values = torch.randn(sum(lengths), width, dtype=torch.float64, generator=generator)
    return Jagged(values, torch.tensor(lengths))


def each_row(x: Jagged) -> list[Tensor]:
    return list(torch.split(x.values, x.lengths.tolist()))


def test_gru_row_by_row() -> None:
    torch.manual_seed(0)
    layer, keys = GRU(4, 3).double(), history(4, 5, 0, 2)
    states = layer(keys)
    rows = [layer.gru(row.unsqueeze(0))[0][0] for row in each_row(keys) if len(row)]
    torch.testing.assert_close(states.values, torch.cat(rows))


def test_augru_step_by_step() -> None:
    torch.manual_seed(1)
    layer, keys = AUGRU(4, 3).double(), history(4, 4, 0, 1)
    weights = keys.replace(torch.rand(5, 1, dtype=torch.float64))
    found = layer(weights, keys)
    names = ("update", "reset", "new")
    of_input = dict(zip(names, layer.of_input.weight.chunk(3), strict=True))
    of_state = dict(zip(names, layer.of_state.weight.chunk(3), strict=True))
    bias_input = dict(zip(names, layer.of_input.bias.chunk(3), strict=True))
    bias_state = dict(zip(names, layer.of_state.bias.chunk(3), strict=True))
    for row, (steps, scales) in enumerate(zip(each_row(keys), each_row(weights), strict=True)):
        h = torch.zeros(3, dtype=torch.float64)
        for x, scale in zip(steps, scales, strict=True):
            given = {n: of_input[n] @ x + bias_input[n] for n in names}
            old = {n: of_state[n] @ h + bias_state[n] for n in names}
            u = scale * torch.sigmoid(given["update"] + old["update"])
            r = torch.sigmoid(given["reset"] + old["reset"])
            c = torch.tanh(given["new"] + r * old["new"])
            h = (1 - u) * h + u * c
        torch.testing.assert_close(found[row], h)


def test_a_step_of_weight_zero_changes_nothing() -> None:
    layer, keys = AUGRU(4, 3).double(), history(4, 3)
    weights = keys.replace(torch.tensor([[0.7], [0.0], [0.4]], dtype=torch.float64))
    without = Jagged(keys.values[[0, 2]], torch.tensor([2]))
    fewer = without.replace(weights.values[[0, 2]])
    torch.testing.assert_close(layer(weights, keys), layer(fewer, without))


def test_a_neuron_is_a_product_of_powers() -> None:
    layer = Logarithmic(3, 2).double().eval()
    with torch.no_grad():
        layer.powers.weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.0, -1.0]]))
        layer.powers.bias.zero_()
    for norm in (layer.before, layer.behind):
        norm.eps = 0.0  # so that a fresh norm in evaluation is exactly the identity
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    a, b, c = x.abs().unbind(1)
    torch.testing.assert_close(layer(x), torch.cat([a * b**2, a.sqrt() / c], dim=1))


def test_norms_count_every_step() -> None:
    keys = history(3, 2, 3)
    batch = BatchNormalization(3).double()(keys)
    torch.testing.assert_close(batch.values.mean(0), torch.zeros(3, dtype=torch.float64))
    layer = LayerNormalization(3).double()(keys)
    torch.testing.assert_close(layer.values.mean(1), torch.zeros(5, dtype=torch.float64))


def test_the_maximum_of_the_steps() -> None:
    keys = history(3, 2, 0, 3)
    found = Pooling("max")(keys)
    first, _, last = each_row(keys)
    wanted = torch.stack([first.amax(0), torch.zeros(3, dtype=torch.float64), last.amax(0)])
    torch.testing.assert_close(found, wanted)


def test_functions() -> None:
    keys = history(2, 2, 1)
    row = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert F.spread(row, keys).values[:, 0].tolist() == [1.0, 1.0, 4.0]
    positive = keys.replace(keys.values.abs() + 0.1)
    torch.testing.assert_close(F.exp(F.log(positive)).values, positive.values)
    torch.testing.assert_close(F.sqrt(F.abs(keys)).values ** 2, keys.values.abs())
