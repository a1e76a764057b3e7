"""The same rows in other forms are the same rows: formats, types, encodings, spellings."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.data import Encoder, Loader, open_data
from graphrec.ground.errors import DataError

VOCABS = ("fit", "hash(1_000)", "file(v.txt)", "30")
DAY, NOON = dt.datetime(2024, 1, 5), dt.datetime(2024, 1, 5, 12, 0, 0, 250_000)
TIMES = [dt.datetime(2024, 1, 5), None, dt.datetime(2024, 1, 5)]


def ids(recipe, name: str = "train") -> list[int]:
    """Table rows of feature `a`, vocabularies from the training files."""
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    source = getattr(data, name)
    [batch] = Loader(recipe, encoder, source, 1000, shuffle=False).epoch(0)
    return batch.features["a"].tolist()


SPELLINGS = {
    "14": [14, 14.0, "14", "14.0", "14.00", "+14", "14.", Decimal("14.00"), np.float16(14)],
    "-3": [-3, -3.0, "-3", "-3.0", Decimal("-3")],
    "0": [0, 0.0, -0.0, "0", "-0", "0.0", False, "False", "false", "FALSE"],
    "1": [1, "1", True, "True", "true", "TRUE", "+1"],
    "2024-01-05": [
        "2024-01-05", "2024-01-05 00:00:00", "2024-01-05T00:00:00", "2024-01-05T00:00:00.000Z",
        "2024-01-05 00:00:00+00:00", dt.date(2024, 1, 5), DAY, DAY.replace(tzinfo=dt.UTC),
    ],
    "2024-01-05 12:00:00.25": [
        "2024-01-05 12:00:00.25", "2024-01-05T12:00:00.250000Z", "2024-01-05T12:00:00.250", NOON,
    ],
}  # fmt: skip


@pytest.mark.parametrize("vocab", VOCABS)
@pytest.mark.parametrize("value", SPELLINGS)
def test_one_value_is_one_row(recipe_of, parquet, tmp_path, vocab, value) -> None:
    if vocab == "30" and not value.isdigit():
        pytest.skip("no row of a table of integers")
    (tmp_path / "v.txt").write_text(f"other\n{value}\n")
    parquet("a.parquet", {"a": [value, value], "click": [0, 1]})
    found = set()
    for spelled in SPELLINGS[value]:
        parquet("b.parquet", {"a": pa.array([spelled]), "click": [0]})
        (tmp_path / "b.csv").write_text(f"a,click\n{spelled},0\n")
        for name in ("b.parquet", "b.csv"):
            data = f"{{train: a.parquet, eval: {name}}}"
            recipe = recipe_of(
                f"- {{type: id, names: a, vocab: '{vocab}'}}".replace("'30'", "30"), data=data
            )
            found.update(ids(recipe, "eval"))
    assert found == set(ids(recipe)), value


@pytest.mark.parametrize("values", [["007", "7"], ["1e2", "100"], ["14.5", "14.50"], ["a", "A"],
                                    ["9007199254740993", "9007199254740992"], [" 1", "1"]])  # fmt: skip
def test_different_values_stay_different(recipe_of, parquet, values) -> None:
    parquet("a.parquet", {"a": values, "click": [0, 1]})
    recipe = recipe_of("- {type: id, names: a, vocab: fit}", data="{train: a.parquet}")
    assert len(set(ids(recipe))) == 2


def test_two_spellings_in_a_vocabulary_file(recipe_of, parquet, tmp_path) -> None:
    (tmp_path / "v.txt").write_text("7\n14\n14.0\n")
    parquet("a.parquet", {"a": [14, 7], "click": [0, 1]})
    recipe = recipe_of("- {type: id, names: a, vocab: file(v.txt)}", data="{train: a.parquet}")
    with pytest.raises(DataError, match="lines 2 and 3, '14' and '14.0', are one value"):
        ids(recipe)


TEXTS = ["user1", "user2", "user1"]
FORMS = {
    "string": pa.array(TEXTS),
    "large": pa.array(TEXTS, pa.large_string()),
    "view": pa.array(TEXTS, pa.string_view()),
    "binary": pa.array([t.encode() for t in TEXTS]),
    "binary view": pa.array([t.encode() for t in TEXTS], pa.binary_view()),
    "fixed binary": pa.array([t.encode() for t in TEXTS], pa.binary(5)),
    "dictionary": pa.array(TEXTS).dictionary_encode(),
    "dictionary of large": pa.array(TEXTS, pa.large_string()).dictionary_encode(),
}
WRITERS = {
    "plain": {"use_dictionary": False},
    "dictionaries": {},
    "delta": {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}},
    "delta lengths": {"use_dictionary": False, "column_encoding": {"a": "DELTA_LENGTH_BYTE_ARRAY"}},
    "v2": {"data_page_version": "2.0", "compression": "zstd"},
    "no schema": {"store_schema": False},
    "row groups": {"row_group_size": 1},
    "checksums": {"write_page_checksum": True},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("writer", WRITERS)
def test_texts_in_any_form(recipe_of, parquet, form, writer) -> None:
    how = WRITERS[writer]
    if "delta" in writer and form.startswith(("fixed", "dictionary")):
        pytest.skip("Arrow writes no such file, or can't read it back")
    parquet("a.parquet", pa.table({"a": FORMS[form], "click": [0, 1, 0]}), **how)
    recipe = recipe_of("- {type: id, names: a, vocab: fit}", data="{train: a.parquet}")
    assert ids(recipe) == [0, 1, 0]


LISTS = {
    "list": pa.array([[1, 2], None, [3]]),
    "large list": pa.array([[1, 2], None, [3]], pa.large_list(pa.int32())),
    "list view": pa.array([[1, 2], None, [3]], pa.list_view(pa.int64())),
    "large list view": pa.array([[1, 2], None, [3]], pa.large_list_view(pa.int64())),
    "list of texts": pa.array([["1", "2"], None, ["3"]]),
    "list of views": pa.array([["1", "2"], None, ["3"]], pa.list_(pa.string_view())),
    "list of floats": pa.array([[1.0, 2.0], None, [3.0]]),
    "list of dictionaries": pa.ListArray.from_arrays(
        pa.array([0, 2, 2, 3], pa.int32()),
        pa.array(["1", "2", "3"]).dictionary_encode(),
        mask=pa.array([False, True, False]),
    ),
    "texts": pa.array(["1|2", None, "3"]),
    "json": pa.array(["[1,2]", None, "[3]"]),
}  # fmt: skip


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("vocab", ["fit", "10"])
@pytest.mark.parametrize("groups", [1, 100])
def test_lists_in_any_form(recipe_of, parquet, form, vocab, groups) -> None:
    parquet("a.parquet", pa.table({"a": LISTS[form], "click": [0, 1, 0]}), row_group_size=groups)
    features = f"- {{type: id, names: a, vocab: {vocab}, pool: sum, sep: '|'}}"
    recipe = recipe_of(features, data="{train: a.parquet}")
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    [batch] = Loader(recipe, encoder, data.train, 10, shuffle=False).epoch(0)
    jagged = batch.features["a"]
    assert jagged.lengths.tolist() == [2, 0, 1]
    shift = 0 if vocab == "fit" else 1
    assert jagged.values.tolist() == [0 + shift, 1 + shift, 2 + shift]


NUMBERS = {
    "half": pa.array(np.array([1.5, 2.0], np.float16)),
    "decimal": pa.array([Decimal("1.50"), Decimal("2.00")]),
    "text": pa.array(["1.5", "+2"]),
    "json": pa.array(["1.5", "2e0"]),
    "dictionary": pa.array([1.5, 2.0]).dictionary_encode(),
}


@pytest.mark.parametrize("form", NUMBERS)
def test_numbers_in_any_form(recipe_of, parquet, form) -> None:
    parquet("a.parquet", pa.table({"a": NUMBERS[form], "click": [0, 1]}))
    recipe = recipe_of("- {type: dense, names: a}", data="{train: a.parquet}")
    assert ids(recipe) == [[1.5], [2.0]]


def test_times_of_old_writers(recipe_of, tmp_path) -> None:
    table = pa.table({"a": pa.array(TIMES, pa.timestamp("ns")), "click": [0, 1, 0]})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    recipe = recipe_of("- {type: id, names: a, vocab: fit}", data="{train: a.parquet}")
    assert ids(recipe) == [0, 1, 0]
    assert Encoder.fit(recipe, open_data(recipe).train).learned.vocabularies["a"].to_pylist() == [
        "2024-01-05"
    ]


def test_a_damaged_page_is_told(recipe_of, parquet) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 30, 1000)
    path = parquet("a.parquet", {"a": values, "click": values % 2}, compression="none",
                   use_dictionary=False, write_page_checksum=True)  # fmt: skip
    whole = bytearray(path.read_bytes())
    whole[2000] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match="GR702.*CRC"):
        ids(recipe_of("- {type: id, names: a, vocab: hash(50)}", data="{train: a.parquet}"))


# ---- statistics and splits --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "wanted"), [("zscore", 0.0), ("minmax", 0.25), ("none", 0.0)]
)
def test_nulls_are_left_out_of_statistics(recipe_of, parquet, transform, wanted) -> None:
    parquet("a.parquet", {"a": [1e6, None, 1e6, 1e6 + 4, None, 1e6], "click": [0, 1] * 3})
    line = f"- {{type: dense, names: a, transform: {transform}"
    values = np.array(ids(recipe_of(line + "}", data="{train: a.parquet}"))).flatten()
    assert values[1] == values[4] == pytest.approx(wanted)
    if transform == "zscore":
        known = values[[0, 2, 3, 5]]
        assert (known.mean(), known.std()) == (pytest.approx(0), pytest.approx(1))
    if transform == "minmax":
        assert (values.min(), values.max()) == (0, 1)
    given = np.array(ids(recipe_of(line + ", default: 1000004}", data="{train: a.parquet}")))
    assert given[1] == given[3]


def test_quantiles_leave_nulls_out(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": [None] * 50 + [1, 2, 3, 4], "click": [0, 1] * 27})
    line = "- {type: bucket, names: a, edges: quantile(2), default: 0}"
    recipe = recipe_of(line, data="{train: a.parquet}")
    encoder = Encoder.fit(recipe, open_data(recipe).train)
    assert encoder.learned.edges["a"].tolist() == [2.5]


ORDERED = {
    "texts of numbers": ["9", "10", "2", None],
    "decimals": ["9.5", "10.25", "2", ""],
    "numbers": [9, 10, 2, None],
    "floats": [9.0, 10.0, 2.0, float("nan")],
    "dictionary": pa.array(["9", "10", "2", None]).dictionary_encode(),
    "times": [dt.datetime(2024, 1, 9), dt.datetime(2024, 1, 10), dt.datetime(2024, 1, 2), None],
    "dates": [dt.date(2024, 1, 9), dt.date(2024, 1, 10), dt.date(2024, 1, 2), None],
    "texts of dates": ["2024-01-09", "2024-01-10T07:00:00Z", "2024-01-02", "NULL"],
    "words": ["b", "c", "a", None],
    "truth": [False, True, False, None],
}


@pytest.mark.parametrize("kind", ORDERED)
def test_splits_compare_values_as_what_they_are(recipe_of, parquet, csv_file, kind) -> None:
    rows = {"a": ["low", "high", "low", "low"], "when": ORDERED[kind], "click": [0, 1, 0, 1]}
    parquet("a.parquet", rows)
    texts = ["" if v is None else str(v) for v in pa.array(rows["when"]).to_pylist()]
    csv_file("a.csv", {**rows, "when": ["" if text == "nan" else text for text in texts]})
    for name in ("a.parquet", "a.csv"):
        split = f"{{train: {name}, split: {{by: when, eval: last(1)}}}}"
        recipe = recipe_of("- {type: id, names: a, vocab: fit}", data=split)
        data = open_data(recipe)
        assert (data.train.num_rows, data.eval.num_rows) == (3, 1)
        assert Encoder.fit(recipe, data.train).learned.vocabularies["a"].to_pylist() == ["low"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1], [2], [3]], "holds lists of numbers, which have no order"),
        ([{"x": 1}, {"x": 2}, {"x": 3}], "holds structs, which have no order"),
        (["5.1.2024", "6.1.2024", "17.1.2024"], "write dates as 2024-01-05"),
        (["2024-1-5", "2024-1-6", "2024-1-17"], "dates in this form sort wrongly"),
    ],
)
def test_splits_without_an_order(recipe_of, parquet, values, words) -> None:
    parquet("a.parquet", {"a": ["x"] * 3, "when": values, "click": [0, 1, 0]})
    split = "{train: a.parquet, split: {by: when, eval: last(1)}}"
    with pytest.raises(DataError, match="GR710") as caught:
        open_data(recipe_of("- {type: id, names: a, vocab: fit}", data=split))
    assert words in str(caught.value.problems[0].message) + caught.value.problems[0].help


def test_the_same_file_is_not_for_both(recipe_of, parquet) -> None:
    for name in ("a.parquet", "b.parquet"):
        parquet(name, {"a": ["x", "y"], "click": [0, 1]})
    line = "- {type: id, names: a, vocab: fit}"
    with pytest.raises(DataError, match=r"GR710.*b\.parquet: the model would be scored on rows"):
        open_data(recipe_of(line, data="{train: '*.parquet', eval: b.parquet}"))
    for data in ("{train: '*.parquet', eval: b.parquet, overlap: allow}",
                 "{train: b.parquet, eval: b.parquet}"):  # fmt: skip
        assert open_data(recipe_of(line, data=data)).eval.num_rows == 2


@pytest.mark.parametrize("change", ["append", "cut", "reverse", "replace", "delete"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_rows_that_change_in_mid_run(recipe_of, parquet, csv_file, change, form) -> None:
    rows = {"a": [f"x{i}" for i in range(50)], "click": [0, 1] * 25}
    write = csv_file if form == "csv" else parquet
    path = write(f"a.{form}", rows)
    recipe = recipe_of("- {type: id, names: a, vocab: fit}", data=f"{{train: a.{form}}}")
    data = open_data(recipe)
    loader = Loader(recipe, Encoder.fit(recipe, data.train), data.train, 10, shuffle=True)
    assert len(list(loader.epoch(0))) == 5
    path.touch()
    assert len(list(loader.epoch(1))) == 5
    if change == "append":
        path.write_bytes(path.read_bytes() + b"x1,1\n")
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif change == "delete":
        path.unlink()
    elif change == "reverse":
        write(path.name, {name: values[::-1] for name, values in rows.items()})
    else:
        write(path.name, {**rows, "click": [1, 0] * 25})
    with pytest.raises(DataError, match="GR714.*changed since the run began"):
        list(loader.epoch(2))
