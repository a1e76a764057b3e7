"""`hash(N)`: FNV-1a 64 over the UTF-8 text, finished by splitmix64, modulo N.

Integers hash as their decimal text, so 7 from Parquet and `7` from CSV share a row. The function is
part of every checkpoint: it never changes (tests/data/test_hashing.py holds vectors). FNV-1a:
Fowler, Noll and Vo, RFC 9923; the finish: Steele, Lea and Flood, OOPSLA 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["Hashes", "combine", "hash_integers", "hash_texts"]

Hashes = npt.NDArray[np.uint64]

_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_FEW = 32  # texts: so many integers of Python take as long as one operation on an array
_BLOCK = 8192  # values at a time: every intermediate stays in the cache of one core


def hash_texts(texts: Any) -> Hashes:
    """64-bit hashes of a `string` or `large_string` array without nulls.

    >>> hash_texts(pa.array(["a", ""])) % np.uint64(1000)
    array([736, 203], dtype=uint64)
    """
    if len(texts) == 0:
        return np.empty(0, np.uint64)
    wide = pa.types.is_large_string(texts.type)
    _, offset_buffer, data_buffer = texts.buffers()
    starts = np.frombuffer(offset_buffer, np.int64 if wide else np.int32)
    starts = starts[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer or b"\0", np.uint8)
    lengths = np.diff(starts)
    order = np.argsort(-lengths, kind="stable")  # longest first: the active ones are a prefix
    starts, lengths = starts[:-1][order], lengths[order]
    hashes = np.full(len(texts), _OFFSET)
    together = int(lengths[_FEW]) if len(texts) > _FEW else 0
    active = len(texts) - np.searchsorted(lengths[::-1], np.arange(together), side="right")
    for position in range(together):
        some = hashes[: active[position]]
        some ^= data[starts[: len(some)] + position]
        some *= _PRIME
    for number in np.flatnonzero(lengths[:_FEW] > together):
        start, stop = starts[number] + together, starts[number] + lengths[number]
        hashes[number] = _one_text(int(hashes[number]), data[start:stop].tobytes())
    result = np.empty_like(hashes)
    result[order] = _finish(hashes)
    return result


def _one_text(value: int, content: bytes) -> int:
    prime = int(_PRIME)
    for byte in content:
        value = (value ^ byte) * prime & 0xFFFFFFFFFFFFFFFF
    return value


def hash_integers(values: npt.NDArray[np.int64]) -> Hashes:
    """64-bit hashes of integers, equal to those of their decimal texts.

    >>> int(hash_integers(np.array([-70]))[0]) == int(hash_texts(pa.array(["-70"]))[0])
    True
    """
    hashes = np.empty(len(values), np.uint64)
    for start in range(0, len(values), _BLOCK):
        hashes[start : start + _BLOCK] = _decimal(values[start : start + _BLOCK])
    return hashes


def combine(parts: list[Hashes]) -> Hashes:
    """One hash for the tuple of values behind `parts`, in their order."""
    hashes = np.full(len(parts[0]), _OFFSET)
    for part in parts:
        hashes = _finish((hashes ^ part) * _PRIME)
    return hashes


def _decimal(values: npt.NDArray[np.int64]) -> Hashes:
    negative = values < 0
    rest = values.astype(np.uint64)
    hashes = np.full(len(values), _OFFSET)
    if negative.any():
        rest[negative] = ~rest[negative] + np.uint64(1)
        hashes[negative] = (hashes[negative] ^ np.uint64(ord("-"))) * _PRIME
    power = 10 ** (len(str(int(rest.max()))) - 1)
    started = np.zeros(len(values), bool)
    while power:
        digits = rest // np.uint64(power)
        rest -= digits * np.uint64(power)
        step = (hashes ^ (digits + np.uint64(ord("0")))) * _PRIME
        started |= digits > 0
        hashes = step if power == 1 else np.where(started, step, hashes)
        power //= 10
    return _finish(hashes)


def _finish(hashes: Hashes) -> Hashes:
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(hashes ^ (hashes >> np.uint64(31)))
