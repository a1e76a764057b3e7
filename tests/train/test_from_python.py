"""From Python: raw rows to batches, training, evaluation and predictions, without the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import graphrec
from graphrec import Batch, DataError, RecipeError
from graphrec.data import as_table
from graphrec.nn import Jagged

GIVEN = """\
graphrec: 1
name: given
features:
  - {type: id, names: {user: 20, item: hash(30)}, dim: 4}
  - {type: id, names: {tags: 9}, dim: 4, pool: mean}
  - {type: dense, names: price}
graph: {top: {block: mlp, in: all, hidden: [8]}}
tasks: {click: {label: click, in: top}}
train: {batch: 32, epochs: 1}
"""
FITTED = GIVEN.replace("item: hash(30)", "item: fit").replace("given", "learned")
COLUMNS: dict[str, Any] = {
    "user": [3, 19, 99],
    "item": ["a", "b", None],
    "tags": [[1, 2], [], [8]],
    "price": [0.5, None, 2.0],
    "click": [1, 0, 1],
}


def assert_equal(batch: Batch, other: Batch) -> None:
    assert batch.features.keys() == other.features.keys()
    for name, value in batch.features.items():
        twin = other.features[name]
        if isinstance(value, Jagged):
            assert isinstance(twin, Jagged) and torch.equal(value.lengths, twin.lengths)
            value, twin = value.values, twin.values
        assert isinstance(twin, torch.Tensor) and torch.equal(value, twin), name
    assert all(torch.equal(label, other.labels[task]) for task, label in batch.labels.items())


def test_batches_before_any_training() -> None:
    model = graphrec.load(GIVEN)
    batch = Batch.from_dict(COLUMNS, model)
    assert batch.num_rows == 3 and batch.labels["click"].tolist() == [1, 0, 1]
    assert batch.features["user"].tolist() == [3, 19, 20]  # type: ignore[union-attr]
    assert_equal(batch, Batch.from_arrow(pa.table(COLUMNS), model))
    arrays = {**COLUMNS, "user": np.array([3, 19, 99]), "click": torch.tensor([1, 0, 1])}
    assert_equal(batch, Batch.from_dict(arrays, model))
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
    assert_equal(batch, Batch.from_arrow(as_table(rows), model))
    features = {name: values for name, values in COLUMNS.items() if name != "click"}
    assert not Batch.from_dict(features, model, labels=False).labels
    assert model.module()(batch)["probs"].shape == (3,)


def test_a_data_frame_is_rows() -> None:
    pandas = pytest.importorskip("pandas")
    model = graphrec.load(GIVEN)
    frame = pandas.DataFrame(COLUMNS)
    assert_equal(Batch.from_pandas(frame, model), Batch.from_dict(COLUMNS, model))
    with pytest.raises(TypeError, match=r"expected a pandas.DataFrame, got dict"):
        Batch.from_pandas(COLUMNS, model)


def test_what_is_to_be_learned_needs_data() -> None:
    with pytest.raises(DataError, match="GR701") as refused:
        Batch.from_dict(COLUMNS, graphrec.load(FITTED))
    assert "graphrec.fit(recipe, data)" in refused.value.problems[0].help
    encoder = graphrec.fit(FITTED, pa.table(COLUMNS))
    assert encoder.rows["item"] == 3  # a, b, and the row of what is not known
    batch = Batch.from_dict({**COLUMNS, "item": ["b", "never", "a"]}, encoder)
    assert batch.features["item"].tolist() == [1, 2, 0]  # type: ignore[union-attr]
    assert graphrec.load(FITTED).module(encoder.rows)(batch)["probs"].shape == (3,)


def test_batches_of_rows_in_memory() -> None:
    many = {name: values * 40 for name, values in COLUMNS.items()}
    encoder = graphrec.fit(FITTED, many)
    sizes = [batch.num_rows for batch in graphrec.batches(encoder, many)]
    assert sizes == [32, 32, 32, 24]
    first, second, again = (
        next(graphrec.batches(encoder, many, 50, shuffle=True, seed=seed)) for seed in (0, 1, 0)
    )
    users = [batch.features["user"] for batch in (first, second, again)]
    assert not torch.equal(users[0], users[1])  # type: ignore[arg-type]
    assert torch.equal(users[0], users[2])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ({"user": [1], "item": [2, 3]}, ValueError, "different lengths: user 1, item 2"),
        ({"user": 3}, TypeError, "column `user` is 3"),
        ({"user": [1]}, DataError, "no column `item`"),
        ({**COLUMNS, "price": [1, "x", None]}, DataError, "column `price` of the rows"),
    ],
)
def test_what_is_no_rows_is_told(rows: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Batch.from_dict(rows, graphrec.load(GIVEN))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> graphrec.Served:
    folder = tmp_path_factory.mktemp("runs") / "given"
    settings = ["data.synthetic=200"]
    served: graphrec.Served = graphrec.train(  # type: ignore[operator]
        GIVEN, settings, run_dir=folder, quiet=True
    )
    return served


def test_a_recipe_is_trained_and_evaluated(run: graphrec.Served) -> None:
    record = run.evaluate()
    assert record["kind"] == "eval" and record["rows"] == 20
    model = graphrec.load(GIVEN, ["data.synthetic=200"])
    other = model.evaluate(run.folder)
    assert other["click.auc"] == record["click.auc"]
    again = model.train(run_dir=run.folder.with_name("again"), quiet=True)
    assert again.evaluate()["click.auc"] == record["click.auc"]
    for key, value in run.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[key])


def test_passes_of_ones_own_are_not_trained() -> None:
    model = graphrec.load(GIVEN, passes=[lambda graph, target: graph])
    with pytest.raises(ValueError, match="passes of your own are in no recipe"):
        model.train(quiet=True)


def test_predictions_of_a_data_frame_are_one(run: graphrec.Served) -> None:
    pandas = pytest.importorskip("pandas")
    rows = {name: values for name, values in COLUMNS.items() if name != "click"}
    frame = pandas.DataFrame(rows, index=["x", "y", "z"])
    table = run.predict(frame)
    assert isinstance(table, pandas.DataFrame)
    assert list(table.index) == ["x", "y", "z"] and list(table.columns) == ["logits", "probs"]
    np.testing.assert_array_equal(table["probs"], run.predict(rows)["probs"])


BLOCK = '''
from graphrec import Block, Shape

class Same(Block):
    """A vector as it is."""

    kernels = {"torch": "torch.nn:Identity"}

    def infer(self, x: Shape) -> Shape:
        return x

    def args(self, x: Shape) -> dict:
        return {}
'''


def test_a_run_says_which_plugin_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "blocks_of_a_run.py").write_text(BLOCK)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = GIVEN.replace("{block: mlp, in: all, hidden: [8]}", "{block: same, in: all}")
    model = graphrec.load(recipe, ["data.synthetic=60"], plugins=["blocks_of_a_run"])
    model.train(run_dir=tmp_path / "run", quiet=True)
    with pytest.raises(RecipeError, match="GR305") as refused:
        graphrec.load_run(tmp_path / "run")
    assert "--plugin blocks_of_a_run" in refused.value.problems[0].help
    served = graphrec.load_run(tmp_path / "run", plugins=["blocks_of_a_run"])
    assert served.evaluate()["rows"] == 6
    from graphrec.cli import main

    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "--plugin blocks_of_a_run" in capsys.readouterr().err
