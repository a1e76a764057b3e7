"""Which columns a recipe needs of its data, and what becomes of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from graphrec.recipe.model import (
    BucketFeature,
    CrossFeature,
    DenseFeature,
    IdFeature,
    Recipe,
    SequenceFeature,
    Task,
)
from graphrec.recipe.tasks import grouping_columns

__all__ = ["INSIDE", "Cross", "Field", "Plan", "item_plan", "plan", "row_plan"]

INSIDE = "inside"
"""`weights: inside`: no column, but a part of every value."""


@dataclass(frozen=True)
class Field:
    """One entry of `Batch.features` that is read from a column.

    `form`: `single` (one value a row), `multi` (a pooled list) or `sequence`. `key` is the entry's
    name, `click_50.price` for a column of a sequence. `table` is None for dense numbers.
    """

    key: str
    column: str
    feature: IdFeature | BucketFeature | DenseFeature
    form: Literal["single", "multi", "sequence"] = "single"
    table: str | None = None
    sequence: SequenceFeature | None = None
    sep: str | None = None
    nulls: tuple[str, ...] = ()

    @property
    def weights(self) -> str | None:
        """Column of the values' weights."""
        written = self._weights
        return None if written == INSIDE else written

    @property
    def inside(self) -> bool:
        """Whether every value carries its weight: `17:0.35`."""
        return self._weights == INSIDE

    @property
    def _weights(self) -> str | None:
        single = self.sequence is None and isinstance(self.feature, IdFeature)
        return self.feature.weights if single else None  # type: ignore[union-attr]

    @property
    def pad(self) -> int | float | str | None:
        """The value that fills up lists and is none."""
        if self.sequence is not None:
            return self.sequence.pad
        return self.feature.pad if isinstance(self.feature, IdFeature) else None

    @property
    def nested(self) -> bool:
        """Whether every step of a history is itself a list: pooled ids, or a vector."""
        if self.sequence is None:
            return False
        if isinstance(self.feature, DenseFeature):
            return self.feature.width > 1
        return self.feature.pool is not None

    @property
    def stats(self) -> str:
        """Name under which edges and statistics are kept: history and target share them."""
        return self.feature.name


@dataclass(frozen=True)
class Cross:
    """A feature computed from the columns of others."""

    key: str
    parts: tuple[Field, ...]
    table: str
    rows: int


@dataclass(frozen=True)
class Plan:
    """Everything read from the data; `uses` says for each column who needs it."""

    fields: tuple[Field, ...]
    crosses: tuple[Cross, ...]
    tasks: Mapping[str, Task]
    groups: Mapping[str, str]
    """Key of `Batch.columns` -> column, for sessions and grouped metrics: identities of values."""
    spaces: Mapping[str, str]
    """Key of `Batch.columns` -> column or task, for spaces: numbers."""
    uses: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns to read, sorted."""
        return tuple(sorted(self.uses))

    def only(self, keys: Collection[str]) -> Plan:
        """What these entries of `Batch.features` need, and nothing beside them."""
        fields = tuple(f for f in self.fields if f.key in keys)
        crosses = tuple(c for c in self.crosses if c.key in keys)
        read = [(f, f.key) for f in fields]
        read += [(part, cross.key) for cross in crosses for part in cross.parts]
        uses = {field.column: f"feature `{key}`" for field, key in reversed(read)}
        uses |= {f.weights: f"the weights of feature `{f.key}`" for f in fields if f.weights}
        return Plan(fields, crosses, {}, {}, {}, uses)

    def ids(self) -> frozenset[str]:
        """Columns that are read as text from CSV and as dictionaries from Parquet."""
        ids = {f.column for f in self.fields if isinstance(f.feature, IdFeature)}
        return frozenset(ids | set(self.groups.values()))


def plan(recipe: Recipe) -> Plan:
    """What the recipe needs of its data."""
    fields = {f.key: replace(f, nulls=recipe.data.nulls) for f in _fields(recipe)}
    crosses = tuple(
        Cross(name, tuple(fields[part] for part in f.of), f.share or name, f.vocab.args[0])
        for name, f in sorted(recipe.features.items())
        if isinstance(f, CrossFeature)
    )
    groups, spaces = _beside(recipe)
    uses: dict[str, str] = {}
    for item in fields.values():
        uses.setdefault(item.column, f"feature `{item.key}`")
        if item.weights:
            uses.setdefault(item.weights, f"the weights of feature `{item.key}`")
    for name, task in sorted(recipe.tasks.items()):
        if task.label:
            uses.setdefault(task.label.column, f"the label of task `{name}`")
        if task.sample_weight:
            uses.setdefault(task.sample_weight, f"the sample weight of task `{name}`")
    for key, column in groups.items():
        uses.setdefault(column, f"the groups of `{key}`")
    for key, column in spaces.items():
        if column not in recipe.tasks:
            uses.setdefault(column, f"the space `{key}`")
    if recipe.data.split and recipe.data.split.by:
        uses.setdefault(recipe.data.split.by, "data.split")
    return Plan(
        tuple(fields.values()), crosses, dict(sorted(recipe.tasks.items())), groups, spaces, uses
    )


def row_plan(recipe: Recipe) -> Plan:
    """What the rows have: everything, but for retrieval, whose items have a file of their own."""
    whole, retrieval = plan(recipe), recipe.retrieval
    if retrieval is None:
        return whole
    rows = whole.only({key for key in _keys(whole) if not _is_of_item(recipe, key)})
    candidates = retrieval.candidates
    groups = {candidates.key: candidates.key}
    uses = {**rows.uses, candidates.key: "the key of retrieval"}
    tasks: dict[str, Task] = {}
    if candidates.hard_by is not None:
        groups[candidates.hard_by] = candidates.hard_by
        uses.setdefault(candidates.hard_by, "the hard negatives of retrieval")
    if retrieval.label is not None:
        tasks = recipe.with_wanted().tasks
        uses.setdefault(retrieval.label.column, "the label of retrieval")
    if recipe.data.split and recipe.data.split.by:
        uses.setdefault(recipe.data.split.by, "data.split")
    return replace(rows, tasks=tasks, groups=groups, uses=uses)


def item_plan(recipe: Recipe) -> Plan:
    """What the file of items has: the features of items, and their key."""
    whole, retrieval = plan(recipe), recipe.retrieval
    assert retrieval is not None
    items = whole.only({key for key in _keys(whole) if _is_of_item(recipe, key)})
    key, by = retrieval.candidates.key, retrieval.candidates.by
    uses = {**items.uses, key: "the key of retrieval"}
    if by not in ("uniform", "frequency"):
        uses.setdefault(by, "the draw of negatives (candidates.by)")
    return replace(items, groups={key: key}, uses=uses)


def _keys(whole: Plan) -> list[str]:
    return [*(field.key for field in whole.fields), *(cross.key for cross in whole.crosses)]


def _is_of_item(recipe: Recipe, key: str) -> bool:
    return recipe.features[key.partition(".")[0]].side == "item"


def _fields(recipe: Recipe) -> list[Field]:
    fields = []
    for name, feature in sorted(recipe.features.items()):
        if isinstance(feature, SequenceFeature):
            for base in sorted(feature.of):
                part = recipe.features[base]
                assert isinstance(part, IdFeature | BucketFeature | DenseFeature)
                column = feature.columns.get(base) or f"{name}__{base}"
                table = None if isinstance(part, DenseFeature) else (part.share or base)
                if table and not feature.share:
                    table = f"{name}__{base}"
                fields.append(
                    Field(f"{name}.{base}", column, part, "sequence", table, feature, feature.sep)
                )
        elif isinstance(feature, DenseFeature):
            fields.append(Field(name, feature.column or name, feature, sep=feature.sep))
        elif not isinstance(feature, CrossFeature):
            form: Literal["single", "multi"] = "multi" if feature.pool else "single"
            table = feature.share or name
            fields.append(
                Field(name, feature.column or name, feature, form, table, sep=feature.sep)
            )
    return fields


def _beside(recipe: Recipe) -> tuple[dict[str, str], dict[str, str]]:
    """Grouping columns and space columns, by the name the recipe uses for them."""
    spaces: dict[str, str] = {}
    for task in recipe.tasks.values():
        if task.space is not None:
            label = task.space.label
            owners = [n for n, t in recipe.tasks.items() if t.label and t.label.column == label]
            spaces[label] = label if label in recipe.tasks else (owners[0] if owners else label)
    groups: dict[str, str] = {}
    for name in grouping_columns(recipe):
        if name not in spaces:
            feature = recipe.features.get(name)
            groups[name] = (feature.column if feature else None) or name
    return dict(sorted(groups.items())), dict(sorted(spaces.items()))
