"""Arrow columns in the few forms that the rest reads: views, half floats, null texts are settled.

Writers keep the same rows in many forms. What comes out here is a number, text, bytes, time, truth
value, list, map or dictionary of them; texts that mean null are null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from graphrec.data.chunk import Array

__all__ = [
    "edges",
    "bytes_in",
    "is_list",
    "kind_of",
    "offsets_in",
    "plain",
    "settled",
    "settled_table",
    "valid_utf8",
]


def kind_of(kind: Any) -> str:
    """`numbers`, `text`, `truth values`, `times`, `lists of ...`, `nothing` or the Arrow type."""
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return kind_of(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return kind_of(kind.storage_type)
    if is_list(kind) or pt.is_list_view(kind) or pt.is_large_list_view(kind):
        return f"lists of {kind_of(kind.value_type)}"
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
        return "numbers"
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return "text"
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return "bytes"
    if pt.is_binary_view(kind):
        return "bytes"
    if pt.is_boolean(kind):
        return "truth values"
    if pt.is_temporal(kind) and not pt.is_interval(kind):
        return "times"
    if pt.is_map(kind):
        return "maps"
    if pt.is_struct(kind):
        return "structs"
    return "nothing" if pt.is_null(kind) else str(kind)


def is_list(kind: Any) -> bool:
    """Whether values are lists of any of the three kinds."""
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def plain(array: Any) -> Any:
    """The values themselves, where they are kept as a dictionary."""
    return array.cast(array.type.value_type) if pt.is_dictionary(array.type) else array


def offsets_in(texts: Any) -> Array:
    """Where each text of a `string` or `large_string` array begins in its bytes [B + 1]."""
    wide = pt.is_large_string(texts.type) or pt.is_large_binary(texts.type)
    buffer = texts.buffers()[1]
    if buffer is None or not len(texts):
        return np.zeros(len(texts) + 1, np.int64)
    offsets = np.frombuffer(buffer, np.int64 if wide else np.int32)
    return offsets[texts.offset : texts.offset + len(texts) + 1]


def bytes_in(texts: Any) -> Array:
    """The bytes that `offsets_in` points into."""
    return np.frombuffer(texts.buffers()[2] or b"", np.uint8)


def edges(texts: Any) -> tuple[Array, Array]:
    """First and last byte of each text [B]; 0 for an empty one."""
    offsets, data = offsets_in(texts), bytes_in(texts)
    if not len(data):
        return np.zeros(len(texts), np.uint8), np.zeros(len(texts), np.uint8)
    empty = offsets[1:] == offsets[:-1]
    first = data.take(offsets[:-1], mode="clip")
    last = data.take(offsets[1:] - 1, mode="clip")
    return np.where(empty, np.uint8(0), first), np.where(empty, np.uint8(0), last)


def valid_utf8(texts: Any) -> Array | None:
    """Which texts are valid UTF-8, None if all are; each is looked at only where some are not."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raw = texts.cast(pa.large_binary() if pt.is_large_string(texts.type) else pa.binary())
        return np.array([_decodes(value) for value in raw.to_pylist()], bool)
    return None


def _decodes(value: bytes | None) -> bool:
    try:
        (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def settled_table(table: Any, nulls: Sequence[str]) -> Any:
    """A record batch with every column settled."""
    columns = [settled(column, nulls) for column in table.columns]
    same = all(new is old for new, old in zip(columns, table.columns, strict=True))
    return table if same else pa.RecordBatch.from_arrays(columns, names=table.schema.names)


def settled(array: Any, nulls: Sequence[str]) -> Any:
    """The array in a form that the rest reads; texts that are empty or in `nulls` are null."""
    kind = array.type
    if isinstance(kind, pa.UuidType):
        return _uuid_texts(array.storage)
    if isinstance(kind, pa.BaseExtensionType):
        return settled(array.storage, nulls)
    if pt.is_run_end_encoded(kind):
        return settled(pc.run_end_decode(array), nulls)
    if pt.is_list_view(kind) or pt.is_large_list_view(kind):
        return settled(_listed(array), nulls)
    if is_list(kind) and (pt.is_string_view(kind.value_type) or pt.is_binary_view(kind.value_type)):
        text = pt.is_string_view(kind.value_type)
        return array.cast(pa.large_list(pa.large_string() if text else pa.large_binary()))
    if pt.is_float16(kind):
        return array.cast(pa.float32())
    if pt.is_decimal32(kind) or pt.is_decimal64(kind):
        return array.cast(pa.decimal128(kind.precision, kind.scale))
    if pt.is_string_view(kind):
        array = array.cast(pa.large_string())
    elif pt.is_binary_view(kind):
        return array.cast(pa.large_binary())
    if pt.is_dictionary(kind):
        texts = pt.is_string(kind.value_type) or pt.is_large_string(kind.value_type)
        return _dictionary(array, nulls) if texts else settled(plain(array), nulls)
    if pt.is_string(array.type) or pt.is_large_string(array.type):
        empty = _null_texts(array, nulls)
        return array if empty is None else pc.if_else(empty, pa.scalar(None, array.type), array)
    return array


def _dictionary(array: Any, nulls: Sequence[str]) -> Any:
    empty = _null_texts(array.dictionary, nulls)
    if empty is None:
        return array
    codes = array.indices.cast(pa.int64())
    gone = pc.fill_null(pc.take(empty, codes), False)
    codes = pc.if_else(gone, pa.scalar(None, pa.int64()), codes)
    return pa.DictionaryArray.from_arrays(codes, array.dictionary)


def _null_texts(texts: Any, nulls: Sequence[str]) -> Any:
    """Which texts mean null, None if none does. Their lengths tell most of them apart."""
    lengths = np.diff(offsets_in(texts))
    legal = [b"", *(text.encode() for text in nulls)]
    suspects = np.zeros(len(lengths), bool)
    for size in {len(text) for text in legal}:
        suspects |= lengths == size
    places = np.flatnonzero(suspects)
    if not len(places):
        return None
    some = texts.take(pa.array(places)).cast(pa.large_binary())
    empty = pc.is_in(some, value_set=pa.array(legal, pa.large_binary()))
    if not pc.any(empty).as_py():
        return None
    suspects[places] = empty.to_numpy(zero_copy_only=False)
    return pa.array(suspects)


def _uuid_texts(array: Any) -> Any:
    """Sixteen bytes each as everyone writes a UUID: 8-4-4-4-12 hexadecimal digits."""
    digits = array.cast(pa.binary()).to_pylist()
    texts = [None if value is None else value.hex() for value in digits]
    pattern = r"^(.{8})(.{4})(.{4})(.{4})"
    return pc.replace_substring_regex(pa.array(texts, pa.string()), pattern, r"\1-\2-\3-\4-")


def _listed(array: Any) -> Any:
    """A list view as lists. Arrow's own cast loses the values behind a null one."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.append(0, np.cumsum(lengths, dtype=np.int64)))
    return pa.LargeListArray.from_arrays(offsets, array.flatten(), mask=array.is_null())
