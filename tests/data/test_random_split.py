"""`data.split: {random: ...}`: which rows, always the same ones, by row or by value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest

from graphrec.compiler.pipeline import check_recipe
from graphrec.data.dataset import open_data
from graphrec.recipe import read_recipe
from graphrec.recipe.model import Recipe

ROWS = 5000


def recipe_of(folder: Path, files: str, split: str) -> Recipe:
    path = folder / "r.yaml"
    path.write_text(
        f"""
graphrec: 1
name: r
data: {{train: "{files}", split: {split}}}
features: [{{type: id, names: [user, row], vocab: fit, dim: 4}}]
graph: {{deep: {{block: mlp, in: all, hidden: [4]}}}}
tasks: {{y: {{label: y, in: deep}}}}
""",
        encoding="utf-8",
    )
    return read_recipe(path)


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    rng = np.random.default_rng(0)
    given = pa.table(
        {"user": rng.integers(0, 300, ROWS), "row": np.arange(ROWS), "y": rng.integers(0, 2, ROWS)}
    )
    pq.write_table(given, tmp_path / "rows.parquet", row_group_size=700)
    pcsv.write_csv(given, tmp_path / "rows.csv")
    return given


def values(recipe: Recipe, side: str, column: str) -> list[int]:
    source = getattr(open_data(recipe), side)
    return [
        int(value)
        for unit in source.units()
        for raw in source.read(unit, [column])
        for value in raw.table.column(column).to_pylist()
    ]


@pytest.mark.parametrize("files", ["rows.parquet", "rows.csv"])
def test_rows_are_on_one_side_and_always_the_same(
    files: str, table: pa.Table, tmp_path: Path
) -> None:
    recipe = recipe_of(tmp_path, files, "{random: 0.2}")
    training, evaluation = values(recipe, "train", "row"), values(recipe, "eval", "row")
    assert sorted(training + evaluation) == list(range(ROWS))
    assert 0.17 < len(evaluation) / ROWS < 0.23
    assert evaluation == values(recipe, "eval", "row")
    more = values(recipe_of(tmp_path, files, "{random: 0.4}"), "eval", "row")
    assert set(evaluation) < set(more), "a larger share holds the smaller one"


def test_whole_users_are_drawn_alike_from_every_form(table: pa.Table, tmp_path: Path) -> None:
    drawn = set()
    for files in ("rows.parquet", "rows.csv"):
        recipe = recipe_of(tmp_path, files, "{by: user, random: 0.2}")
        training, evaluation = (set(values(recipe, side, "user")) for side in ("train", "eval"))
        assert not training & evaluation and len(training | evaluation) == 300
        assert 0.1 < len(evaluation) / 300 < 0.3
        drawn.add(frozenset(evaluation))
    assert len(drawn) == 1


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("{random: 0.2, eval: last(1), by: user}", "one of them"),
        ("{by: user}", "one of them"),
        ("{eval: last(1)}", "`eval` needs `by`"),
        ("{random: 1.5}", "below 1"),
    ],
)
def test_what_is_refused(split: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="."):
        recipe_of(tmp_path, "rows.csv", split)
    assert any(said in p.message for p in check_recipe(tmp_path / "r.yaml").errors)
