"""Epochs: every row once, the same batches for the same seed, clean ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from graphrec.data import Encoder, Loader, data_remarks, open_data
from graphrec.data.ahead import run_ahead
from graphrec.data.loader import cuts
from graphrec.ground.errors import DataError

FEATURES = """
- {type: id, names: a, vocab: 10_000}
- {type: sequence, name: s, of: [a], max_len: 4}
"""


def write(parquet, rows: int, files: int = 1, row_group_size: int = 50) -> None:
    """Rows numbered by column a; each history repeats the row's number."""
    for k, part in enumerate(np.array_split(np.arange(rows), files)):
        history = [[int(i)] * (int(i) % 6) for i in part]
        columns = {"a": part, "s__a": history, "click": [int(i) % 2 for i in part]}
        parquet(f"{k}.parquet", pa.table(columns), row_group_size=row_group_size)


@pytest.fixture
def loaded(recipe_of, parquet):
    """`loaded(rows, files=2, batch=8, workers=1)`: a loader over files of numbered rows."""

    def make(rows, files=1, batch=8, data="", shuffle=True, workers=0, seed=0, row_group_size=50):
        write(parquet, rows, files, row_group_size)
        settings = f"{{train: '*.parquet', shuffle: 64{data}}}"
        recipe = recipe_of(FEATURES, data=settings)
        source = open_data(recipe).train
        encoder = Encoder.fit(recipe, source)
        return Loader(recipe, encoder, source, batch, shuffle=shuffle, seed=seed, workers=workers)

    return make


def rows_of(batches) -> list[list[int]]:
    """Row numbers, batch by batch, after a look at what belongs to each row."""
    found = []
    for batch in batches:
        rows = batch.features["a"]
        history = batch.features["s.a"]
        assert torch.equal(history.lengths, torch.clamp(rows % 6, max=4))
        assert torch.equal(history.values, rows.repeat_interleave(history.lengths))
        assert torch.equal(batch.labels["click"], (rows % 2).float())
        found.append(rows.tolist())
    return found


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 64, 65, 66, 128, 129, 130, 487])
def test_every_row_once_with_any_number_of_workers(loaded, rows, workers) -> None:
    loader = loaded(rows, files=3 if rows > 3 else 1, workers=workers)
    batches = rows_of(loader.epoch(3))
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    assert len(batches) == loader.num_batches
    assert {len(batch) for batch in batches[:-1]} <= {8}
    assert len(batches[-1]) > 1 or rows == 1
    loader.workers = 0
    assert rows_of(loader.epoch(3)) == batches
    counts = loader.counts
    assert (counts.read, counts.trained) == (2 * rows, 2 * rows)


def test_epochs_and_seeds_differ(loaded) -> None:
    loader, other = loaded(200), loaded(200, seed=1)
    first = rows_of(loader.epoch(0))
    assert rows_of(loader.epoch(0)) == first
    assert rows_of(loader.epoch(1)) != first
    assert rows_of(other.epoch(0)) != first


def test_without_shuffling_the_order_is_that_of_the_files(loaded) -> None:
    flat = [row for batch in rows_of(loaded(300, files=3, shuffle=False).epoch(5)) for row in batch]
    assert flat == list(range(300))


def test_shuffle_zero_keeps_the_order(recipe_of, parquet) -> None:
    write(parquet, 100)
    recipe = recipe_of(FEATURES, data="{train: '*.parquet', shuffle: 0}")
    source = open_data(recipe).train
    loader = Loader(recipe, Encoder.fit(recipe, source), source, 10, shuffle=True)
    assert rows_of(loader.epoch(0))[0] == list(range(10))


def test_rows_are_mixed_across_row_groups_and_files(recipe_of, parquet) -> None:
    """1 row group = 50 rows; a batch of 40 sees most groups, and neighbours are torn apart."""
    write(parquet, 2000, files=4)
    recipe = recipe_of(FEATURES, data="{train: '*.parquet'}")
    source = open_data(recipe).train
    loader = Loader(recipe, Encoder.fit(recipe, source), source, 40, shuffle=True)
    batches = rows_of(loader.epoch(0))
    assert min(len({row // 50 for row in batch}) for batch in batches) > 15
    steps = np.abs(np.diff(np.concatenate(batches)))
    assert (steps == 1).mean() < 0.01
    assert abs(np.mean(batches[0]) - 1000) < 400


def test_a_small_buffer_mixes_what_it_holds(loaded) -> None:
    """Blocks of 64 rows: read in permuted files, each block holds at most 64 neighbours."""
    flat = [row for batch in rows_of(loaded(640, files=10).epoch(0)) for row in batch]
    assert flat != sorted(flat)
    starts = [min(flat[i : i + 64]) // 64 for i in range(0, 640, 64)]
    assert starts != sorted(starts)


def test_one_big_row_group_is_mixed(loaded) -> None:
    batches = rows_of(loaded(60, row_group_size=1000).epoch(0))
    assert sorted(batches[0]) != list(range(8))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("quarantine", [False, True])
def test_resuming_at_any_batch_is_the_unbroken_epoch(loaded, workers, quarantine) -> None:
    data = ", bad_rows: quarantine" if quarantine else ""
    loader = loaded(203, files=3, workers=workers, data=data, row_group_size=20)
    whole = rows_of(loader.epoch(2))
    for step in range(len(whole)):
        loader.counts = type(loader.counts)()
        assert rows_of(loader.epoch(2, start_row=8 * step)) == whole[step:]
        assert loader.counts.read == 203
        assert (loader.counts.trained, loader.counts.skipped) == (203 - 8 * step, 8 * step)


def test_a_broken_off_epoch_counts_and_stops_its_threads(loaded) -> None:
    loader = loaded(1000, files=4, workers=3)
    before = threading.active_count()
    for batch in loader.epoch(0):
        assert batch.num_rows == 8
        break
    deadline = time.time() + 5
    while threading.active_count() > before and time.time() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    counts = loader.counts
    assert counts.trained == 8
    assert counts.read == counts.trained + counts.skipped + counts.quarantined > 8


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_in_a_file_reaches_the_loop(recipe_of, parquet, workers) -> None:
    for k in range(4):
        cells = ["1"] * 100 if k != 2 else ["1"] * 50 + ["x"] + ["1"] * 49
        columns = {"a": cells, "s__a": [["1"]] * 100, "click": [1] * 100}
        parquet(f"{k}.parquet", columns)
    recipe = recipe_of(FEATURES, data="{train: '*.parquet', shuffle: 16}")
    source = open_data(recipe).train
    loader = Loader(recipe, Encoder.fit(recipe, source), source, 8, shuffle=False, workers=workers)
    before = threading.active_count()
    handed = 0
    with pytest.raises(DataError, match=r"row 51 of .*2\.parquet: 'x' is not an integer"):
        for batch in loader.epoch(0):
            handed += batch.num_rows
    assert handed <= 200
    assert threading.active_count() == before


def test_quarantined_rows_are_counted_with_any_number_of_workers(recipe_of, parquet) -> None:
    for k in range(5):
        cells = [str(i) if i % 7 else "bad" for i in range(100)]
        parquet(f"{k}.parquet", {"a": cells, "s__a": [["1"]] * 100, "click": [1] * 100})
    recipe = recipe_of(FEATURES, data="{train: '*.parquet', shuffle: 64, bad_rows: quarantine}")
    source = open_data(recipe).train
    encoder = Encoder.fit(recipe, source)
    for workers in range(9):
        loader = Loader(recipe, encoder, source, 8, shuffle=True, workers=workers)
        trained = sum(batch.num_rows for batch in loader.epoch(0))
        assert trained == loader.counts.trained == 425
        assert (loader.counts.read, loader.counts.quarantined) == (500, 75)
        assert dict(loader.counts.reasons) == {"a: is not an integer": 75}


def test_waiting_is_measured(loaded) -> None:
    loader = loaded(400, workers=1)
    for _ in loader.epoch(0):
        time.sleep(0.01)
    assert 0 < loader.wait_seconds < 0.5 * 0.01 * 50 + 0.5


@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (5, 1), (9, 4), (10, 4), (1, 4), (4, 4)])
def test_cuts(rows, batch) -> None:
    found = list(cuts(rows, batch))
    assert [stop for _, stop in found][-1] == rows and found[0][0] == 0
    assert all(stop - start in (batch, batch + 1) for start, stop in found[:-1])
    assert batch == 1 or rows == 1 or all(stop - start > 1 for start, stop in found)


# ---- CSV and Parquet --------------------------------------------------------------------------


def test_csv_and_parquet_give_the_same_batches(recipe_of, parquet, csv_file) -> None:
    features = """
- {type: id, names: zip, vocab: fit}
- {type: id, names: n, vocab: 50}
- {type: id, names: h, vocab: hash(1000)}
- {type: id, names: tags, vocab: fit, pool: sum, sep: '|'}
- {type: dense, names: x, transform: zscore}
- {type: bucket, names: q, edges: quantile(5)}
- {type: sequence, name: s, of: [n], max_len: 3, sep: '|'}
"""
    random = np.random.default_rng(0)
    rows = 500
    zips = [None if i % 11 == 0 else f"{i % 37:03d}" for i in range(rows)]
    tags = [[f"t{j}" for j in range(i % 4)] for i in range(rows)]
    history = [[int(j) for j in random.integers(0, 60, i % 5)] for i in range(rows)]
    numbers = [None if i % 13 == 0 else float(i % 29) / 7 for i in range(rows)]
    plain = {
        "n": [int(i) for i in random.integers(-3, 60, rows)],
        "h": [f"ü,{i % 90}" for i in range(rows)],
    }
    columns = {
        "zip": zips,
        "x": numbers,
        "q": numbers,
        **plain,
        "click": [i % 2 for i in range(rows)],
    }
    parquet("a.parquet", {**columns, "tags": tags, "s__n": history}, row_group_size=100)
    csv_file("a.csv", {
        **columns,
        "tags": ["|".join(t) for t in tags],
        "s__n": ["|".join(map(str, h)) for h in history],
    })  # fmt: skip
    found = []
    for name in ("a.parquet", "a.csv"):
        recipe = recipe_of(features, data=f"{{train: {name}}}")
        source = open_data(recipe).train
        encoder = Encoder.fit(recipe, source)
        assert encoder.learned.vocabularies["zip"].to_pylist()[0][0] == "0"
        [batch] = Loader(recipe, encoder, source, 1000, shuffle=False).epoch(0)
        found.append(batch)
    one, other = (torch.utils._pytree.tree_leaves(batch) for batch in found)
    assert len(one) == len(other) > 10
    for a, b in zip(one, other, strict=True):
        assert a is b is None or torch.equal(a, b)


def test_csv_dialects(recipe_of, tmp_path: Path) -> None:
    text = 'a;"note";click\r\n1;"two\nlines; really";1\r\n2;"say ""hi""";0\r\n'
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    recipe = recipe_of(
        "- {type: id, names: a, vocab: 9}\n- {type: id, names: note, vocab: fit}",
        data="{train: a.csv, sep: ';'}",
    )
    source = open_data(recipe).train
    encoder = Encoder.fit(recipe, source)
    assert encoder.learned.vocabularies["note"].to_pylist() == ['say "hi"', "two\nlines; really"]
    assert source.num_rows is None
    loader = Loader(recipe, encoder, source, 9, shuffle=False)
    assert loader.num_batches is None
    [batch] = loader.epoch(0)
    assert batch.features["a"].tolist() == [1, 2]


def test_compressed_and_tab_separated(recipe_of, tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"a\tclick\n1\t1\n2\t0\n"))
    recipe = recipe_of("- {type: id, names: a, vocab: 9}", data="{train: a.tsv.gz}")
    source = open_data(recipe).train
    [batch] = Loader(recipe, Encoder.fit(recipe, source), source, 9, shuffle=False).epoch(0)
    assert batch.features["a"].tolist() == [1, 2]


# ---- work ahead -------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_items_come_in_the_order_of_the_tasks(workers) -> None:
    def task(number):
        for i in range(number % 4):
            time.sleep(0.001 * ((number * 7) % 3))
            yield number, i

    tasks = [lambda number=number: task(number) for number in range(20)]
    expected = [(number, i) for number in range(20) for i in range(number % 4)]
    assert list(run_ahead(tasks, workers, 3)) == expected


def test_waiting_items_are_bounded() -> None:
    made = []

    def task(number):
        for i in range(100):
            made.append((number, i))
            yield i

    items = run_ahead([lambda number=number: task(number) for number in range(4)], 2, 5)
    next(items)
    time.sleep(0.1)
    assert len(made) <= 1 + 2 * 5 + 2
    items.close()
    size = len(made)
    time.sleep(0.02)
    assert len(made) == size


def test_an_error_comes_in_its_place() -> None:
    def good():
        yield from (1, 2)

    def bad():
        yield 3
        raise ValueError("spoilt")

    items = run_ahead([good, bad, good], 3, 100)
    assert [next(items) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="spoilt"):
        next(items)


# ---- files in an order ------------------------------------------------------------------------


def sorted_files(write, form: str, sizes: dict[int, int]) -> None:
    """A file of each class, `a` numbers all rows."""
    first = 0
    for label, rows in sizes.items():
        write(f"{label}.{form}", {"a": range(first, first + rows), "click": [label] * rows})
        first += rows


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("sizes", [{0: 30_000, 1: 30_000}, {0: 60_000, 1: 9_000}])
def test_files_sorted_by_label_are_mixed(recipe_of, parquet, csv_file, form, sizes) -> None:
    sorted_files(parquet if form == "parquet" else csv_file, form, sizes)
    data = f"{{train: '*.{form}', shuffle: 16_000}}"
    recipe = recipe_of("- {type: id, names: a, vocab: 100_000}", data=data)
    source = open_data(recipe).train
    loader = Loader(recipe, Encoder.fit(recipe, source), source, 4000, shuffle=True)
    shares = [float(batch.labels["click"].mean()) for batch in loader.epoch(0)]
    share = sizes[1] / sum(sizes.values())
    assert max(abs(s - share) for s in shares[:-4]) < 0.35 * min(share, 1 - share) + 0.08, shares
    [remark] = [r for r in data_remarks(recipe, loader.counts) if r.kind == "order"]
    assert "task `click`: the rows are sorted by the label" in remark.text

    def rows_from(start: int) -> np.ndarray:
        return np.concatenate([b.features["a"].numpy() for b in loader.epoch(1, start_row=start)])

    rows = rows_from(0)
    assert sorted(rows) == list(range(sum(sizes.values())))
    loader.workers = 3
    assert np.array_equal(rows_from(0), rows)
    assert np.array_equal(rows_from(40_000), rows[40_000:])
