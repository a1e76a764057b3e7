"""Every row of the table in docs/how_to/files.md happens."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.data import Encoder, Loader, open_data
from graphrec.ground.errors import DataError

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "files.md"
TEXTS = ["x", "y", "x"]
NOON = dt.datetime(2024, 1, 5, 12)
ID = "- {type: id, names: a, vocab: fit}"
LIST = "- {type: id, names: a, vocab: fit, pool: sum}"
SPLIT = "- {type: id, names: a, vocab: fit, pool: sum, sep: '|'}"
NUMBER = "- {type: dense, names: a}"


def delta(name: str) -> dict[str, Any]:
    return {"use_dictionary": False, "column_encoding": {"a": name}}


# form -> feature, column, how it is written, what is read (rows of the vocabulary, the most
# frequent value first), or a code
CASES: dict[str, tuple[str, Any, dict[str, Any], Any]] = {
    "text in DELTA_BYTE_ARRAY": (ID, pa.array(TEXTS), delta("DELTA_BYTE_ARRAY"), [0, 1, 0]),
    "text in DELTA_LENGTH_BYTE_ARRAY": (
        ID,
        pa.array(TEXTS),
        delta("DELTA_LENGTH_BYTE_ARRAY"),
        [0, 1, 0],
    ),
    "text in dictionary pages": (ID, pa.array(TEXTS), {}, [0, 1, 0]),
    "`string_view`": (ID, pa.array(TEXTS, pa.string_view()), {}, [0, 1, 0]),
    "`binary_view`": (ID, pa.array([b"x", b"y", b"x"], pa.binary_view()), {}, [0, 1, 0]),
    "binary without a logical type": (
        ID,
        pa.array([b"x", b"y", b"x"]),
        {"store_schema": False},
        [0, 1, 0],
    ),
    "`list_view`": (
        LIST,
        pa.array([[7, 8], None, [8]], pa.list_view(pa.int64())),
        {},
        [[1, 0], [], [0]],
    ),
    "`large_list`": (
        LIST,
        pa.array([[7, 8], None, [8]], pa.large_list(pa.int64())),
        {},
        [[1, 0], [], [0]],
    ),
    "lists as JSON text `[1, 2]`": (
        LIST,
        pa.array(["[7, 8]", None, "[8]"]),
        {},
        [[1, 0], [], [0]],
    ),
    "lists as `1|2`": (SPLIT, pa.array(["7|8", None, "8"]), {}, [[1, 0], [], [0]]),
    "one text a row, `pool:` without `sep`": (LIST, pa.array(["7", "8", "7"]), {}, "GR711"),
    "a number for a pooled id": (LIST, pa.array([7, 8, 7]), {}, [[0], [1], [0]]),
    "times in INT96": (
        ID,
        pa.array([NOON, None, NOON], pa.timestamp("ns")),
        {"use_deprecated_int96_timestamps": True},
        [0, None, 0],
    ),
    "ids as floats `14.0`": (ID, pa.array([14.0, 3.0, 14.0]), {}, [0, 1, 0]),
    "half floats": (NUMBER, pa.array(np.array([1.5, 2, 1.5], np.float16)), {}, [[1.5], [2], [1.5]]),
    "decimals": (
        NUMBER,
        pa.array([Decimal("1.5"), Decimal("2.0")] * 2)[:3],
        {},
        [[1.5], [2], [1.5]],
    ),
    'True, `"true"`, 1': (ID, pa.array([True, False, True]), {}, [0, 1, 0]),
}


def rows_of_the_page() -> list[tuple[str, str]]:
    """Form and what happens, of every row; a bar inside of code is no end of a cell."""
    text = re.sub(r"`[^`]*`", lambda code: code[0].replace("|", "\0"), PAGE.read_text())
    rows = [line.split("|")[2:4] for line in text.splitlines() if line.startswith("| ")][1:]
    return [(form.strip().replace("\0", "|"), says.strip()) for form, says in rows]


def test_the_table_and_the_cases_are_the_same() -> None:
    assert [form for form, _ in rows_of_the_page()] == [*CASES]


@pytest.mark.parametrize(("form", "says"), rows_of_the_page())
def test_what_the_page_says_happens(
    form: str, says: str, recipe_of: Callable[..., Any], tmp_path: Path
) -> None:
    feature, column, how, wanted = CASES[form]
    pq.write_table(pa.table({"a": column, "click": [0, 1, 0]}), tmp_path / "a.parquet", **how)
    recipe = recipe_of(feature, data="{train: a.parquet}")
    if isinstance(wanted, str):
        assert says.startswith(wanted)
        with pytest.raises(DataError, match=rf"{wanted}.*lists are needed"):
            read(recipe)
    else:
        assert says.startswith(("read", "one"))
        values = read(recipe)
        pairs = zip(values, wanted, strict=True)
        assert [value for value, want in pairs if want is not None and value != want] == []


def read(recipe: Any) -> list[Any]:
    """What comes to the model: rows of the table, lists of them, numbers."""
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    [batch] = Loader(recipe, encoder, data.train, 10, shuffle=False).epoch(0)
    column = batch.features["a"]
    if not hasattr(column, "lengths"):
        return list(column.tolist())
    values, lists = column.values.tolist(), []
    for length in column.lengths.tolist():
        lists.append(values[:length])
        values = values[length:]
    return lists
