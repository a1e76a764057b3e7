"""Generated columns: Zipf ids, related numbers, multi-values, histories that show a taste."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphrec.data.chunk import Array, offsets_of
from graphrec.data.files import vocabulary_file
from graphrec.data.plan import Field, Plan
from graphrec.data.planted import TASTES, Drawn, mean_of_steps, seed_of
from graphrec.recipe.model import BucketFeature, DenseFeature, IdFeature, SequenceFeature

__all__ = ["Columns"]

_HASHED, _FITTED, _GROUPS = 10_000, 1_000, 1_000
_STEEP = 2.0  # exponent of the uniform draw; at 1 ranks follow 1 / (r + 1)
_STEPS = 20  # longest generated history
_LARGE = 2 * TASTES  # domains from this size on show a taste

Steps = tuple[Array, Array]
"""Offsets [B + 1] of histories, taste of every step [T]."""


class Columns:
    """Draws the columns of a plan; `domains` are the ids' sizes, `pairs` those that interact."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._fields = _by_column(plan)
        known = {t.label.column for t in plan.tasks.values() if t.label} | set(plan.spaces.values())
        self._extra = sorted(set(plan.uses) - set(self._fields) - known)
        numeric = {f.column for f in plan.fields if not isinstance(f.feature, IdFeature)}
        self._histories = _histories(plan)
        self._texts: dict[str, Any] = {}
        self.domains: dict[str, int] = {}
        for f in self._fields.values():
            if isinstance(f.feature, IdFeature) and f.sequence is None:
                self.domains[f.column] = self._open(f, f.feature, f.column in numeric)
        singles = [
            f for f in self._fields.values() if f.form == "single" and f.column in self.domains
        ]
        size = self.domains.__getitem__
        users = sorted(
            (f.column for f in singles if _side(f) == "user"), key=lambda c: (-size(c), c)
        )
        items = sorted(
            (f.column for f in singles if _side(f) == "item"), key=lambda c: (-size(c), c)
        )
        self._owner = users[0] if users else None
        histories = {_base(f) for f in self._fields.values() if f.sequence is not None}
        self._targets = {f.column for f in singles if f.column in histories}
        self.pairs = self._pairs(
            users, items, sorted((f.column for f in singles), key=lambda c: (-size(c), c))
        )

    def draw(self, random: Any, rows: int) -> tuple[dict[str, Any], Drawn]:
        """Arrow columns of `rows` rows without labels, and the values behind them."""
        drawn = Drawn()
        taste = random.integers(0, TASTES, rows)
        if self._owner is not None:
            owner = _zipf(random, self.domains[self._owner], rows)
            drawn.ids[self._owner] = owner
            taste = np.where(random.random(rows) < 0.85, owner % TASTES, taste)
        liked = np.where(random.random(rows) < 0.35, taste, random.integers(0, TASTES, rows))
        common = random.normal(size=rows)
        arrays: dict[str, Any] = {}
        for column, f in self._fields.items():
            if f.sequence is None and isinstance(f.feature, IdFeature):
                arrays[column] = self._ids(f, liked, drawn, random)
            elif f.sequence is None:
                arrays[column] = self._numbers(f, common, drawn, random)
        steps: dict[str, Steps] = {}
        for column, f in self._fields.items():
            if f.sequence is not None:
                history = self._histories[f.sequence.name]
                if history not in steps:
                    steps[history] = _steps(f.sequence, taste, random)
                arrays[column] = self._history(f, steps[history], drawn, random)
        for column in self._extra:
            arrays[column] = self._beside(column, drawn, random, rows)
        return arrays, drawn

    # ---- one column --------------------------------------------------------------------------

    def _ids(self, f: Field, liked: Array, drawn: Drawn, random: Any) -> Any:
        column, rows = f.column, len(liked)
        if f.form == "multi":
            offsets = offsets_of(random.integers(0, 5, rows))
            kinds = _mixed(np.repeat(liked, np.diff(offsets)), 0.5, random)
            values = self._values(column, kinds, random)
            drawn.many[column] = (values, offsets)
            return _listed(f, self._raw(column, values), offsets)
        if column not in drawn.ids:
            target = column in self._targets
            values = (
                self._values(column, liked, random)
                if target
                else _zipf(random, self.domains[column], rows)
            )
            if not target and f.feature.default is None and seed_of(column) % 4 == 0:
                values = np.where(random.random(rows) < 0.02, -1, values)
            drawn.ids[column] = values
        return self._raw(column, drawn.ids[column])

    def _history(self, f: Field, steps: Steps, drawn: Drawn, random: Any) -> Any:
        offsets, kinds = steps
        sequence, base = f.sequence, _base(f)
        assert sequence is not None
        inner: Array | None = None
        if f.nested:
            # In text one step without an id would look like no step.
            least = 0 if f.sep is None else 1
            sizes = (
                np.full(len(kinds), f.feature.width)
                if isinstance(f.feature, DenseFeature)
                else random.integers(least, 4, len(kinds))
            )
            inner, kinds = offsets_of(sizes), np.repeat(kinds, sizes)
        if not isinstance(f.feature, IdFeature):
            numbers = pa.array(_raw_numbers(f, random.normal(size=len(kinds)))[0])
            return _listed(f, numbers, offsets, inner)
        values = self._values(base, kinds, random)
        if inner is not None:
            drawn.steps[f.key] = (base, values, inner[offsets])
            return _listed(f, self._raw(base, values), offsets, inner)
        drawn.steps[f.key] = (base, values, offsets)
        known = sequence.name in drawn.matches
        if not known and base in self._targets and self.domains[base] >= _LARGE:
            target = np.repeat(drawn.ids[base] % TASTES, np.diff(offsets))
            drawn.matches[sequence.name] = mean_of_steps(values % TASTES == target, offsets)
        return _listed(f, self._raw(base, values), offsets)

    def _numbers(self, f: Field, common: Array, drawn: Drawn, random: Any) -> Any:
        rows = len(common)
        latent = 0.6 * common + 0.8 * random.normal(size=rows)
        width = f.feature.width if isinstance(f.feature, DenseFeature) else 1
        raw, visible = _raw_numbers(f, latent)
        if width > 1:
            others = [_raw_numbers(f, random.normal(size=rows))[0] for _ in range(width - 1)]
            values = pa.array(np.stack([raw, *others], 1).reshape(-1))
            drawn.numbers[f.column] = visible
            return _listed(f, values, np.arange(0, rows * width + 1, width))
        if f.form == "multi":
            return _listed(f, pa.array(raw), np.arange(rows + 1))
        null = random.random(rows) < (0.05 if seed_of(f.column) % 3 == 0 else 0.0)
        drawn.numbers[f.column] = np.where(null, 0.0, visible)
        return pa.array(raw, mask=null)

    def _beside(self, column: str, drawn: Drawn, random: Any, rows: int) -> Any:
        """Weights of values or rows, and what rows are grouped by."""
        for f in self._plan.fields:
            if f.weights == column:
                offsets = drawn.many[f.column][1]
                return _listed(f, pa.array(random.uniform(0.5, 1.5, int(offsets[-1]))), offsets)
        if any(task.sample_weight == column for task in self._plan.tasks.values()):
            return pa.array(random.uniform(0.5, 1.5, rows))
        return pa.array(_zipf(random, _GROUPS, rows))

    # ---- values ------------------------------------------------------------------------------

    def _open(self, f: Field, feature: IdFeature, numeric: bool) -> int:
        """Size of the column's domain; its texts, unless its values are integers."""
        kind, args = feature.vocab.name, feature.vocab.args
        if kind == "range":
            return int(args[0])
        if kind == "file":
            self._texts[f.column] = vocabulary_file(feature)
            return len(self._texts[f.column])
        size = min(args[0], _HASHED) if kind == "hash" else _FITTED
        if not numeric:
            self._texts[f.column] = pa.array([f"{f.table}_{i}" for i in range(size)])
        return size

    def _values(self, column: str, kinds: Array, random: Any) -> Array:
        """Zipf values of the wanted tastes, where the domain is large enough to have them."""
        size = self.domains[column]
        if size < _LARGE:
            return _zipf(random, size, len(kinds))
        return _zipf(random, size // TASTES, len(kinds)) * TASTES + kinds

    def _raw(self, column: str, values: Array) -> Any:
        """Arrow values; -1 is null."""
        null = values < 0
        if column not in self._texts:
            return pa.array(values, mask=null if null.any() else None)
        codes = pa.array(values.astype(np.int32), mask=null if null.any() else None)
        return pa.DictionaryArray.from_arrays(codes, self._texts[column])

    def _pairs(self, users: list[str], items: list[str], all_: list[str]) -> list[tuple[str, str]]:
        pairs = {(a, b): None for a in users[:2] for b in items[:2]}
        if not pairs:
            pairs = dict.fromkeys(zip(all_[:4], all_[1:4], strict=False))
        for cross in self._plan.crosses:
            columns = [part.column for part in cross.parts if part.column in all_]
            pairs.update(dict.fromkeys(zip(columns, columns[1:], strict=False)))
        return sorted(pairs)


def _by_column(plan: Plan) -> dict[str, Field]:
    """The field that decides what a column holds: an id before a number."""
    fields: dict[str, Field] = {}
    for f in plan.fields:
        known = fields.get(f.column)
        if known is None or (
            isinstance(f.feature, IdFeature) and not isinstance(known.feature, IdFeature)
        ):
            fields[f.column] = f
    return fields


def _histories(plan: Plan) -> dict[str, str]:
    """Sequence -> the first one that it shares a column with, by way of others too: equal steps."""
    fields = [(f.column, f.sequence.name) for f in plan.fields if f.sequence is not None]
    source_of = {name: name for _, name in fields}
    first: dict[str, str] = {}
    for column, name in fields:
        old, new = source_of[name], source_of[first.setdefault(column, name)]
        source_of = {key: new if value == old else value for key, value in source_of.items()}
    return source_of


def _base(f: Field) -> str:
    return f.feature.column or f.feature.name


def _side(f: Field) -> str | None:
    return f.feature.side or f.feature.group


def _zipf(random: Any, size: int, count: int) -> Array:
    """Ranks 0..size-1, few of them frequent: somewhat steeper than probabilities 1 / (r + 1)."""
    values = np.exp(random.random(count) ** _STEEP * np.log(size + 1.0))
    ranks: Array = np.minimum(values.astype(np.int64) - 1, size - 1)
    return ranks


def _mixed(kinds: Array, share: float, random: Any) -> Array:
    """A `share` of the tastes kept, the others drawn anew."""
    return np.where(
        random.random(len(kinds)) < share, kinds, random.integers(0, TASTES, len(kinds))
    )


def _steps(sequence: SequenceFeature, taste: Array, random: Any) -> Steps:
    """Histories, mostly of the user's taste; never longer than the model reads."""
    offsets = offsets_of(random.integers(0, min(sequence.max_len, _STEPS) + 1, len(taste)))
    return offsets, _mixed(np.repeat(taste, np.diff(offsets)), 0.6, random)


def _raw_numbers(f: Field, latent: Array) -> tuple[Array, Array]:
    """Numbers as they stand in the data, and what a model can see of those behind them."""
    feature = f.feature
    if isinstance(feature, BucketFeature) and isinstance(feature.edges, tuple):
        edges = np.array(feature.edges)
        count = len(edges) + 1
        bucket = np.clip(((np.tanh(latent * 0.8) + 1) / 2 * count).astype(np.int64), 0, count - 1)
        inner = np.r_[edges[0] - 1.0, (edges[1:] + edges[:-1]) / 2, edges[-1] + 1.0]
        return inner[bucket], (bucket + 0.5) / count * 3.4 - 1.7
    name = feature.transform if isinstance(feature, DenseFeature) else "log1p"
    forms: dict[str, Callable[[Array], Array]] = {
        "none": lambda x: x,
        "log1p": lambda x: np.exp(3.0 + x),
        "zscore": lambda x: 10.0 + 5.0 * x,
        "minmax": lambda x: 100.0 / (1.0 + np.exp(-x)),
    }
    return forms[name](latent).astype(np.float32), latent


def _listed(f: Field, values: Any, offsets: Array, inner: Array | None = None) -> Any:
    """A list column, or texts where the recipe says `sep`; with `inner` lists of lists."""
    if inner is None:
        return _joined(values, offsets, f.sep)
    # Steps that are lists can't be joined to a text: then the history is a list, too.
    steps = _joined(values, inner, f.feature.sep)
    return _joined(steps, offsets, f.sep if f.feature.sep is not None else None)


def _joined(values: Any, offsets: Array, sep: str | None) -> Any:
    if sep is None:
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
    plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    texts = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), plain.cast(pa.string()))
    return pc.binary_join(texts, sep)
