"""The functions of expressions, on tensors and on histories."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from graphrec.nn import Jagged
from graphrec.nn import functions as F

X = torch.tensor([[0.5, -2.0, 3.0], [1.0, 0.0, -1.0]])
Y = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
LENGTHS = torch.tensor([0, 2])

CASES: list[tuple[str, Callable[..., object], int, list[list[float]]]] = [
    ("concat", F.concat, 2, [[0.5, -2, 3, 1, 2, 0], [1, 0, -1, 0, 0, 0]]),
    ("sum", F.sum, 1, [[1.5], [0]]),
    ("mean", F.mean, 1, [[0.5], [0]]),
    ("max", F.max, 1, [[3], [1]]),
    ("dot", F.dot, 2, [[-3.5], [0]]),
    ("cos", F.cos, 2, [[-3.5 / (13.25**0.5 * 5**0.5)], [0]]),
    ("relu", F.relu, 1, [[0.5, 0, 3], [1, 0, 0]]),
    ("log1p", F.log1p, 1, [[0.405465, -1.098612, 1.386294], [0.693147, 0, -0.693147]]),
    ("clip", lambda x: F.clip(x, -1, 1), 1, [[0.5, -1, 1], [1, 0, -1]]),
    ("slice", lambda x: F.slice(x, 1, 3), 1, [[-2, 3], [0, -1]]),
    ("where", lambda x, y: F.where(x > y, x, 7), 2, [[7, 7, 3], [1, 7, 7]]),
    ("where_numbers", lambda x: F.where(x > 0, 1, 0), 1, [[1, 0, 1], [1, 0, 0]]),
    ("sigmoid", lambda x: F.sigmoid(x - x), 1, [[0.5] * 3, [0.5] * 3]),
    ("tanh", lambda x: F.tanh(x - x), 1, [[0] * 3, [0] * 3]),
    ("softmax", lambda x: F.softmax(x - x), 1, [[1 / 3] * 3, [1 / 3] * 3]),
    ("detach", F.detach, 1, X.tolist()),
]


@pytest.mark.parametrize(
    ("name", "function", "count", "expected"), CASES, ids=[c[0] for c in CASES]
)
def test_on_tensors_and_histories(
    name: str, function: Callable[..., object], count: int, expected: list[list[float]]
) -> None:
    given = [X, Y][:count]
    result = function(*given)
    assert isinstance(result, Tensor)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float32))
    stepwise = function(*[Jagged(x, LENGTHS) for x in given])
    assert isinstance(stepwise, Jagged)
    assert stepwise.lengths is LENGTHS
    torch.testing.assert_close(stepwise.values, result)


def test_shapes_of_fields() -> None:
    assert F.stack(X, Y).shape == (2, 2, 3)
    assert F.stack(X, Y)[1].tolist() == [X[1].tolist(), Y[1].tolist()]
    assert F.reshape(torch.arange(12.0).reshape(2, 6), [3, 2])[1].tolist() == [
        [6, 7],
        [8, 9],
        [10, 11],
    ]


def test_mask_of_a_history_has_its_steps_only() -> None:
    mask = F.mask(Jagged(X, LENGTHS))
    assert isinstance(mask, Jagged)
    assert mask.values.tolist() == [True, True]
    assert F.mask(torch.zeros(2, 3, 4)).shape == (2, 3)  # type: ignore[union-attr]


def test_detach_stops_the_gradient() -> None:
    x = X.clone().requires_grad_()
    assert not F.detach(x).requires_grad  # type: ignore[union-attr]
    history = F.detach(Jagged(x, LENGTHS))
    assert isinstance(history, Jagged)
    assert not history.values.requires_grad


def test_one_input_is_not_copied() -> None:
    assert F.concat(X) is X
