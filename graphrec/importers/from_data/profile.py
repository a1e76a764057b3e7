"""What can be known about a column without knowing what it means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graphrec.data.forms import kind_of, plain
from graphrec.importers.from_data.separators import (
    Splitting,
    in_brackets,
    lists_in_brackets,
    splitting,
)

__all__ = ["Profile", "profile"]

_VALUES = 500_000  # of lists, looked at


@dataclass(frozen=True)
class Profile:
    """A column of the sample. Numbers have `quantiles` (0, 1, 50, 99, 100 %); lists `lengths`.

    `kind`: numbers, text, truth values, times, lists of numbers, lists of text, nothing, or other.
    `whole`: integers, also those written as floats, and texts. `values` are the distinct values of
    ids and lists, as text; `top` the share of the commonest. `pad` fills up lists of one length;
    `pairs`: every value of a list carries a weight, `17:0.5`. `present`: which rows have a value.
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
    pad: str | None = None
    sep: str | None = None
    pairs: bool = False
    values: frozenset[str] = frozenset()
    present: Any = field(default=None, repr=False, compare=False)
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
        if in_brackets(array):
            return _of_printed(name, array)
        split = splitting(array)
        if split is not None:
            return _of_texts(name, array, split)
    if kind in ("numbers", "text", "truth values", "times"):
        return _of_values(name, kind, array)
    return Profile(name, kind, len(array), array.null_count, 0)


def _of_texts(name: str, array: Any, split: Splitting) -> Profile:
    """A column of texts that hold several values each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    present = pc.if_else(pc.equal(array, ""), pa.scalar(None, array.type), array)
    lists = pc.split_pattern(present, split.sep)
    if split.pairs:
        values = pc.replace_substring_regex(lists.values, r":[^:]*$", "")
        lists = pa.ListArray.from_arrays(lists.offsets, values)
    return replace(_of_lists(name, "text", lists), sep=split.sep, pairs=split.pairs)


def _of_printed(name: str, array: Any) -> Profile:
    """A column of lists as Python or JSON print them."""
    import pyarrow.types as pt

    lists = lists_in_brackets(array)
    numbers = pt.is_floating(lists.type.value_type)
    kind = "lists of numbers" if numbers else "lists of text"
    return replace(_of_lists(name, kind, lists), sep=",")


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
    if numbers is not None and not whole and _are_whole(numbers):
        # The form that nulls leave integers in; the values are read as integers later, too.
        whole, array = True, array.cast(pa.int64(), safe=False)
        counts = pc.value_counts(array.drop_null())
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
        present=_present(array, numbers),
        numbers=numbers,
        codes=pc.dictionary_encode(array) if looked_up else None,
    )


def _of_lists(name: str, kind: str, array: Any) -> Profile:
    import pyarrow.compute as pc
    import pyarrow.types as pt

    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    pad = _padding(array, lengths)
    if pad is not None:
        lengths = _without_padding(array, lengths, pad)
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
        pad=pad,
        present=lengths > 0,
        values=_texts(distinct) - {pad} if distinct is not None else frozenset(),
    )


def _present(array: Any, numbers: Any) -> Any:
    """Which rows have a value: neither null nor an empty text."""
    import pyarrow.compute as pc

    if numbers is not None:
        return np.isfinite(numbers)
    valid = array.is_valid()
    if kind_of(array.type) == "text":
        valid = pc.fill_null(pc.and_(valid, pc.not_equal(array, "")), False)
    return valid.to_numpy(zero_copy_only=False)


def _texts(values: Any) -> frozenset[str]:
    import pyarrow as pa

    return frozenset(values.cast(pa.string()).to_pylist())


def _are_whole(numbers: Any) -> bool:
    known = numbers[np.isfinite(numbers)]
    return bool(len(known) and (known == np.floor(known)).all() and np.abs(known).max() < 2.0**53)


def _padding(array: Any, lengths: Any) -> str | None:
    """The value that fills up lists of one length: 0, -1 or "" at an end of many of them."""
    import pyarrow as pa

    longest = int(lengths.max()) if len(lengths) else 0
    if longest < 2 or (lengths[lengths > 0] != longest).any():
        return None
    values = array.flatten()
    if kind_of(values.type) not in ("numbers", "text") or values.null_count:
        return None
    texts = np.asarray(values.cast(pa.string()).to_numpy(zero_copy_only=False)).reshape(-1, longest)
    for pad in ("0", "-1", "", "0.0", "-1.0"):
        fills = texts == pad
        ends = fills[:, -1] | fills[:, 0]
        inner = np.diff(fills.astype(np.int8), axis=1)
        if (
            ends.mean() > 0.1
            and fills.any(1).mean() > 0.1
            and (np.abs(inner).sum(1) <= 1).mean() > 0.99
        ):
            return pad
    return None


def _without_padding(array: Any, lengths: Any, pad: str) -> Any:
    import pyarrow as pa

    texts = np.asarray(array.flatten().cast(pa.string()).to_numpy(zero_copy_only=False))
    kept = np.zeros(len(lengths), np.int64)
    np.add.at(kept, np.repeat(np.arange(len(lengths)), lengths), texts != pad)
    return kept
