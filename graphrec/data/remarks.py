"""What a careful person should hear of the data behind a run, from what was counted.

Thresholds: values of a feature are `unseen` from `UNSEEN` on, numbers are `large` from `LARGE` on,
doubtful texts count from `DOUBTFUL` on, an order by label from `SORTED` on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from graphrec.data.counts import Counts
from graphrec.data.plan import plan
from graphrec.ground.errors import DataError, Problem
from graphrec.recipe.model import BucketFeature, DenseFeature, Recipe

__all__ = ["DOUBTFUL", "LARGE", "SORTED", "UNSEEN", "Remark", "check_limits", "data_remarks"]

UNSEEN = 0.5
"""Share of a feature's values that are not in its vocabulary, or were never trained."""
LARGE = 1e4
"""Absolute value of a transformed number: a layer of small weights can't cope with more."""
DOUBTFUL = 0.01
"""Share of a feature's texts that look like something else."""
SORTED = 0.5
"""Share of a task's rows that stand in thousands of one class, where both classes are frequent."""
_FREQUENT = 0.02  # share of the rarer class: a thousand rows without it are no chance
_NAMED = 5  # features, or reasons, named one by one

Kind = Literal[
    "quarantined", "unlabelled", "unusable", "one class", "order", "unseen", "null", "constant",
    "large", "doubtful", "schedule", "loss", "shared", "leak", "calibration",
]  # fmt: skip


Part = Literal["training", "evaluation", "scored"]


@dataclass(frozen=True)
class Remark:
    """One sentence with its numbers; `subject` is the feature, task or set of rows it is about."""

    kind: Kind
    subject: str
    text: str
    part: Part = "training"


def data_remarks(
    recipe: Recipe,
    training: Counts | None,
    evaluation: Counts | None = None,
    evaluated: Part = "evaluation",
) -> list[Remark]:
    """What was counted while training and while evaluating, as remarks; the gravest first.

    `evaluated` is what the rows of `evaluation` are called.
    """
    remarks: list[Remark] = []
    if training is not None:
        remarks += _rows(training, "training") + [*_tasks(recipe, training, "training")]
        remarks += [*_features(recipe, training), *_unseen(training, "training")]
    if evaluation is not None:
        remarks += _rows(evaluation, evaluated) + [*_tasks(recipe, evaluation, evaluated)]
        remarks += [*_unseen(evaluation, evaluated)]
        if training is None:
            remarks += _features(recipe, evaluation)
    return remarks


def check_limits(recipe: Recipe, counts: Counts, source: str) -> None:
    """Raise DataError (GR713) where rows or values are beyond what `data.limits` allows."""
    limits, problems = recipe.data.limits, []
    if limits.quarantined is not None and counts.read:
        share = counts.quarantined / counts.read
        if share > limits.quarantined:
            what = f"{counts.quarantined:,} of {counts.read:,} rows were left out ({share:.1%})"
            problems.append(_beyond(source, what, "quarantined", limits.quarantined))
    if limits.unseen is not None:
        for name, share in counts.unseen_rates().items():
            if share > limits.unseen:
                what = f"{share:.1%} of the values of `{name}` are unseen"
                problems.append(_beyond(source, what, "unseen", limits.unseen))
    if problems:
        raise DataError(problems)


def _beyond(source: str, what: str, name: str, limit: float) -> Problem:
    return Problem(
        "GR713",
        f"{source}: {what}; data.limits.{name} allows {limit:.1%}",
        path=f"data.limits.{name}",
        help="mend the data, or raise the limit if it is meant so",
    )


# ---- rows and tasks ---------------------------------------------------------------------------


def _rows(counts: Counts, part: Part) -> list[Remark]:
    if not counts.quarantined:
        return []
    why = _listed({reason: f"{n:,}" for reason, n in counts.reasons.most_common()})
    text = (
        f"{counts.quarantined:,} of {counts.read:,} {part} rows were left out"
        f"{f': {why}' if why else ''}"
    )
    return [Remark("quarantined", part, text, part)]


def _tasks(recipe: Recipe, counts: Counts, part: Part) -> Iterator[Remark]:
    rows = counts.read - counts.quarantined
    for name, task in recipe.tasks.items():
        if task.label is None or not counts.labels and not counts.unlabelled[name]:
            continue
        missing = counts.unlabelled[name]
        if name not in counts.labels:
            text = f"task `{name}`: no {part} row has a label (column `{task.label.column}`)"
            yield Remark("unlabelled", name, text, part)
            continue
        if missing:
            text = f"task `{name}`: {missing:,} {part} rows have no label, of {rows:,} read"
            yield Remark("unlabelled", name, text, part)
        if not counts.usable[name]:
            why = "its sample weights are all 0" if task.sample_weight else "its space is empty"
            text = f"task `{name}`: no {part} row counts for its loss: {why}"
            yield Remark("unusable", name, text, part)
        low, high = counts.labels[name]
        if low == high and task.kind != "regression":
            text = f"task `{name}`: every {part} label is {low:g}: there is one class only"
            yield Remark("one class", name, text, part)
        elif low == high:
            yield Remark("one class", name, f"task `{name}`: every {part} label is {low:g}", part)
        elif part == "training" and _is_sorted(recipe, counts, name):
            text = (
                f"task `{name}`: the rows are sorted by the label ({counts.one_class[name]:,} "
                "stand among a thousand and more of one class): files and row groups are mixed, "
                f"rows of one of them only with {recipe.data.shuffle:,} neighbours (data.shuffle)"
            )
            yield Remark("order", name, text, part)


def _is_sorted(recipe: Recipe, counts: Counts, task: str) -> bool:
    """Whether long stretches of one class are more than chance."""
    rows = counts.read - counts.quarantined - counts.unlabelled[task]
    rare = min(counts.positive[task], rows - counts.positive[task])
    frequent = recipe.tasks[task].kind == "binary" and rare > _FREQUENT * rows
    return frequent and rows > recipe.data.shuffle and counts.one_class[task] > SORTED * rows


# ---- features ---------------------------------------------------------------------------------


def _features(recipe: Recipe, counts: Counts) -> Iterator[Remark]:
    empty = [name for name, share in counts.null_rates().items() if share == 1.0]
    if empty:
        text = f"null in every row: {_names(empty)}"
        yield Remark("null", ", ".join(empty), text)
    constant = [name for name, (low, high) in sorted(counts.ranges.items()) if low == high]
    constant = [name for name in constant if name not in empty and counts.cells[name] > 1]
    if constant:
        yield Remark("constant", ", ".join(constant), f"the same in every row: {_names(constant)}")
    yield from _large(recipe, counts)
    for reason, number in counts.doubtful.most_common():
        feature = reason.partition(": ")[0]
        looked = counts.looked[feature]
        if number >= DOUBTFUL * looked:
            share = number / max(looked, 1)
            text = f"feature `{feature}`: {share:.0%} of its texts {reason.partition(': ')[2]}"
            yield Remark("doubtful", feature, text)


def _large(recipe: Recipe, counts: Counts) -> Iterator[Remark]:
    for field in plan(recipe).fields:
        feature, bounds = field.feature, counts.ranges.get(field.key)
        if isinstance(feature, BucketFeature) or not isinstance(feature, DenseFeature):
            continue
        if bounds is None or max(abs(bounds[0]), abs(bounds[1])) < LARGE:
            continue
        text = (
            f"feature `{field.key}`: numbers from {bounds[0]:.4g} to {bounds[1]:.4g} reach the "
            f"model (transform: {feature.transform}): too large to learn from; "
            "transform: zscore, or log1p, brings them near 1"
        )
        yield Remark("large", field.key, text)


def _unseen(counts: Counts, part: Part) -> Iterator[Remark]:
    rates = {name: share for name, share in counts.unseen_rates().items() if share >= UNSEEN}
    if rates:
        ordered = sorted(rates, key=lambda name: (-rates[name], name))
        shares = _listed({f"`{name}`": f"{rates[name]:.0%}" for name in ordered})
        what = "values outside their vocabulary" if part == "training" else "unseen values"
        yield Remark("unseen", ", ".join(ordered), f"{what} in the {part} rows: {shares}", part)


def _names(names: list[str]) -> str:
    return _listed({f"`{name}`": "" for name in names})


def _listed(facts: Mapping[str, str]) -> str:
    """`a` 90 %, `b` 60 %, and 3 more."""
    shown = [f"{name} {value}".strip() for name, value in [*facts.items()][:_NAMED]]
    more = len(facts) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more else "")
