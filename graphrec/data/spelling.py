"""One spelling for one value: what an id is called, whatever the format or program that wrote it.

14.0, +14 and 14 are one id, as are True, true and 1, and 2024-01-05T00:00:00Z and 2024-01-05.
What a person would call different stays so: 007 and 7, 1e2 and 100, 14.5 and 14.50.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.chunk import Array
from graphrec.data.forms import bytes_in, offsets_in

__all__ = ["canonical_text", "canonical_texts", "is_whole", "texts_of_floats", "texts_of_times"]

_LONGEST = 40  # bytes of a number or time that is written in several ways
# Tried in this order on the few texts that look like one of them.
_RULES = (
    (r"^\+?(0|[1-9][0-9]*)(?:\.0*)?$", r"\1"),
    (r"^-([1-9][0-9]*)\.0*$", r"-\1"),
    (r"^-0(?:\.0*)?$", "0"),
    (r"^(?i:true)$", "1"),
    (r"^(?i:false)$", "0"),
    (r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d+)?)(?:Z|[+-]00:?00)?$", r"\1 \2"),
    (r"^((?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d*?)0+$", r"\1"),
    (r"^((?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d)\.$", r"\1"),
    (r"^(\d{4}-\d\d-\d\d) 00:00:00$", r"\1"),
)


def canonical_text(text: str) -> str:
    """The one spelling of a value.

    >>> [canonical_text(text) for text in ("14.00", "+1", "True", "007", "2024-01-05T00:00:00Z")]
    ['14', '1', '1', '007', '2024-01-05']
    """
    return str(canonical_texts(pa.array([text]))[0].as_py())


def canonical_texts(texts: Any) -> Any:
    """A `string` or `large_string` array of valid UTF-8, every value in its one spelling."""
    places = _suspects(texts)
    if places is None or len(places) == 0:
        return texts
    some = texts.take(pa.array(places))
    for pattern, replacement in _RULES:
        some = pc.replace_substring_regex(some, pattern, replacement)
    mask = np.zeros(len(texts), bool)
    mask[places] = True
    return pc.replace_with_mask(texts, pa.array(mask), some)


def texts_of_times(array: Any) -> Any:
    """Dates and times as texts, not yet in their one spelling; those with a zone in UTC."""
    if pt.is_timestamp(array.type) and array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit))
    return array.cast(pa.string())


def is_whole(numbers: Array) -> Array:
    """Which floating-point numbers are integers of 64 bits."""
    with np.errstate(invalid="ignore"):
        whole: Array = (np.abs(numbers) < 2.0**63) & (np.floor(numbers) == numbers)
    return whole


def texts_of_floats(numbers: Array, valid: Array | None = None) -> Any:
    """Floating-point numbers as the shortest texts that say them, null where they are not `valid`.

    Whole ones are written without a point: what a number is called depends on no other.
    """
    texts = numbers.astype(str)
    whole = is_whole(numbers)
    texts[whole] = numbers[whole].astype(np.int64).astype(str)
    return pa.array(texts, pa.string(), mask=None if valid is None else ~valid)


def _suspects(texts: Any) -> Array | None:
    """Places of the texts that may have another spelling, told by their first and last bytes."""
    if len(texts) == 0:
        return None
    offsets, data = offsets_in(texts), bytes_in(texts)
    if not len(data):
        return None
    starts = offsets[:-1]
    kinds = _KINDS.take(data.take(starts, mode="clip"))
    if not kinds.any():
        return None
    lengths = np.diff(offsets)
    minus = kinds == _MINUS
    number = (kinds == _NUMBER) | minus
    suspects = kinds == _SIGN
    suspects |= (kinds == _TRUTH) & (lengths <= 5) & (lengths >= 4)
    used = data[int(offsets[0]) : int(offsets[-1])]
    if number.any() and (used == ord(".")).any():
        last = data.take(offsets[1:] - 1, mode="clip")
        places = np.flatnonzero(number & ((last == ord("0")) | (last == ord("."))))
        dots = pc.find_substring(texts.take(pa.array(places)), ".")
        dotted = pc.fill_null(pc.greater_equal(dots, 0), False)
        suspects[places[dotted.to_numpy(zero_copy_only=False)]] = True
    suspects |= minus & (lengths == 2)  # -0
    places = np.flatnonzero(number & (lengths >= len("2024-01-05T00:00:00")))
    suspects[places[data[starts[places] + 4] == ord("-")]] = True
    suspects &= (lengths > 0) & (lengths <= _LONGEST)
    return np.flatnonzero(suspects)


def _kinds() -> Array:
    """What a text may be by its first byte: a number or time, one with a sign, a truth value."""
    kinds = np.zeros(256, np.uint8)
    kinds[list(b"0123456789")] = _NUMBER
    kinds[list(b"-")] = _MINUS
    kinds[list(b"+")] = _SIGN
    kinds[list(b"tTfF")] = _TRUTH
    return kinds


_NUMBER, _MINUS, _SIGN, _TRUTH = 1, 2, 3, 4
_KINDS = _kinds()
