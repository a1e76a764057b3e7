"""The rows of an epoch on many ranks are those of one process: each once, in the same batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.data import Counts, Encoder, Loader, open_data
from graphrec.data.source import Unit
from graphrec.distributed import loader as rank_loader
from graphrec.distributed.loader import RankLoader
from graphrec.distributed.spans import UnitRows, divide_batch, divide_block, place, stretches
from graphrec.ground.errors import DataError
from graphrec.recipe import read_recipe
from graphrec.recipe.model import Recipe

RECIPE = """\
graphrec: 1
name: rows
data: {train: FILES, shuffle: 60, workers: 0}
features:
  - {type: id, names: row, vocab: 1000, dim: 4}
  - {type: id, names: word, vocab: 9, dim: 4}
  - {type: sequence, name: past, of: [word], max_len: 5, column: past, sep: "|"}
graph: {top: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: top}}
train: {batch: 16, steps: 1}
"""


class Peers:
    """Ranks in one process, one after another: what they exchange is known beforehand."""

    def __init__(self, rank: int, size: int, all_of_them: list[Any] | None = None) -> None:
        self.rank, self.size, self.first = rank, size, rank == 0
        self.all = all_of_them

    def gather(self, value: Any) -> list[Any]:
        return [value] if self.all is None else self.all


def recipe_of(folder: Path, files: str, *overrides: str) -> Recipe:
    path = folder / "rows.yaml"
    path.write_text(RECIPE.replace("FILES", files))
    return read_recipe(path, overrides)


def write(folder: Path, sizes: list[int], form: str, bad: set[int] = frozenset()) -> str:
    start = 0
    for number, size in enumerate(sizes):
        rows = range(start, start + size)
        table = pa.table(
            {
                "row": [str(r) for r in rows],
                "word": [str(r % 9) for r in rows],
                "past": ["|".join(["3"] * (r % 4)) for r in rows],
                "click": ["?" if r in bad else str(r % 2) for r in rows],
            }
        )
        path = folder / f"part{number}.{form}"
        if form == "parquet":
            pq.write_table(table, path, row_group_size=13)
        else:
            lines = [",".join(table.column_names)]
            lines += [",".join(map(str, row.values())) for row in table.to_pylist()]
            path.write_text("\n".join(lines) + "\n")
        start += size
    return f"{folder}/part*.{form}"


def loaders(recipe: Recipe, size: int, **how: Any) -> list[RankLoader]:
    """The loaders of all ranks; what they counted is exchanged."""
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    exact = recipe.data.bad_rows == "error"
    units = data.train.units()
    counted = {
        number: rank_loader._count_unit(encoder, data.train, unit, None, exact=exact)
        for number, unit in enumerate(units)
    }
    return [
        RankLoader(recipe, encoder, data.train, 16, Peers(r, size, [counted]), seed=3, **how)
        for r in range(size)
    ]


def watch(rank: RankLoader, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The files that the rank reads from now on."""
    opened: set[int] = set()
    read = rank.source.read

    def watched(unit: Unit, columns: Any = None) -> Any:
        opened.add(unit.file)
        return read(unit, columns)

    monkeypatch.setattr(rank.source, "read", watched)
    return opened


def ids(batch: Any) -> list[int]:
    return sorted(batch.features["row"].tolist())


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_those_of_one_process(
    tmp_path: Path, form: str, size: int, shuffle: bool
) -> None:
    files = write(tmp_path, [40, 1, 90, 30, 2], form)
    recipe = recipe_of(tmp_path, files)
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    one = Loader(recipe, encoder, data.train, 16, shuffle=shuffle, seed=3)
    many = loaders(recipe, size, shuffle=shuffle)
    for epoch, start in ((0, 0), (1, 0), (1, 48)):
        expected = [ids(b) for b in one.epoch(epoch, start)]
        found = [list(rank.portions(epoch, start)) for rank in many]
        assert [len(f) for f in found] == [len(expected)] * size
        for number, wanted in enumerate(expected):
            shares = [f[number] for f in found]
            assert sorted(sum((ids(s.batch) for s in shares), [])) == wanted
            assert {s.rows for s in shares} == {len(wanted)}
            assert {s.stride for s in shares} == {max(s.batch.num_rows for s in shares)}
        if epoch and not start:
            unbroken = found
    resumed = [[ids(p.batch) for p in rank] for rank in found]
    assert resumed == [[ids(p.batch) for p in rank][3:] for rank in unbroken], (
        "the same ranks' rows"
    )


@pytest.mark.parametrize("size", [1, 2, 5])
def test_an_evaluation_is_divided_once(tmp_path: Path, size: int) -> None:
    recipe = recipe_of(tmp_path, write(tmp_path, [40, 33], "parquet"))
    found = [list(rank.portions(0)) for rank in loaders(recipe, size, shuffle=False, whole=True)]
    assert len({len(f) for f in found}) == 1, "every rank looks up equally often"
    rows = [row for f in found for portion in f for row in portion.batch.features["row"].tolist()]
    assert rows == list(range(73)), "rank after rank, in the order of the data"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_bad_rows_are_counted_once(tmp_path: Path, size: int) -> None:
    bad = {0, 5, 6, 38, 39, 40, 70}
    files = write(tmp_path, [40, 1, 60], "csv", bad)
    recipe = recipe_of(tmp_path, files, "data.bad_rows=quarantine")
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    one = Loader(recipe, encoder, data.train, 16, shuffle=True, seed=3)
    expected = [ids(batch) for batch in one.epoch(0)]
    many = loaders(recipe, size, shuffle=True)
    found = [list(rank.portions(0)) for rank in many]
    for number, wanted in enumerate(expected):
        assert sorted(sum((ids(f[number].batch) for f in found), [])) == wanted
    total = Counts()
    for rank in many:
        total.add(rank.counts)
    for name in ("read", "trained", "quarantined", "skipped", "reasons", "values", "unlabelled"):
        assert getattr(total, name) == getattr(one.counts, name), name
    assert total.quarantined == len(bad)


def test_a_rank_opens_only_files_with_rows_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path, [15, 15, 15, 15], "parquet")
    recipe = recipe_of(tmp_path, files)
    for rank in loaders(recipe, 2, shuffle=True):
        opened = watch(rank, monkeypatch)
        portions = list(rank.portions(0))
        own = {int(row) // 15 for p in portions for row in p.batch.features["row"].tolist()}
        assert opened == own and len(own) == 2


def test_a_bad_cell_is_the_mistake_of_one_rank(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, write(tmp_path, [30, 30], "parquet", {45}))
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    refused = []
    for rank in range(2):
        loader = RankLoader(
            recipe, encoder, data.train, 16, Peers(rank, 2), shuffle=False, whole=True
        )
        try:
            list(loader.portions(0))
        except DataError as error:
            refused.append((rank, error.problems[0].message))
    ((rank, message),) = refused
    assert rank == 1 and "row 16" in message and "part1" in message


def test_a_share_is_about_an_equal_part() -> None:
    order = np.random.default_rng(0).permutation(262_144)
    batches = np.array_split(order, 32)
    for ranks in (2, 8, 64):
        shares = divide_block(batches, ranks, 0)
        sizes = np.array([len(share.places) for share in shares])
        assert sizes.sum() == 262_144 // ranks
        assert sizes.max() < 8192 / ranks * 1.6 + 10
        every = [divide_block(batches, ranks, rank)[3].places for rank in range(ranks)]
        assert sorted(np.concatenate(every)) == sorted(batches[3])


def test_rows_that_are_not_mixed_are_divided_in_their_order() -> None:
    rows = np.arange(10)
    shares = [divide_batch(rows, 3, rank) for rank in range(3)]
    assert [share.places.tolist() for share in shares] == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    assert {share.most for share in shares} == {4}


def test_stretches_leave_bad_rows_out() -> None:
    units = [UnitRows(((5, 1.0),), (0, 2)), UnitRows(((2, 1.0),), (0, 1)), UnitRows(((4, 1.0),))]
    good = [*place(0, np.array([1, 3, 4])), *place(2, np.arange(4))]
    for low in range(8):
        for high in range(low, 8):
            found = [int(p) for part in stretches(units, low, high) for p in part]
            assert found == good[low:high]
