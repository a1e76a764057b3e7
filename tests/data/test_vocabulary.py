"""Values to rows: exact, whatever the type and however many there are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.data.value_maps import ValueMap
from graphrec.data.vocabularies import HashedRows, ListedRows, RangeRows, canonical_integers


def listed(*values: object) -> ListedRows:
    return ListedRows(pa.array([str(value) for value in values], pa.large_string()))


@given(
    known=st.lists(st.text(max_size=8), unique=True, max_size=20),
    asked=st.lists(st.text(max_size=8), max_size=20),
)
def test_unseen_texts_never_land_on_a_known_row(known: list[str], asked: list[str]) -> None:
    rows = listed(*known).texts(pa.array([*known, *asked], pa.string()))
    expected = [known.index(text) if text in known else len(known) for text in [*known, *asked]]
    assert rows.tolist() == expected


WHOLE = st.integers(-(2**63), 2**63 - 1)


@given(
    known=st.lists(WHOLE | st.integers(-50, 50), unique=True, max_size=20),
    asked=st.lists(WHOLE | st.integers(-60, 60), max_size=20),
)
def test_unseen_integers_never_land_on_a_known_row(known: list[int], asked: list[int]) -> None:
    both = [*known, *asked]
    vocabulary = listed(*known)
    expected = [known.index(n) if n in known else len(known) for n in both]
    assert vocabulary.integers(np.array(both, np.int64)).tolist() == expected


def test_texts_that_only_look_like_integers_are_others() -> None:
    assert canonical_integers(listed(2**63, 2**63 - 1, -(2**63), -(2**63) - 1).values)[
        1
    ].tolist() == [1, 2]
    vocabulary = listed("007", "7", "+7", "7.0", " 7", "-0", "0")
    assert canonical_integers(vocabulary.values)[0].tolist() == [7, 0]
    assert vocabulary.integers(np.array([7, 0])).tolist() == [1, 6]
    assert vocabulary.texts(pa.array(["007", "7", "-0"])).tolist() == [0, 1, 5]


def test_integers_far_apart() -> None:
    vocabulary = listed(5, -3, 10**15, 2**40)
    assert vocabulary.integers(np.array([2**40, 5, 6, -3, 10**15, 0, -(2**63)])).tolist() == [
        3, 0, 4, 1, 2, 4, 4,
    ]  # fmt: skip


def test_an_empty_vocabulary_has_one_row() -> None:
    vocabulary = listed()
    assert vocabulary.rows == 1
    assert vocabulary.texts(pa.array(["a"])).tolist() == [0]
    assert vocabulary.integers(np.array([1])).tolist() == [0]


def test_tables_beyond_32_bits() -> None:
    big = HashedRows(2**40)
    rows = big.integers(np.arange(1000))
    assert rows.dtype == np.int64 and rows.max() > 2**33
    assert RangeRows(2**31).integers(np.array([2**31 - 1])).tolist() == [2**31 - 1]
    assert RangeRows(100).integers(np.array([7])).dtype == np.int32


@pytest.mark.parametrize("repeat", [1, 100])
def test_dictionaries_small_and_large_for_their_column(repeat: int) -> None:
    """A dictionary that is much larger than the column is not looked up as a whole."""
    vocabulary = listed(*range(200))
    calls = []

    def texts(values: pa.Array) -> np.ndarray:
        calls.append(len(values))
        return vocabulary.texts(values)

    codes = pa.array(([3, None, 199] * repeat), pa.int32())
    values = pa.array([str(i) for i in range(200)])
    column = pa.DictionaryArray.from_arrays(codes, values)
    mapping = ValueMap(texts, vocabulary.integers, 200)
    for _ in range(2):
        assert mapping(column, "a", None).tolist() == [3, 200, 199] * repeat
    assert calls == ([2, 2] if repeat == 1 else [200])
