"""What `row_reader` needs to know of an encoder: its features one by one, and its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.data.encoder import Encoder
from graphrec.data.numbers import null_of
from graphrec.data.plan import Field
from graphrec.data.raw_cells import Table
from graphrec.data.row_reader import Features
from graphrec.data.vocabularies import HashedRows, ListedRows
from graphrec.recipe.model import BucketFeature, DenseFeature, IdFeature

__all__ = ["row_features", "row_spec", "row_tables"]


def row_features(encoder: Encoder, sides: Mapping[str, str]) -> Features:
    """A reader of raw rows that gives what the encoder gives; `sides` by entry of the batch."""
    spec = row_spec(encoder, sides)
    return Features(spec, row_tables(encoder, spec))


def row_spec(encoder: Encoder, sides: Mapping[str, str]) -> dict[str, Any]:
    """The features of an encoder as plain data, as features.json holds them."""
    entries = [_entry(encoder, field, sides[field.key]) for field in encoder.plan.fields]
    for cross in encoder.plan.crosses:
        parts = [{"column": p.column, "default": p.feature.default} for p in cross.parts]
        entry = {"name": cross.key, "feature": cross.key, "kind": "cross", "table": cross.table}
        entries.append({**entry, "of": parts, "side": sides[cross.key]})
    tables = {}
    for name in sorted({e["table"] for e in entries if "table" in e}):
        vocabulary = encoder.vocabularies.get(name)
        kind = {ListedRows: "listed", HashedRows: "hash"}.get(type(vocabulary), "range")
        tables[name] = {"kind": kind, "rows": encoder.rows[name]}
    nulls = list(encoder.recipe.data.nulls)
    return {"version": 1, "nulls": nulls, "entries": entries, "tables": tables}


def row_tables(encoder: Encoder, spec: Mapping[str, Any]) -> dict[str, Table]:
    """The tables of a spec."""
    tables = {}
    for name, table in spec["tables"].items():
        vocabulary = encoder.vocabularies.get(name)
        arrays = vocabulary.arrays() if isinstance(vocabulary, ListedRows) else None
        tables[name] = Table(table["kind"], table["rows"], arrays)
    return tables


def _entry(encoder: Encoder, field: Field, side: str) -> dict[str, Any]:
    feature = field.feature
    entry: dict[str, Any] = {
        "name": field.key,
        "feature": feature.name,
        "column": field.column,
        "form": field.form,
        "side": side,
        "default": feature.default,
    }
    if field.sep is not None:
        entry["sep"] = field.sep
    if field.sequence is not None:
        sequence = field.sequence
        entry |= {"sequence": sequence.name, "max_len": sequence.max_len, "keep": sequence.keep}
    if field.pad is not None:
        entry["pad"] = field.pad
    if field.nested and feature.sep is not None:
        entry["inner_sep"] = feature.sep
    if isinstance(feature, DenseFeature):
        entry |= {"kind": "number", "width": feature.width, "transform": feature.transform}
        scale = encoder.learned.scales.get(field.stats)
        entry["null"] = null_of(feature, scale).tolist()
        if scale is not None and feature.transform != "log1p":
            entry |= {"shift": scale.shift.tolist(), "factor": scale.factor.tolist()}
        return entry
    entry["table"] = str(field.table)
    if field.nested:
        entry["nested"] = True
    if isinstance(feature, BucketFeature):
        return {**entry, "kind": "bucket", "edges": encoder.learned.edges[field.stats].tolist()}
    assert isinstance(feature, IdFeature)
    if field.weights:
        entry["weights"] = field.weights
    if field.inside:
        entry["inside"] = True
    return {**entry, "kind": "id", "oov": feature.oov}
