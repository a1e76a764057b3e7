"""Whose property a column is, told by its name or by what repeats with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphrec.importers.from_data.column_names import side_named
from graphrec.importers.from_data.profile import Profile
from graphrec.importers.from_data.roles import Role

__all__ = ["with_sides"]

_SAME = 0.995  # of the rows that repeat a key: those with the key's usual value
_REPEATS = 2.0  # rows of a key, at least on average


def with_sides(roles: Sequence[Role], columns: Mapping[str, Profile], table: Any) -> list[Role]:
    """The roles with `side: user | item`, where the data has ids of both.

    A column that is always the same for one user is the user's, and likewise for items; what both
    could be said of, or neither, stays unsaid. Histories are the user's.
    """
    keys = {side: _key(side, roles, columns) for side in ("user", "item")}
    if not all(keys.values()):
        return list(roles)
    codes = {side: _codes(table.column(key)) for side, key in keys.items()}
    sided = []
    for role in roles:
        side = "" if role.kind == "out" else _side(role, keys, codes, table)
        sided.append(replace(role, settings={"side": side, **role.settings}) if side else role)
    return sided


def _key(side: str, roles: Sequence[Role], columns: Mapping[str, Profile]) -> str:
    """The id column of that side: the one of most values whose name says so."""
    named = [r.name for r in roles if r.kind == "id" and side_named(r.name) == side]
    whole = [n for n in named if n.lower().rstrip("s").endswith(("id", side))] or named
    return max(whole, key=lambda name: columns[name].distinct, default="")


def _side(role: Role, keys: Mapping[str, str], codes: Mapping[str, Any], table: Any) -> str:
    for side, key in keys.items():
        if role.name == key:
            return side
    if role.kind == "history":
        return "user"
    if role.kind == "pooled" and role.settings.get("sep") is None:
        return side_named(role.name)
    values = _codes(table.column(role.name))
    fixed = [side for side in keys if _depends(values, codes[side])]
    if len(fixed) == 1:
        return fixed[0]
    named = side_named(role.name)
    return named if not fixed or named in fixed else ""


def _codes(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return np.arange(len(array))
    encoded = array if pa.types.is_dictionary(array.type) else pc.dictionary_encode(array)
    return np.asarray(pc.fill_null(encoded.indices.cast(pa.int64()), -1)) + 1


def _depends(values: Any, key: Any) -> bool:
    """Whether a key's rows nearly all have one value, where keys repeat."""
    number = int(key.max()) + 1 if len(key) else 0
    pairs, counts = np.unique(
        key.astype(np.int64) * (int(values.max()) + 1) + values, return_counts=True
    )
    owners = pairs // (int(values.max()) + 1)
    rows = np.bincount(owners, counts, minlength=number)
    usual = np.zeros(number)
    np.maximum.at(usual, owners, counts)
    repeated = rows >= 2
    if rows.sum() < _REPEATS * (rows > 0).sum() or len(np.unique(values)) < 2:
        return False
    return bool(usual[repeated].sum() >= _SAME * rows[repeated].sum())
