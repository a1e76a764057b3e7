"""hash(N) is part of every checkpoint: these vectors never change."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest

from graphrec.data.hashing import combine, hash_integers, hash_texts

VECTORS = {
    "": 0xF52A15E9A9B5E89B,
    "a": 0x02C0BDBF481420F8,
    "Ünï": 0xF4F3CF7DA25D174E,
    "68fd1e64": 0x9465C23110261B59,
    "x" * 1000: 0x82D7935EBAEC8A6A,
    "7": 0x7AEDDDB772826587,
    "-9223372036854775808": 0x475032746EA8423B,
}


def plain(text: str) -> int:
    """The definition, byte by byte."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return finish(value)


def finish(value: int) -> int:
    """The finish of splitmix64."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_the_vectors_hold(kind: pa.DataType) -> None:
    texts = pa.array(["cut off", *VECTORS], kind)[1:]
    assert hash_texts(texts).tolist() == list(VECTORS.values())
    assert [plain(text) for text in VECTORS] == list(VECTORS.values())


def test_integers_hash_as_their_decimal_text() -> None:
    random = np.random.default_rng(0)
    values = [0, 9, 10, -1, 99, 100, 2**63 - 1, -(2**63), *random.integers(-(2**40), 2**40, 9000)]
    numbers = np.array(values, np.int64)
    texts = pa.array([str(number) for number in numbers])
    assert (hash_integers(numbers) == hash_texts(texts)).all()
    assert int(hash_integers(np.array([-70]))[0]) == plain("-70")


def test_a_tuple_of_values_is_not_a_set() -> None:
    a, b = hash_texts(pa.array(["a"])), hash_texts(pa.array(["b"]))
    assert combine([a, b])[0] != combine([b, a])[0]
    first = finish((0xCBF29CE484222325 ^ plain("a")) * 0x100000001B3 % 2**64)
    assert int(combine([a, b])[0]) == finish((first ^ plain("b")) * 0x100000001B3 % 2**64)


def test_buckets_are_even() -> None:
    counts = np.bincount(hash_integers(np.arange(100_000)) % np.uint64(100), minlength=100)
    assert abs(counts - 1000).max() < 150


def test_few_long_texts_among_short_ones() -> None:
    random = np.random.default_rng(1)
    for number in (1, 31, 32, 33, 90):
        texts = ["é" * int(n) for n in random.integers(0, 200, number)] + ["y" * 3000]
        assert hash_texts(pa.array(texts)).tolist() == [plain(text) for text in texts]


def test_an_id_of_a_megabyte_takes_no_seconds() -> None:
    text = pa.array(["x" * 1_000_000])
    begin = time.process_time()
    hash_texts(text)
    assert time.process_time() - begin < 1.0  # 0.07 s; an operation on arrays per byte: 3.4 s
