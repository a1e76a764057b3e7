"""Texts that hold lists as Python, JSON, numpy or a database print them: [1, 2], ["a"], {1,2}."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graphrec.data.chunk import Array
from graphrec.data.forms import edges, valid_utf8

__all__ = ["bracketed", "lists_of_texts"]

_PAIRS = {"[": "]", "(": ")", "{": "}"}
_LONGEST = 1 << 20  # bytes of one cell


def bracketed(texts: Any) -> Array | None:
    """Which texts are valid UTF-8 in a pair of brackets, None if none is."""
    first, last = edges(texts)
    mask = np.zeros(len(texts), bool)
    for left, right in _PAIRS.items():
        mask |= (first == ord(left)) & (last == ord(right))
    if mask.any():
        valid = valid_utf8(texts)
        mask = mask if valid is None else mask & valid
    return mask if mask.any() else None


def lists_of_texts(texts: Any, sep: str | None, mask: Array, *, nested: bool) -> Any:
    """An Arrow list array: texts in brackets (`mask`) taken apart, the others split at `sep`.

    Elements come without blanks and quotes around them. With `nested` they may be lists again.
    How a text is read depends on no other.
    """
    if nested:
        return _parsed(texts, sep, mask, nested)
    some = texts.filter(pa.array(mask))
    marks = pc.match_substring(some, '"').to_numpy(zero_copy_only=False)
    quoted = np.zeros(len(texts), bool)
    quoted[mask] = marks
    other, kind = texts.filter(pa.array(~mask)), pa.large_list(pa.large_string())
    parts = [
        _parsed(some.filter(pa.array(marks)), sep, mask[quoted], nested),
        _unquoted(some.filter(pa.array(~marks)), sep),
        pa.nulls(len(other), kind) if sep is None else pc.split_pattern(other, sep),
    ]
    places = np.concatenate([np.flatnonzero(which) for which in (quoted, mask & ~quoted, ~mask)])
    return pa.concat_arrays([part.cast(kind) for part in parts]).take(pa.array(np.argsort(places)))


_UNIT = "\x1f"


def _unquoted(texts: Any, sep: str | None) -> Any:
    """Texts in brackets without double quotes, taken apart."""
    inner = pc.replace_substring_regex(texts, r"^[\[({]\s*", "")
    inner = pc.replace_substring_regex(inner, r"\s*[\])}]$", "")
    inner = pc.replace_substring_regex(inner, r"\s*,\s*", _UNIT)
    # numpy prints no commas: [88 10 19]
    blank = pc.invert(pc.match_substring(inner, _UNIT))
    inner = pc.if_else(blank, pc.replace_substring_regex(inner, r"\s+", _UNIT), inner)
    if sep is not None:
        inner = pc.replace_substring(inner, sep, _UNIT)
    lists = pc.split_pattern(inner, _UNIT)
    values = pc.utf8_trim(pc.list_flatten(lists), "'")
    wide = pa.types.is_large_list(lists.type)
    return (pa.LargeListArray if wide else pa.ListArray).from_arrays(lists.offsets, values)


def _parsed(texts: Any, sep: str | None, mask: Array, nested: bool) -> Any:
    rows: list[Any] = []
    for text, brackets in zip(texts.to_pylist(), mask.tolist(), strict=True):
        if text is None:
            rows.append(None)
        elif brackets:
            rows.append(_elements(text, nested))
        else:
            parts = text.split(sep) if sep is not None else [text]
            rows.append([[part] for part in parts] if nested else parts)
    element = pa.list_(pa.string()) if nested else pa.string()
    return pa.array(rows, pa.list_(element))


def _elements(text: str, nested: bool) -> list[Any]:
    try:
        value = json.loads(text) if len(text) <= _LONGEST else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        value = [f"{key}:{_text(part)}" for key, part in value.items()]
    if not isinstance(value, list):
        value = [part.strip().strip("'\"") for part in text[1:-1].split(",")]
    if nested:
        return [_inner(part) for part in value]
    return [_text(part) for part in value]


def _inner(part: Any) -> list[str | None] | None:
    if part is None:
        return None
    return [_text(each) for each in part] if isinstance(part, list) else [_text(part)]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else json.dumps(value)
