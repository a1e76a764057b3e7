"""What metrics of order compare: log-odds in float64, never float32 probabilities.

A float32 sigmoid is 1 from a logit of 17 on, and a batch's last rows, which no vector register
holds, get other last digits than the rows before: both make ties, or break them. A logit does
neither. A product of probabilities is carried as the logarithms of the event and of its opposite,
so that its log-odds are exact to the last digits too. Here numpy computes, whose functions give
equal numbers for equal numbers wherever they stand in an array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphrec.recipe.expressions import (
    Apply,
    Arithmetic,
    Compare,
    Name,
    Negative,
    Number,
    Term,
    parse_expression,
)
from graphrec.recipe.model import Recipe
from graphrec.recipe.tasks import form_of, suffix

__all__ = ["Event", "class_log_odds", "evaluate", "ranking_scores"]

Array = NDArray[Any]


class Event(NamedTuple):
    """A probability [B, 1] as log p and log (1 - p)."""

    yes: Array
    no: Array

    @property
    def log_odds(self) -> Array:
        return self.yes - self.no

    @property
    def probability(self) -> Array:
        return np.asarray(np.exp(self.yes))

    def negated(self) -> Event:
        """1 - p."""
        return Event(self.no, self.yes)

    def joined(self, other: Event) -> Event:
        """p q; its opposite is (1 - p) + p (1 - q), a sum without cancellation."""
        return Event(self.yes + other.yes, np.logaddexp(self.no, self.yes + other.no))


def ranking_scores(recipe: Recipe, task: str, predictions: Mapping[str, Tensor]) -> Array:
    """A number for each row [B] that rises with the prediction; of several classes logits [B, C].

    Logits are those of the model; of two classes their difference; a task with `prob` has the
    log-odds of its expression over the other tasks' logits; a regression its value.
    """
    ending, wanted = suffix(recipe, task), form_of(recipe, task)
    if wanted == "regression":
        return _array(predictions["y" + ending])
    if wanted == "prob":
        with np.errstate(all="ignore"):  # a quotient of nothing, the logarithm of an underflow
            event = _event(recipe, task, predictions)
            scores = event.log_odds if isinstance(event, Event) else _spread_log_odds(event)
        return scores.reshape(-1)
    logits = _array(predictions["logits" + ending])
    if logits.ndim == 2 and logits.shape[1] == 2:
        return logits[:, 1].astype(np.float64) - logits[:, 0]
    return logits


def class_log_odds(logits: Array, number: int) -> Array:
    """Log-odds [N] of one class against all others together, from logits [N, C]."""
    own = logits[:, number].astype(np.float64)
    others = [logits[:, c].astype(np.float64) for c in range(logits.shape[1]) if c != number]
    top = np.max(others, axis=0)
    total = np.zeros_like(own)
    for other in others:  # one after another: each row in the same order, whatever the layout
        total += np.exp(other - top)
    return np.asarray(own - top - np.log(total))


def _array(values: Tensor) -> Array:
    """On the CPU as they are; of less than 32 bits in float32, which numpy knows."""
    exact = values if values.dtype == torch.float64 else values.float()
    return np.asarray(exact.detach().cpu().numpy())


def _event(recipe: Recipe, task: str, predictions: Mapping[str, Tensor]) -> Event | Array:
    """The probability of a task, from the logits below it."""
    spec = recipe.tasks[task]
    if spec.prob is not None:
        tree = parse_expression(spec.prob).tree
        return evaluate(tree, lambda ref: _event(recipe, ref.removesuffix(".prob"), predictions))
    if form_of(recipe, task) != "prob":
        return _of_log_odds(ranking_scores(recipe, task, predictions).reshape(-1, 1))
    parents = next(r.parents for r in recipe.relations if r.child == task)
    product: Event | Array = _of_log_odds(_array(predictions[f"head.{task}"]).reshape(-1, 1))
    for parent in sorted(parents):
        product = _times(product, _event(recipe, parent, predictions))
    return product


def _of_log_odds(log_odds: Array) -> Event:
    odds = log_odds.astype(np.float64)
    return Event(-np.logaddexp(0.0, -odds), -np.logaddexp(0.0, odds))


def _spread_log_odds(p: Array) -> Array:
    """log (p / (1 - p)), and beyond 0 and 1, where nothing is a probability, still rising."""
    odds = np.log(p) - np.log1p(-p)
    return np.where(p <= 0, -800.0 + p, np.where(p >= 1, 40.0 + p, odds))


# ---- expressions over probabilities -------------------------------------------------------------


def evaluate(term: Term, value: Callable[[str], Event | Array]) -> Event | Array:
    """The term in float64; products and complements of probabilities stay exact."""
    if isinstance(term, Name):
        return value(term.ref)
    if isinstance(term, Number):
        return np.asarray(float(term.value))
    if isinstance(term, Negative):
        return -_number(evaluate(term.operand, value))
    if isinstance(term, Arithmetic):
        left, right = evaluate(term.left, value), evaluate(term.right, value)
        if term.operator == "*":
            return _times(left, right)
        if term.operator == "-" and isinstance(right, Event) and _is_one(left):
            return right.negated()
        return np.asarray(_OPERATORS[term.operator](_number(left), _number(right)))
    if isinstance(term, Compare):
        sides = (_number(evaluate(side, value)) for side in (term.left, term.right))
        return np.asarray(_OPERATORS[term.operator](*sides))
    return _apply(term, value)


def _apply(term: Apply, value: Callable[[str], Event | Array]) -> Event | Array:
    args = [evaluate(arg, value) for arg in term.args]
    if term.function == "detach":
        return args[0]
    numbers = [_number(arg) for arg in args]
    return np.asarray(_FUNCTIONS[term.function](*numbers, *([term.sizes] if term.sizes else [])))


def _times(left: Event | Array, right: Event | Array) -> Event | Array:
    if isinstance(left, Event) and isinstance(right, Event):
        return left.joined(right)
    return np.asarray(_number(left) * _number(right))


def _number(value: Event | Array) -> Array:
    return value.probability if isinstance(value, Event) else value


def _is_one(value: Event | Array) -> bool:
    return not isinstance(value, Event) and value.ndim == 0 and float(value) == 1.0


def _softmax(x: Array) -> Array:
    weights = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def _cos(a: Array, b: Array) -> Array:
    norms = np.sqrt((a * a).sum(-1, keepdims=True) * (b * b).sum(-1, keepdims=True))
    return np.asarray((a * b).sum(-1, keepdims=True) / np.maximum(norms, 1e-8))


_OPERATORS: Mapping[str, Callable[..., Array]] = {
    "+": np.add,
    "-": np.subtract,
    "/": np.divide,
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}
_FUNCTIONS: Mapping[str, Callable[..., Array]] = {
    "clip": lambda x, low, high: np.clip(x, low, high),
    "concat": lambda *xs: np.concatenate(xs, axis=-1),
    "cos": _cos,
    "dot": lambda a, b: (a * b).sum(-1, keepdims=True),
    "log1p": lambda x: np.sign(x) * np.log1p(np.abs(x)),
    "max": lambda x: x.max(-1, keepdims=True),
    "mean": lambda x: x.mean(-1, keepdims=True),
    "relu": lambda x: np.maximum(x, 0.0),
    "reshape": lambda x, sizes: x.reshape(x.shape[0], *sizes),
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "slice": lambda x, sizes: x[..., sizes[0] : sizes[1]],
    "softmax": _softmax,
    "stack": lambda *xs: np.stack(xs, axis=1),
    "sum": lambda x: x.sum(-1, keepdims=True),
    "tanh": np.tanh,
    "where": np.where,
}
