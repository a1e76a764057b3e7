"""Cells and files that can't be used: refused with their place, or counted and left out."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.data import Encoder, Loader, open_data
from graphrec.ground.errors import DataError

FEATURES = """
- {type: id, names: n, vocab: 10}
- {type: id, names: t, vocab: fit}
- {type: id, names: h, vocab: hash(100)}
- {type: id, names: only, vocab: 3, oov: error}
- {type: id, names: m, vocab: 10, pool: sum, weights: w, sep: '|'}
- {type: dense, names: x, transform: log1p}
- {type: dense, names: v, width: 2, sep: '|'}
- {type: bucket, names: b, edges: [1, 2]}
- {type: sequence, name: s, of: [n, x], max_len: 3, sep: '|'}
"""
TASKS = """
click: {label: click, in: top, sample_weight: sw}
stars: {label: stars, in: top, kind: multiclass, classes: 3}
time: {label: time, in: top, kind: regression}
"""
GOOD = {
    "n": 1, "t": "a", "h": "u", "only": 2, "m": [1, 2], "w": [1.0, 0.5], "x": 0.5, "v": [1.0, 2.0],
    "b": 1.5, "s__n": [1, 2], "s__x": [0.1, 0.2], "click": 1, "sw": 1.0, "stars": 2, "time": 3.5,
}  # fmt: skip
NAN, INF = float("nan"), float("inf")

# column, bad cell, words of the message; a cell of another type makes the whole column text.
PARQUET = [
    ("n", 1.5, "1.5 is not an integer"),
    ("n", "abc", "'abc' is not an integer"),
    ("n", "1e3", "'1e3' is not an integer"),
    ("t", b"\xff\xfe", "is not valid UTF-8"),
    ("h", b"ok\xc3", "is not valid UTF-8"),
    ("only", 3, "3 is not in the vocabulary of feature `only`"),
    ("only", -1, "-1 is not in the vocabulary of feature `only`"),
    ("m", "1|x", "'1|x' is not an integer"),
    ("w", [1.0], "has not as many weights as `m` has values"),
    ("w", [1.0, INF], "is not a finite number"),
    ("x", NAN, "nan is not a finite number"),
    ("x", INF, "inf is not a finite number"),
    ("x", "3,5", "'3,5' is not a number"),
    ("x", "nan", "'nan' is not a finite number"),
    ("x", b"\xff", "is not a number"),
    ("v", [1.0], "[1.0] has not 2 numbers"),
    ("v", [], "[] has not 2 numbers"),
    ("v", [1.0, NAN], "[1.0, nan] is not a finite number"),
    ("v", "1|2|3", "'1|2|3' has not 2 numbers"),
    ("b", -INF, "-inf is not a finite number"),
    ("s__x", [0.1], "has not as many steps as `s__n`"),
    ("s__x", [0.1, NAN], "is not a finite number"),
    ("click", 2, "2 is neither 0 nor 1"),
    ("click", -1, "-1 is neither 0 nor 1"),
    ("click", 0.5, "0.5 is neither 0 nor 1"),
    ("click", "yes", "'yes' is not a number"),
    ("sw", None, "None is no weight"),
    ("sw", -1.0, "-1.0 is a negative weight"),
    ("sw", NAN, "nan is not a finite number"),
    ("stars", 3, "3 is no class 0..2"),
    ("stars", 1.5, "1.5 is no class 0..2"),
    ("time", INF, "inf is not a finite number"),
    ("time", 1e300, "1e+300 does not fit in 32 bits"),
    ("sw", 1e39, "1e+39 does not fit in 32 bits"),
    ("w", [1.0, 1e300], "[1.0, 1e+300] does not fit in 32 bits"),
]  # fmt: skip


def as_text(cell: object) -> str | None:
    if isinstance(cell, list):
        return "|".join(map(str, cell))
    return None if cell is None else str(cell)


def column(good: object, bad: object) -> pa.Array:
    """Five cells, the third one bad."""
    cells = [good, good, bad, good, good]
    if isinstance(bad, bytes):
        raw = pa.array([c if isinstance(c, bytes) else str(c).encode() for c in cells])
        return raw.view(pa.string())
    if type(bad) is not type(good) and isinstance(bad, str):
        return pa.array([as_text(c) for c in cells])
    return pa.array(cells)


def train(recipe) -> Loader:
    """One epoch over the recipe's files."""
    data = open_data(recipe)
    loader = Loader(recipe, Encoder.fit(recipe, data.train), data.train, 100, shuffle=False)
    loader.rows = [batch.num_rows for batch in loader.epoch(0)]
    return loader


@pytest.mark.parametrize(("name", "bad", "words"), PARQUET)
def test_bad_cell_of_parquet(recipe_of, parquet, name, bad, words) -> None:
    path = parquet("a.parquet", {k: column(v, bad if k == name else v) for k, v in GOOD.items()})
    with pytest.raises(DataError) as caught:
        train(recipe_of(FEATURES, TASKS, "{train: a.parquet}"))
    [problem] = caught.value.problems
    assert problem.message.startswith(f"column `{name}`, row 3 of {path}: ")
    assert words in problem.message
    assert problem.code == ("GR708" if name == "only" else "GR706")

    loader = train(recipe_of(FEATURES, TASKS, "{train: a.parquet, bad_rows: quarantine}"))
    counts = loader.counts
    assert (counts.read, counts.trained, counts.quarantined, counts.skipped) == (5, 4, 1, 0)
    assert loader.rows == [4]
    [reason] = counts.reasons
    assert reason.startswith(f"{name}: ")


CSV = [
    ("n", "abc", "'abc' is not an integer"),
    ("n", "1.5", "'1.5' is not an integer"),
    ("n", " 1", "' 1' is not an integer"),
    ("only", "x", "'x' is not an integer"),
    ("only", "5", "'5' is not in the vocabulary"),
    ("m", "1|x", "is not an integer"),
    ("w", "1|2|3", "has not as many weights"),
    ("x", "NA", "'NA' is not a number"),
    ("x", "0x10", "'0x10' is not a number"),
    ("x", "inf", "'inf' is not a finite number"),
    ("x", "1e999", "is not a finite number"),
    ("x", "1_000", "'1_000' is not a number"),
    ("v", "1", "has not 2 numbers"),
    ("b", "-", "'-' is not a number"),
    ("s__x", "0.1", "has not as many steps"),
    ("click", "yes", "'yes' is not a number"),
    ("click", "nan ", "'nan ' is not a number"),
    ("time", "1e300", "'1e300' does not fit in 32 bits"),
    ("sw", "1e39", "'1e39' does not fit in 32 bits"),
    ("w", "1|1e300", "'1|1e300' does not fit in 32 bits"),
    ("click", "7", "'7' is neither 0 nor 1"),
    ("sw", "", "None is no weight"),
    ("stars", "-1", "'-1' is no class 0..2"),
]


@pytest.mark.parametrize(("name", "bad", "words"), CSV)
def test_bad_cell_of_csv(recipe_of, csv_file, name, bad, words) -> None:
    rows = {k: [as_text(v)] * 5 for k, v in GOOD.items()}
    rows[name][2] = bad
    path = csv_file("a.csv", rows)
    with pytest.raises(DataError) as caught:
        train(recipe_of(FEATURES, TASKS, "{train: a.csv}"))
    [problem] = caught.value.problems
    assert problem.message.startswith(f"column `{name}`, row 3 of {path}: ")
    assert words in problem.message
    counts = train(recipe_of(FEATURES, TASKS, "{train: a.csv, bad_rows: quarantine}")).counts
    assert (counts.read, counts.trained, counts.quarantined) == (5, 4, 1)


@pytest.mark.parametrize(
    "cells", ["1", "1,2,3", "", '1,"2'], ids=["short", "long", "empty", "quote"]
)
def test_malformed_row_of_csv(recipe_of, tmp_path: Path, cells) -> None:
    lines = ["a,click", "1,0", cells, "2,1", "x,1", "3,1"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    features = "- {type: id, names: a, vocab: 10}"
    with pytest.raises(DataError) as caught:
        train(recipe_of(features, data="{train: a.csv}"))
    [problem] = caught.value.problems
    if cells in ("1", "1,2,3"):
        assert problem.code == "GR707"
        assert f"row 2 of {tmp_path / 'a.csv'} has {cells.count(',') + 1} cells" in problem.message
    else:
        assert problem.code in ("GR702", "GR706", "GR715")
    if cells in ("1", "1,2,3"):
        # The row of a later bad cell is still the right one.
        with pytest.raises(DataError, match="column `a`, row 4 of"):
            raw_rows(recipe_of(features, data="{train: a.csv, bad_rows: quarantine}"))
        counts = train(recipe_of(features, data="{train: a.csv, bad_rows: quarantine}")).counts
        assert (counts.read, counts.trained, counts.quarantined) == (5, 3, 2)


def raw_rows(recipe) -> None:
    """Encode with `bad_rows: error` what was read with `quarantine`."""
    source = open_data(recipe).train
    strict = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"bad_rows": "error"})}
    )
    encoder = Encoder.fit(recipe, source)
    encoder = Encoder(strict, encoder.learned)
    for unit in source.units():
        for raw in source.read(unit):
            encoder.encode_raw(raw)


# ---- whole files ------------------------------------------------------------------------------

ONE = "- {type: id, names: a, vocab: 10}"


def refused(recipe, code: str, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        train(recipe)
    text = "\n".join(f"{p.message} {p.help}" for p in caught.value.problems)
    assert {p.code for p in caught.value.problems} == {code}, text
    for word in words:
        assert word in text


def test_globs_without_files(recipe_of, tmp_path: Path) -> None:
    recipe = recipe_of(ONE, data="{train: [none/*.parquet, gone.csv]}")
    refused(recipe, "GR701", "none/*.parquet", "gone.csv", "matches no file")


def test_a_folder_is_no_file(recipe_of, tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    refused(recipe_of(ONE, data="{train: day}"), "GR701", "is a folder", "day/*.parquet")


def test_no_training_data(recipe_of) -> None:
    refused(recipe_of(ONE), "GR701", "names no training data")


def test_unknown_suffix(recipe_of, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("a,click\n1,1\n")
    refused(recipe_of(ONE, data="{train: a.dat}"), "GR701", "can't tell the format")
    assert train(recipe_of(ONE, data="{train: a.dat, format: csv}")).counts.trained == 1


def test_missing_column_with_suggestion(recipe_of, parquet) -> None:
    parquet("x.parquet", {"A": [1], "clicks": [1]})
    recipe = recipe_of(ONE, data="{train: x.parquet}")
    refused(recipe, "GR703", "has no column `a`, which feature `a` needs", "did you mean `A`?",
            "the label of task `click`", "did you mean `clicks`?")  # fmt: skip


def test_column_missing_in_one_file(recipe_of, parquet) -> None:
    parquet("1.parquet", {"a": [1], "click": [1]})
    parquet("2.parquet", {"b": [1], "click": [1]})
    refused(recipe_of(ONE, data="{train: '*.parquet'}"), "GR703", "2.parquet has no column `a`")


def test_a_column_twice(recipe_of, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,a,click\n1,2,0\n")
    refused(recipe_of(ONE, data="{train: a.csv}"), "GR703", "2 columns called `a`")


def test_drift_between_files(recipe_of, parquet) -> None:
    parquet("1.parquet", {"a": [1], "click": [1]})
    parquet("2.parquet", {"a": ["1"], "click": [1]})
    refused(recipe_of(ONE, data="{train: '*.parquet'}"), "GR705",
            "column `a` is text in", "2.parquet, but numbers in")  # fmt: skip


def test_harmless_drift_is_read(recipe_of, parquet) -> None:
    parquet("1.parquet", {"a": pa.array([1], pa.int8()), "click": [True]})
    parquet("2.parquet", {"a": pa.array([2.0]), "click": [True]})
    parquet("3.parquet", {"a": pa.nulls(1), "click": [False]})
    assert train(recipe_of(ONE, data="{train: '*.parquet'}")).counts.trained == 3


@pytest.mark.parametrize(
    ("features", "cells", "words"),
    [
        (ONE, [[1]], ["holds lists of numbers", "pool: sum | mean"]),
        (ONE, [{"b": 1}], ["column `a` holds struct"]),
        (
            "- {type: dense, names: a}",
            [pa.scalar(0, pa.timestamp("s"))],
            ["holds times", "numbers"],
        ),
        ("- {type: dense, names: a}", [b"1"], ["holds bytes"]),
        ("- {type: dense, names: a}", [[1.0, 2.0]], ["has not 1 numbers"]),
        (ONE.replace("}", ", pool: sum}"), [[[1]]], ["lists of lists"]),
    ],
)
def test_columns_of_the_wrong_kind(recipe_of, parquet, features, cells, words) -> None:
    parquet("a.parquet", {"a": pa.array(cells), "click": [1]})
    code = "GR706" if words == ["has not 1 numbers"] else "GR704"
    refused(recipe_of(features, data="{train: a.parquet}"), code, *words)


def test_histories_need_lists(recipe_of, csv_file) -> None:
    csv_file("a.csv", {"a": [1], "s__a": ["1|2"], "click": [1]})
    sequence = "\n- {type: sequence, name: s, of: [a], max_len: 3}"
    refused(recipe_of(ONE + sequence, data="{train: a.csv}"), "GR711", "lists are needed", "sep:")


def test_truncated_parquet_wherever_it_is_cut(recipe_of, parquet) -> None:
    path = parquet("a.parquet", {"a": list(range(1000)), "click": [1] * 1000}, row_group_size=100)
    whole = path.read_bytes()
    recipe = recipe_of(ONE, data="{train: a.parquet}")
    for size in [*range(0, len(whole) - 1, max(1, len(whole) // 40)), len(whole) - 1]:
        path.write_bytes(whole[:size])
        refused(recipe, "GR702", "a.parquet", "can't be read as Parquet")


def test_damaged_pages_are_named(recipe_of, parquet) -> None:
    table = {"a": list(range(5000)), "click": [1] * 5000}
    path = parquet("a.parquet", table, row_group_size=1000, compression="zstd",
                   write_page_checksum=True)  # fmt: skip
    start = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    whole = bytearray(path.read_bytes())
    whole[start + 20 : start + 60] = bytes(40)
    path.write_bytes(whole)
    refused(recipe_of(ONE, data="{train: a.parquet}"), "GR702", "a.parquet", "can't be read")


@pytest.mark.parametrize("text", ["", "\n", "a", "a,click", '"a,click\n1,2\n', "\xff,\xfe"])
def test_csv_without_rows(recipe_of, tmp_path: Path, text) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="GR7(02|03|12|15)"):
        train(recipe_of(ONE, data="{train: a.csv}"))


def test_nothing_left(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": ["x", "y"], "click": [1, 0]})
    recipe = recipe_of(ONE, data="{train: a.parquet, bad_rows: quarantine}")
    refused(recipe, "GR712", "no rows are left")


def test_unreadable_file(recipe_of, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 this is not Parquet PAR1")
    refused(recipe_of(ONE, data="{train: a.parquet}"), "GR702", "can't be read as Parquet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\nb\na\n", "line 3 repeats 'a'"),
        ("a\n\nb\n", "line 2 is empty"),
        ("\xff", "is not UTF-8"),
        (None, "No such file"),
    ],
)
def test_bad_vocabulary_files(recipe_of, parquet, tmp_path: Path, text, words) -> None:
    """The reader checks them too: this is a file that changed after the recipe was read."""
    parquet("a.parquet", {"a": ["a"], "click": [1]})
    path = tmp_path / "v.txt"
    path.write_text("a\n")
    recipe = recipe_of("- {type: id, names: a, vocab: file(v.txt)}", data="{train: a.parquet}")
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    refused(recipe, "GR120", str(path), words)


def test_a_row_left_out_changes_no_row_beside_it(recipe_of, parquet) -> None:
    rows = {
        "tags": [[1, 2], [3], [4, None, 5], [6]],
        "share": [[0.5, 2.0], [1.0, 1.0], [3.0, 9.0, 0.25], [7.0]],
        "item": [1, 2, 3, 4],
        "price": [1.0, 2.0, 3.0, 4.0],
        "past": [[5, 0, 6], [7, 8], [0, 0], [9]],
        "cost": [[1.0, 0.0, 3.0], [1.0], [0.0, 0.0], [2.0]],
        "click": [0, 1, 0, 1],
    }
    parquet("a.parquet", rows)
    features = """
- {type: id, names: tags, vocab: 10, pool: sum, weights: share}
- {type: id, names: item, vocab: 10}
- {type: dense, names: price}
- {type: sequence, name: s, of: [item, price], max_len: 5, pad: 0, column: {item: past, price: cost}}
"""
    data = "{train: a.parquet, bad_rows: quarantine, workers: 0}"
    recipe = recipe_of(features, data=data)
    source = open_data(recipe).train
    loader = Loader(recipe, Encoder.fit(recipe, source), source, 9, shuffle=False)
    [batch] = loader.epoch(0)
    assert loader.counts.quarantined == 1
    tags, past = batch.features["tags"], batch.features["s.item"]
    assert tags.values.tolist() == [1, 2, 4, 5, 6]
    assert tags.weights.tolist() == [0.5, 2.0, 3.0, 0.25, 7.0]
    assert past.values.tolist() == [5, 6, 9] and past.lengths.tolist() == [2, 0, 1]
    assert batch.features["s.price"].values.flatten().tolist() == [1.0, 3.0, 2.0]
