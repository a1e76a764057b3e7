"""Columns and tables: how each feature is looked up, and which features share a table."""

from __future__ import annotations

from typing import Any

from graphrec.compiler.frontend.context import Context
from graphrec.graph import Lookup, Side, Table
from graphrec.ground.errors import suggestion
from graphrec.recipe.model import CrossFeature, DenseFeature, IdFeature, SequenceFeature

__all__ = ["Columns"]


class Columns:
    """A lookup for every column of the batch, and the tables they read."""

    def __init__(self, context: Context, plain: list[str], sequences: list[str]) -> None:
        self.context = context
        self.features = context.recipe.features
        self.plain = plain
        self.columns: dict[str, Lookup] = {}
        self.tables: dict[str, Table] = {}
        self._owners: dict[str, str] = {}
        for name in plain:
            self._add_plain(name)
        for name in sequences:
            self._add_sequence(name)

    def _add_plain(self, name: str) -> None:
        feature = self.features[name]
        if isinstance(feature, DenseFeature):
            self.columns[name] = _dense(name, feature, self._side(name))
            return
        assert not isinstance(feature, SequenceFeature)
        table = feature.share or name
        self._table(table, name)
        if isinstance(feature, CrossFeature):
            self._check_cross(name, feature)
        side = self._side(name)
        self.columns[name] = Lookup(name, "id", feature.dim, table, feature.pool, side=side)

    def _check_cross(self, name: str, feature: CrossFeature) -> None:
        if feature.pool is not None:
            message = "`pool` has no meaning here: a cross has one value per row"
            self.context.report("GR205", f"features.{name}.pool", message)
        for i, part in enumerate(feature.of):
            if {f"features.{part}", "features"} & self.context.broken:
                continue
            other = self.features.get(part)
            if other is None:
                known = [n for n in self.plain if isinstance(self.features[n], IdFeature)]
                self.context.report(
                    "GR301",
                    f"features.{name}.of.{i}",
                    f"no feature `{part}`",
                    suggestion(part, known),
                )
            elif not isinstance(other, IdFeature) or other.pool:
                self.context.report(
                    "GR309",
                    f"features.{name}.of.{i}",
                    f"`{part}` is not a single-valued id feature: a cross combines ids only",
                )

    def _add_sequence(self, name: str) -> None:
        sequence, side = self.features[name], self._side(name)
        assert isinstance(sequence, SequenceFeature)
        for i, base in enumerate(sequence.of):
            path = f"features.{name}.of.{i}"
            feature = self.features.get(base)
            if feature is None:
                if not {f"features.{base}", "features"} & self.context.broken:
                    self.context.report(
                        "GR301", path, f"no feature `{base}`", suggestion(base, self.plain)
                    )
                continue
            column = f"{name}.{base}"
            if isinstance(feature, DenseFeature):
                if feature.dim is not None:
                    self.context.report(
                        "GR309",
                        path,
                        f"`{base}` has a learned vector (dim): not in a sequence yet",
                        "use the plain number (no dim), or a bucket feature",
                    )
                self.columns[column] = Lookup(
                    column, "dense_sequence", feature.width, width=feature.width, side=side
                )
            elif isinstance(feature, (SequenceFeature, CrossFeature)):
                self.context.report(
                    "GR309",
                    path,
                    f"`{base}` is a {feature.type}: a sequence is of id, bucket and dense features",
                )
            else:
                table = feature.share or base
                if not sequence.share:
                    table = f"{name}__{base}"
                    self._table(table, base)
                self.columns[column] = Lookup(
                    column, "sequence", feature.dim, table, feature.pool, side=side
                )

    def _side(self, name: str) -> Side:
        """A cross of the request's features alone is the request's too."""
        feature = self.features[name]
        if isinstance(feature, CrossFeature) and feature.side is None:
            known = [part for part in feature.of if part in self.features]
            sides = [self.features[part].side for part in known]
        else:
            sides = [feature.side]
        return "request" if sides and set(sides) <= {"user", "context"} else "candidates"

    def _table(self, table: str, name: str) -> None:
        """Declare a table for a feature; features that share one must agree on all of it."""
        feature: Any = self.features[name]
        rows = None
        vocab = feature.vocab if feature.type != "bucket" else None
        if vocab is not None and vocab.name in ("range", "hash"):
            rows = vocab.args[0] + 1
        elif feature.type == "bucket":
            edges = feature.edges
            rows = (len(edges) + 1 if isinstance(edges, tuple) else edges.args[0]) + 1
        wanted = Table(
            table, rows, feature.dim, str(feature.init), feature.trainable, feature.dtype
        )
        known = self.tables.setdefault(table, wanted)
        owner = self._owners.setdefault(table, name)
        if owner == name:
            return
        first: Any = self.features[owner]
        for field in ("vocab", "edges", "dim", "init", "pool", "dtype", "trainable"):
            mine, theirs = getattr(feature, field, None), getattr(first, field, None)
            if mine != theirs:
                where = self.context.line(f"features.{owner}")
                self.context.report(
                    "GR310",
                    f"features.{name}.{field}",
                    f"table `{table}` is shared, but {field} is {_said(mine)} here"
                    f" and {_said(theirs)} for `{owner}` ({where})",
                    "give both features the same setting, or another `share` name",
                )
        assert known.name == table


def _dense(name: str, feature: DenseFeature, side: Side) -> Lookup:
    if feature.autodis is not None and feature.dim is not None:
        options = feature.autodis.model_dump()
        return Lookup(name, "autodis", feature.dim, width=feature.width, options=options, side=side)
    if feature.dim is not None:
        return Lookup(name, "scaled", feature.dim, width=feature.width, side=side)
    return Lookup(name, "dense", feature.width, width=feature.width, side=side)


def _said(value: object) -> str:
    return "not given" if value is None else str(value)
