"""Files found, columns read, data sets split and fingerprinted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from graphrec.data import Encoder, Loader, fingerprint, open_data
from graphrec.data.files import find_files
from graphrec.ground.errors import DataError

ONE = "- {type: id, names: a, vocab: 1_000}"


def test_globs_are_sorted_and_files_come_once(tmp_path: Path) -> None:
    for name in ("b/2.csv", "a/1.csv", "a/10.csv", "c[1].csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_files(["**/*.csv", "a/*.csv", "c[1].csv"], tmp_path)
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["a/1.csv", "a/10.csv", "b/2.csv", "c[1].csv"]


def test_only_needed_columns_are_read(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": [1], "click": [1], "huge": ["x" * 1000], "none": [None]})
    recipe = recipe_of(ONE, data="{train: a.parquet}")
    source = open_data(recipe).train
    [raw] = [raw for unit in source.units() for raw in source.read(unit)]
    assert raw.table.schema.names == ["a", "click"]


def test_small_row_groups_are_read_together(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": np.arange(200) % 9, "click": np.arange(200) % 2}, row_group_size=10)
    source = open_data(recipe_of(ONE, data="{train: a.parquet}")).train
    [unit] = source.units()
    assert (unit.parts, unit.num_rows) == (tuple(range(20)), 200)


def test_a_split_holds_the_last_values_out(recipe_of, parquet) -> None:
    days = np.repeat([20240101, 20240103, 20240102, 20240104], 25)
    table = {"a": np.arange(100), "day": days, "click": [1] * 100}
    parquet("1.parquet", pa.table(table).slice(0, 60), row_group_size=20)
    parquet("2.parquet", pa.table(table).slice(60), row_group_size=20)
    split = "{train: '*.parquet', split: {by: day, eval: last(2)}}"
    recipe = recipe_of(ONE, data=split)
    data = open_data(recipe)
    assert (data.train.num_rows, data.eval.num_rows) == (50, 50)
    encoder = Encoder.fit(recipe, data.train)
    for source, wanted in ((data.train, (20240101, 20240102)), (data.eval, (20240103, 20240104))):
        loader = Loader(recipe, encoder, source, 7, shuffle=True, workers=2)
        rows = np.concatenate([batch.features["a"].numpy() for batch in loader.epoch(0)])
        assert sorted(rows) == np.flatnonzero(np.isin(days, wanted)).tolist()
        assert (loader.counts.read, loader.counts.skipped) == (100, 50)
        assert len(rows) == loader.counts.trained == loader.num_rows
        resumed = [batch.features["a"].tolist() for batch in loader.epoch(0, start_row=14)]
        assert resumed[0] == rows[14:21].tolist()


def test_a_split_by_text_in_csv(recipe_of, csv_file) -> None:
    csv_file("a.csv", {"a": [1, 2, 3], "day": ["2024-01-02", "2024-01-01", None], "click": [1] * 3})
    recipe = recipe_of(ONE, data="{train: a.csv, split: {by: day, eval: last(1)}}")
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    [batch] = Loader(recipe, encoder, data.eval, 9, shuffle=False).epoch(0)
    assert batch.features["a"].tolist() == [1]
    [batch] = Loader(recipe, encoder, data.train, 9, shuffle=False).epoch(0)
    assert batch.features["a"].tolist() == [2, 3]


def test_errors_behind_a_split_name_the_row_of_the_file(recipe_of, csv_file) -> None:
    csv_file("a.csv", {"a": [1, 2, "x", 4], "day": [1, 2, 1, 2], "click": [1] * 4})
    recipe = recipe_of(ONE, data="{train: a.csv, split: {by: day, eval: last(1)}}")
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    with pytest.raises(DataError, match="row 3 of"):
        list(Loader(recipe, encoder, data.train, 9, shuffle=False).epoch(0))


@pytest.mark.parametrize(
    "data",
    [
        "{train: a.csv, split: {by: day, eval: last(3)}}",
        "{train: a.csv, split: {by: day, eval: last(9)}}",
    ],
)
def test_a_split_that_leaves_nothing(recipe_of, csv_file, data) -> None:
    csv_file("a.csv", {"a": [1, 2, 3], "day": [1, 2, 3], "click": [1] * 3})
    with pytest.raises(DataError, match="GR710"):
        open_data(recipe_of(ONE, data=data))


def test_fingerprint(tmp_path: Path, parquet) -> None:
    one = parquet("one.parquet", {"a": [1, 2]})
    two = tmp_path / "two.csv"
    two.write_bytes(b"a\n" + b"1\n" * 100_000)
    first = fingerprint([one, two])
    assert first == fingerprint([two, one])
    assert len(first) == 64
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (one, two):
        shutil.copy(path, moved / path.name)
    assert fingerprint([moved / "one.parquet", moved / "two.csv"]) == first
    two.write_bytes(b"a\n" + b"1\n" * 99_999 + b"2\n")
    assert fingerprint([one, two]) != first
    parquet("one.parquet", {"a": [1, 3]})
    assert fingerprint([one]) != fingerprint([moved / "one.parquet"])


def test_names_and_rows(recipe_of, parquet) -> None:
    for k in range(3):
        parquet(f"{k}.parquet", {"a": [1] * 4, "click": [0] * 4})
    data = open_data(recipe_of(ONE, data="{train: ['0.parquet', '1.parquet'], eval: 2.parquet}"))
    assert data.train.name == "0.parquet and 1 more files"
    assert (data.train.num_rows, data.eval.num_rows) == (8, 4)
    assert data.fingerprint == data.train.fingerprint != data.eval.fingerprint


def test_a_csv_file_refused_at_once_ends_the_process_orderly(tmp_path: Path) -> None:
    """Arrow's threads may hold what is Python's when the interpreter ends: that would abort it."""
    (tmp_path / "a.csv").write_text("1,2\n" * 20_000)
    code = (
        "from pathlib import Path\n"
        "from graphrec.data.csvfile import CsvFile\n"
        "from graphrec.data.plan import Plan\n"
        "from graphrec.recipe.training import Data\n"
        "plan = Plan((), (), {}, {}, {}, {'1': 'feature'})\n"
        "file = CsvFile(Path('a.csv'), plan, Data(bad_rows='quarantine', workers=0))\n"
        "next(iter(file.read(file.units(0)[0])))\n"
    )
    for _ in range(4):  # before it was mended, more than every third
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
