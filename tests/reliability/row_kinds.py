"""Some two hundred kinds of columns of six rows, as any writer might make them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

ROWS = 6
NAN, INF = float("nan"), float("inf")
BERLIN = "Europe/Berlin"
MOMENTS = [dt.datetime(2024, 1, 5, 7, 30), None, dt.datetime(1970, 1, 1), dt.datetime(1999, 12, 31)]
TIMES = [*MOMENTS, *MOMENTS[:2]]

SCALARS: dict[str, Any] = {
    **{
        f"{kind}": pa.array([0, 1, 2, 3, 1, 0], kind)
        for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
    "negative": pa.array([-1, 0, -5, 3, 1, 0]),
    "extreme ints": pa.array([-(2**63), 2**63 - 1, 0, 1, 2, None]),
    "extreme uints": pa.array([2**64 - 1, 2**63, 0, 1, 2, None], pa.uint64()),
    "ints with nulls": pa.array([None, 1, None, 0, 1, 2]),
    "float16": pa.array(np.array([0, 1, 2, 0.5, 1, 0], np.float16)),
    "float32": pa.array([0.0, 1.0, 2.0, 0.5, 1.0, None], pa.float32()),
    "whole floats": pa.array([0.0, 1.0, 2.0, 3.0, 1.0, None]),
    "floats": pa.array([0.25, 1.5, -2.75, 1e-300, 1.0, 0.0]),
    "nan": pa.array([0.0, NAN, 1.0, None, 1.0, 0.0]),
    "inf": pa.array([0.0, INF, 1.0, -INF, 1.0, 0.0]),
    "beyond float32": pa.array([0.0, 1e300, 1.0, -1e300, 1.0, 0.0]),
    "huge": pa.array([0.0, 1.7e308, 1.7e308, -1.7e308, 1.0, 0.0]),
    "bool": pa.array([True, False, None, True, True, False]),
    "decimal": pa.array([Decimal("0.00"), Decimal("1.00"), None] * 2, pa.decimal128(10, 2)),
    "decimals with fractions": pa.array([Decimal("0.50"), Decimal("1.25"), None] * 2),
    "decimal32": pa.array([Decimal("0.0"), Decimal("1.0"), None] * 2, pa.decimal32(5, 1)),
    "decimal256": pa.array([Decimal(10) ** 40, Decimal(1), None] * 2, pa.decimal256(60, 2)),
    "words": pa.array(["a", "b", None, "a", "c", "b"]),
    "large words": pa.array(["a", "b", None, "a", "c", "b"], pa.large_string()),
    "views": pa.array(["a", "b", None, "a", "c", "b" * 40], pa.string_view()),
    "texts of ints": pa.array(["0", "1", "2", "007", "-1", None]),
    "texts of floats": pa.array(["0.0", "1.0", "2.50", "1e2", "+1", None]),
    "texts of bools": pa.array(["True", "false", "TRUE", "0", "1", None]),
    "texts of days": pa.array(
        ["2024-01-05", "2024-01-05T00:00:00Z", "1999-12-31 07:00:00", None] + ["x"] * 2
    ),
    "empty texts": pa.array(["", "", None, "a", "", "1"]),
    "all empty": pa.array([""] * ROWS),
    "words for null": pa.array(["\\N", "NULL", "null", "None", "nan", "NA"]),
    "special floats": pa.array(["nan", "inf", "-Infinity", "1e999", "NaN", "0"]),
    "blanks": pa.array([" ", " 1", "1 ", "\t", "\n", "\r\n"]),
    "quotes": pa.array(['"', 'a"b', '""', "'", "a,b", "a\nb"]),
    "separators": pa.array(["1|2", "|", "1|", "|1", "1||2", None]),
    "letters and bars": pa.array(["a|b", "c", "", "b|a|c", "a", None]),
    "pairs": pa.array(["1:0.5|2:1", "1", "1:", ":1", "a:b:2", None]),
    "brackets": pa.array(["[1, 2]", "[]", "[1]", "(1, 2)", "{1,2}", None]),
    "json": pa.array(['["a", "b"]', "[]", '[null, "x"]', '["a,b"]', "[[1], [2, 3]]", None]),
    "broken brackets": pa.array(["[1, 2", "1]", "[", "]", "[[[[", '["a']),
    "json maps": pa.array(['{"a": 0.5}', "{}", '{"b": 1}', None, '{"a": 1}', "{"]),
    "deep": pa.array(["[" * 3000 + "]" * 3000, "[]", None, "[1]", "1", "2"]),
    "unicode": pa.array(["\u00e9", "e\u0301", "\U0001f600", "\u202e", "\x00", "\ufeff"]),
    "long": pa.array(["x" * 100_000, "y" * 70_000, "x", "1" * 5_000, "0", None]),
    "controls": pa.array(["\x1b[0m", "\x1f", "\x1d", "\x7f", "a\x00b", "\x01"]),
    "not utf8": pa.array([b"a", b"\xff", b"\xc3", b"b", b"\xed\xa0\x80", None]).view(pa.string()),
    "binary": pa.array([b"a", b"\xff\xfe", None, b"1", b"", b"0"]),
    "large binary": pa.array([b"a", b"b", None, b"1", b"", b"0"], pa.large_binary()),
    "binary view": pa.array([b"a", b"b", None, b"1", b"", b"0"], pa.binary_view()),
    "fixed binary": pa.array([b"ab", b"cd", None] * 2, pa.binary(2)),
    **{
        f"timestamp {unit}": pa.array(TIMES, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")
    },
    "timestamp utc": pa.array(TIMES, pa.timestamp("us", "UTC")),
    "timestamp zone": pa.array(TIMES, pa.timestamp("ms", BERLIN)),
    "far timestamps": pa.array([2**62, -(2**62), 0, None, 1, 2]).view(pa.timestamp("us")),
    "date32": pa.array([None if t is None else t.date() for t in TIMES]),
    "date64": pa.array([None if t is None else t.date() for t in TIMES], pa.date64()),
    "far dates": pa.array([2**31 - 1, -(2**31), 0, None, 1, 2], pa.int32()).view(pa.date32()),
    "time32": pa.array([dt.time(1, 2, 3), None, dt.time(0)] * 2, pa.time32("ms")),
    "time64": pa.array([dt.time(1, 2, 3, 4), None, dt.time(0)] * 2, pa.time64("us")),
    "duration": pa.array([dt.timedelta(seconds=5), None, dt.timedelta(0)] * 2, pa.duration("us")),
    "null": pa.nulls(ROWS),
    "nulls of text": pa.nulls(ROWS, pa.string()),
    "nulls of ints": pa.nulls(ROWS, pa.int64()),
    "nulls of floats": pa.nulls(ROWS, pa.float64()),
    "uuid": pa.array([bytes([i % 3]) * 16 for i in range(ROWS)], pa.uuid()),
    "json type": pa.array(["{}", "[1]", None] * 2, pa.json_()),
    "struct": pa.array([{"a": 1, "b": 2.0}, None, {"a": None, "b": 1.0}] * 2),
    "map": pa.array([[("a", 1.0)], [], None] * 2, pa.map_(pa.string(), pa.float32())),
    "map of ints": pa.array([[(1, 1), (2, None)], [], None] * 2, pa.map_(pa.int64(), pa.int8())),
}
_LISTED = (
    "int64", "ints with nulls", "uint64", "whole floats", "floats", "nan", "bool", "decimal", "words",
    "texts of ints", "empty texts", "words for null", "not utf8", "binary", "timestamp us", "date32",
    "null", "struct", "pairs", "views", "separators", "brackets", "extreme ints", "inf",
)  # fmt: skip
_OFFSETS = [0, 2, 2, 3, 3, 5, 6]


def _lists(name: str, values: Any) -> Iterator[tuple[str, Any]]:
    yield f"list of {name}", pa.ListArray.from_arrays(pa.array(_OFFSETS, pa.int32()), values)
    mask = pa.array([False, True, False, False, False, False])
    offsets = pa.array(_OFFSETS, pa.int64())
    yield f"large list of {name}", pa.LargeListArray.from_arrays(offsets, values, mask=mask)
    twice = pa.concat_arrays([values, values])
    yield f"fixed list of {name}", pa.FixedSizeListArray.from_arrays(twice, 2)
    sizes = pa.array(np.diff(_OFFSETS), pa.int32())
    starts = pa.array(_OFFSETS[:-1], pa.int32())
    yield f"list view of {name}", pa.ListViewArray.from_arrays(starts, sizes, values)


def columns() -> dict[str, Any]:
    """Every kind by name."""
    kinds = dict(SCALARS)
    for name in _LISTED:
        kinds.update(_lists(name, SCALARS[name]))
    for name in ("words", "int64", "texts of ints", "empty texts", "not utf8", "binary", "bool"):
        encoded = SCALARS[name].dictionary_encode()
        kinds[f"dictionary of {name}"] = encoded
        kinds |= dict([next(_lists(f"dictionary of {name}", encoded))])
    for name in ("int64", "words", "floats"):
        inner = dict(_lists(name, SCALARS[name]))[f"list of {name}"]
        kinds[f"list of lists of {name}"] = next(_lists("", inner))[1]
    kinds["texts of lists of lists"] = pa.array(["1;2|3", "", "|", "1;|2", None, "1"])
    return kinds


def as_text(value: Any, sep: str = "|") -> str | None:
    """A cell as a CSV file would hold it; None where it can't."""
    if value is None:
        return ""
    if isinstance(value, list):
        nested = any(isinstance(part, list) for part in value)
        parts = [as_text(part, ";") for part in value]
        if None in parts or (not nested and set("|;[](){}") & set("".join(map(str, parts)))):
            return None
        if nested and "" in parts:
            return None  # a step without ids is written like no step
        return ("|" if nested else sep).join(map(str, parts))
    if isinstance(value, bytes | dict | tuple | dt.timedelta) or (
        isinstance(value, dt.datetime) and value.tzinfo
    ):
        return None
    return repr(value) if isinstance(value, float) else str(value)
