"""What can be known about a column without knowing what it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphrec.data.forms import kind_of, plain

__all__ = ["Profile", "profile"]

_SEPARATORS = "|;,"
_VALUES = 500_000  # of lists, looked at


@dataclass(frozen=True)
class Profile:
    """A column of the sample. Numbers have `quantiles` (0, 1, 50, 99, 100 %); lists `lengths`.

    `kind`: numbers, text, truth values, times, lists of numbers, lists of text, nothing, or other.
    `values` are the distinct values of ids and lists, as text; `top` the share of the commonest.
    """

    name: str
    kind: str
    rows: int
    nulls: int
    distinct: int
    whole: bool = True
    top: float = 0.0
    quantiles: tuple[float, ...] = ()
    mean_length: float = 0.0
    longest: int = 0
    fixed: bool = False
    sep: str | None = None
    values: frozenset[str] = frozenset()
    numbers: Any = field(default=None, repr=False, compare=False)
    codes: Any = field(default=None, repr=False, compare=False)

    @property
    def is_list(self) -> bool:
        return self.kind.startswith("lists of") or self.sep is not None


def profile(name: str, column: Any) -> Profile:
    """Look at one Arrow column."""
    import pyarrow as pa

    array = plain(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    kind = kind_of(array.type)
    if kind.startswith("lists of"):
        return _of_lists(name, kind, array)
    if kind == "text":
        sep = _separator(array)
        if sep is not None:
            import pyarrow.compute as pc

            made = _of_lists(name, "text", pc.split_pattern(array, sep))
            return Profile(**{**vars(made), "sep": sep})
    if kind in ("numbers", "text", "truth values", "times"):
        return _of_values(name, kind, array)
    return Profile(name, kind, len(array), array.null_count, 0)


def _of_values(name: str, kind: str, array: Any) -> Profile:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    present = array.drop_null()
    counts = pc.value_counts(present)
    common = pc.max(counts.field("counts")).as_py() if len(counts) else 0
    numbers, mean = None, 0.0
    quantiles: tuple[float, ...] = ()
    if kind in ("numbers", "truth values"):
        numbers = np.asarray(
            array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64
        )
        known = numbers[np.isfinite(numbers)]
        if len(known):
            quantiles = tuple(map(float, np.quantile(known, (0, 0.01, 0.5, 0.99, 1))))
    elif kind == "text" and len(present):
        mean = float(pc.mean(pc.utf8_length(present)).as_py())
    whole = pt.is_integer(array.type) or kind in ("text", "truth values")
    looked_up = whole and kind != "times"
    return Profile(
        name=name,
        kind=kind,
        rows=len(array),
        nulls=array.null_count,
        distinct=len(counts),
        whole=whole,
        top=common / max(len(present), 1),
        quantiles=quantiles,
        mean_length=mean,
        values=_texts(counts.field("values")) if looked_up else frozenset(),
        numbers=numbers,
        codes=pc.dictionary_encode(array) if looked_up else None,
    )


def _of_lists(name: str, kind: str, array: Any) -> Profile:
    import pyarrow.compute as pc
    import pyarrow.types as pt

    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    values = array.flatten()[:_VALUES].drop_null()
    nested = kind_of(values.type).startswith("lists of")
    distinct = None if nested else pc.unique(values)
    return Profile(
        name=name,
        kind=kind,
        rows=len(array),
        nulls=array.null_count,
        distinct=0 if distinct is None else len(distinct),
        whole=pt.is_integer(values.type) or kind_of(values.type) == "text",
        mean_length=float(lengths.mean()) if len(lengths) else 0.0,
        longest=int(np.quantile(lengths, 0.9)) if len(lengths) else 0,
        fixed=len(lengths) > 0 and int(lengths.min()) == int(lengths.max()) > 1,
        values=_texts(distinct) if distinct is not None else frozenset(),
    )


def _texts(values: Any) -> frozenset[str]:
    import pyarrow as pa

    return frozenset(values.cast(pa.string()).to_pylist())


def _separator(texts: Any) -> str | None:
    """The mark between the values of a text, if the parts are far fewer than the texts."""
    import pyarrow.compute as pc

    some = texts.drop_null()[:20_000]
    if not len(some):
        return None
    for mark in _SEPARATORS:
        share = pc.mean(pc.match_substring(some, mark)).as_py()
        if share < 0.2:
            continue
        parts = pc.unique(pc.list_flatten(pc.split_pattern(some, mark)))
        spaced = pc.mean(pc.match_substring(some, f"{mark} ")).as_py()  # prose, not a list
        if len(parts) * 2 < len(pc.unique(some)) and spaced < 0.05:
            return mark
    return None
