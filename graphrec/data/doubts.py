"""Texts of ids that look like something else: pairs, lists, null, numbers that were rounded.

An id may be any text, so none of these is an error; but a feature of which many texts are such has
most often been read otherwise than it was written.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.counts import Counts
from graphrec.data.forms import kind_of, plain, valid_utf8
from graphrec.data.plan import Field

__all__ = ["LOOKED_AT", "note_doubts"]

LOOKED_AT = 256
"""Cells of a feature that are looked at, the first of each file; of lists, as many values."""

_KEY_WEIGHT = r"^[^:|,;\s]+:[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?$"
_NULL = r"^(?i:null|none|nan|<na>|n/a|nil|undefined|\\N|\(null\)|nat)$"
_ROUNDED = r"^-?[0-9](\.[0-9]+)?[eE]\+?[0-9]+$"
_FRACTION = r"^[+-]?[0-9]*\.[0-9]*[1-9][0-9]*$"
_SPACED = r"^\s|\s$"
_BRACKETS = r"^\s*[\[\(\{].*[\]\)\}]\s*$"
# Separators of several values: of words only those that no word has.
_JOINED = r"^[^\x01-\x03\x1d|^]+([\x01-\x03\x1d|^][^\x01-\x03\x1d|^]+)+$|^[0-9]+([,;~ ][0-9]+)+$"
_ANY = (
    r"^\s|\s$|^[+-]?[0-9]*\.[0-9]|[\x01-\x03\x1d|^\[\(\{,;~ :]|^-?[0-9](\.[0-9]+)?[eE]|"
    r"^(?i:null|none|nan|<na>|n/a|nil|undefined|\\N|nat)$"
)

_LOOKS = (
    (_NULL, "look like null: data.nulls names the texts that mean it"),
    (_SPACED, "begin or end with a space: ` 7` and `7` are two values"),
    (_FRACTION, "are numbers with a fraction: a measure is a `dense` or `bucket` feature"),
    (_ROUNDED, "look like numbers that lost digits (1.2e+15): write ids as whole numbers"),
)
_OF_LISTS = ((_KEY_WEIGHT, "look like key:weight: `weights: inside` reads the keys as ids"),)
_OF_SINGLE = (
    (_BRACKETS, "look like lists in brackets: `pool: mean` reads their values"),
    (_JOINED, "look like several values in one: `pool: mean` with `sep` reads them"),
)


def note_doubts(field: Field, values: Any, counts: Counts) -> None:
    """Count the texts among the first `values` (Arrow, of an id feature) that look odd."""
    values = values.slice(0, LOOKED_AT)
    if pt.is_floating(values.type) or pt.is_decimal(values.type):
        # The texts by which ids of other files know them.
        values = plain(values).drop_null().cast(pa.string())
    if kind_of(values.type) != "text" or not len(values):
        return
    texts = plain(values).drop_null()
    valid = valid_utf8(texts)
    texts = texts if valid is None else texts.filter(pa.array(valid))
    counts.looked[field.key] += len(texts)
    some = texts.filter(pc.match_substring_regex(texts, _ANY))
    if not len(some):
        return
    more = _OF_SINGLE if field.form == "single" else () if field.inside else _OF_LISTS
    for pattern, what in [*_LOOKS, *more]:
        number = pc.sum(pc.match_substring_regex(some, pattern)).as_py()
        if number:
            counts.doubtful[f"{field.key}: {what}"] += number
