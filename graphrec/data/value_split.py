"""`data.split`: the rows with the largest values of a column, compared as what they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.faults import bad_data, shown
from graphrec.data.forms import kind_of, plain, settled
from graphrec.data.source import Raw
from graphrec.data.spelling import canonical_texts, texts_of_times

__all__ = ["Order", "Part", "split_at"]

_NO_ORDER = r"^(\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}|\d{4}[/.-](\d[/.-]\d{1,2}|\d{1,2}[/.-]\d))([ T]|$)"


@dataclass(frozen=True)
class Order:
    """How the values of a column compare: as one Arrow type, or else they are no such values."""

    column: str
    kind: Any
    nulls: tuple[str, ...] = ()

    def values(self, array: Any) -> Any:
        """The column's cells in that type, null where there is none; else ArrowInvalid."""
        array = plain(settled(array, self.nulls))
        kind = kind_of(array.type)
        if kind == "truth values":
            array = array.cast(pa.int8())
        elif pt.is_duration(array.type):
            array = array.cast(pa.duration("us"), safe=False).cast(pa.int64())
        elif kind == "times" and not pt.is_time(array.type) and pt.is_timestamp(self.kind):
            return array.cast(self.kind, safe=False)
        elif kind == "times":
            array = canonical_texts(texts_of_times(array))
        elif kind == "bytes":
            array = array.cast(pa.binary()).view(pa.string())
        if kind == "text":
            array = canonical_texts(array)
        if pt.is_float64(self.kind):
            array = array.cast(self.kind, safe=False)
            return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
        return array.cast(self.kind)


@dataclass(frozen=True)
class Part:
    """The rows of a split: those whose value is at least `threshold`, or the others."""

    order: Order
    threshold: Any
    inside: bool
    num_rows: int

    @property
    def columns(self) -> tuple[str, ...]:
        """What has to be read to tell."""
        return (self.order.column,)

    def mask(self, raw: Raw) -> Any:
        """Which rows belong; nulls belong to the training part."""
        values = self.order.values(raw.table.column(self.order.column))
        chosen = pc.fill_null(pc.greater_equal(values, self.threshold), False)
        return chosen if self.inside else pc.invert(chosen)


def split_at(arrays: Any, column: str, last: int, nulls: tuple[str, ...]) -> tuple[Part, Part]:
    """Training and evaluation part: rows with the `last` largest values of `column` evaluate.

    `arrays()` iterates over the column, each time it is called; memory grows with its chunks only.
    Values are numbers where all of them are, times where the column has times, else texts. Raises
    DataError where values have no order, or are too few.
    """
    for kind in (pa.timestamp("us"), pa.int64(), pa.float64(), pa.large_string()):
        order = Order(column, kind, nulls)
        try:
            largest, total = _largest(arrays(), order, last)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        break
    else:
        raise bad_data("GR710", f"data.split: column `{column}` holds values without an order")
    if largest is None or largest.num_rows < last or sum(largest["rows"].to_pylist()) == total:
        raise bad_data(
            "GR710",
            f"data.split: column `{column}` has too few values to hold {last} of them out",
            "split by another column, or give the evaluation rows files of their own: data.eval",
        )
    threshold = largest["value"][last - 1]
    inside = sum(largest["rows"].to_pylist())
    return Part(order, threshold, False, total - inside), Part(order, threshold, True, inside)


def _largest(arrays: Iterable[Any], order: Order, last: int) -> tuple[Any, int]:
    """The `last` largest values with their numbers of rows, descending; and the rows in all."""
    largest: Any = None
    total = 0
    for array in arrays:
        _check(array, order)
        values = order.values(array)
        total += len(values)
        counts = pc.value_counts(values.drop_null())
        table = pa.table({"value": counts.field("values"), "rows": counts.field("counts")})
        if largest is not None:
            table = pa.concat_tables([largest, table])
        merged = table.group_by("value", use_threads=False).aggregate([("rows", "sum")])
        largest = merged.sort_by([("value", "descending")]).slice(0, last)
        largest = largest.rename_columns({"rows_sum": "rows"})
        if pt.is_large_string(order.kind):
            _refuse_dates(largest["value"], order.column)
    return largest, total


def _check(array: Any, order: Order) -> None:
    kind = kind_of(array.type)
    if kind.startswith("lists") or kind in ("maps", "structs"):
        raise bad_data(
            "GR710",
            f"data.split: column `{order.column}` holds {kind}, which have no order",
            "split by a column of numbers, times or texts",
        )
    times = kind == "times" and not pt.is_time(array.type) and not pt.is_duration(array.type)
    if pt.is_timestamp(order.kind) and not times and kind != "nothing":
        raise pa.ArrowInvalid("no times")


def _refuse_dates(texts: Any, column: str) -> None:
    """Dates that do not sort as texts: 5.1.2024, 2024-1-5."""
    odd = texts.filter(pc.match_substring_regex(texts, _NO_ORDER))
    if len(odd):
        raise bad_data(
            "GR710",
            f"data.split: column `{column}` holds {shown(odd[0].as_py())}: texts sort by their"
            " characters, and dates in this form sort wrongly so",
            "write dates as 2024-01-05",
        )
