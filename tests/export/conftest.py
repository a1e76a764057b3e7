"""A small trained run with every kind of feature, its bundles, and rows that are not easy.

Runs and bundles are made once for all processes of a test run: see `shared_folder`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.compiler.pipeline import compile_recipe
from graphrec.export.bundle import export_run
from graphrec.export.formats import FormatName
from graphrec.export.order import Order
from graphrec.train import train

RECIPE = """\
graphrec: 1
name: small
data: {train: rows.parquet, workers: 0, bad_rows: quarantine}
defaults: {feature: {dim: 4}}
features:
  - {type: id, side: user, names: user, vocab: fit}
  - {type: id, side: context, names: {hour: 24}}
  - {type: id, side: item, names: item, vocab: hash(40)}
  - {type: id, side: item, names: tags, vocab: fit, pool: mean, sep: "|"}
  - {type: dense, side: item, names: price, transform: log1p}
  - {type: dense, side: user, names: taste, width: 3, transform: zscore}
  - {type: bucket, side: user, names: age, edges: quantile(5)}
  - {type: cross, name: both, of: [user, item], vocab: hash(100)}
  - {type: sequence, side: user, name: past, of: [item, price], max_len: 4}
groups:
  shopper: [user, hour, taste, age]
graph:
  steps: {block: self_attention, in: past, width: 4, heads: 2, pool: none}
  seen: {block: pooling, in: steps}
  who:  {block: mlp, in: shopper, hidden: [6]}
  deep: {block: mlp, in: [all, who, seen], hidden: [8], norm: batch}
tasks:
  click: {label: click, in: deep}
  stars: {label: stars, kind: multiclass, classes: 3, in: deep}
  spent: {label: spent, kind: regression, in: deep}
train: {batch: 100, steps: 6}
"""


PROOF = 4400  # rows: batches of 1, 2, 17, 4097 and a rest


class Quiet:
    """A console that says nothing."""

    quiet = True

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


def rows(count: int, seed: int = 0) -> pa.Table:
    """Rows with nulls, unseen values, empty lists and histories."""
    random = np.random.default_rng(seed)

    def sometimes(values: list[Any]) -> list[Any]:
        return [None if random.random() < 0.1 else value for value in values]

    lengths = random.integers(0, 7, count)
    items = [[f"i{n}" for n in random.integers(0, 60, k)] for k in lengths]
    prices = [random.random(k).round(3).tolist() for k in lengths]
    return pa.table(
        {
            "number": np.arange(count),
            "user": sometimes([f"u{n}" for n in random.integers(0, 50, count)]),
            "hour": sometimes(random.integers(0, 26, count).tolist()),
            "item": sometimes([f"i{n}" for n in random.integers(0, 60, count)]),
            "tags": sometimes(
                ["|".join(f"t{n}" for n in random.integers(0, 9, k)) for k in lengths % 4]
            ),
            "price": sometimes((random.random(count) * 100).tolist()),
            "taste": sometimes(random.normal(size=(count, 3)).tolist()),
            "age": sometimes(random.integers(18, 80, count).tolist()),
            "past__item": items,
            "past__price": prices,
            "click": random.integers(0, 2, count),
            "stars": random.integers(0, 3, count),
            "spent": random.random(count),
        }
    )


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: the folder that `make` filled, in whichever process came first."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        place = base / f"export-{name}"
        with (base / f"export-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / "made").exists():
                place.mkdir()
                make(place)
                (place / "made").touch()
        return place

    return folder


@pytest.fixture(scope="session")
def run(once: Once) -> Path:
    """The folder of a trained run of RECIPE."""
    return once("run", lambda place: _trained(place, RECIPE)) / "run"


@pytest.fixture(scope="session")
def strict_run(once: Once) -> Path:
    """The same where a bad row is an error."""
    text = RECIPE.replace("bad_rows: quarantine", "bad_rows: error")
    return once("strict", lambda place: _trained(place, text)) / "run"


@pytest.fixture(scope="session")
def bundle(run: Path, once: Once) -> Path:
    """The bundle of the run, as torch.export writes it; `model.pt2` lies beside."""
    return once("pt2", lambda place: _exported(run, place / "model.pt2", "pt2")) / "model"


@pytest.fixture(scope="session")
def onnx_bundle(run: Path, once: Once) -> Path:
    """The bundle of the run for onnxruntime."""
    return once("onnx", lambda place: _exported(run, place / "model.onnx", "onnx")) / "model"


def _exported(run: Path, output: Path, form: FormatName) -> None:
    export_run(Order(str(run), str(output), form=form, rows=PROOF))


def _trained(place: Path, text: str) -> None:
    pq.write_table(rows(600), place / "rows.parquet")
    (place / "small.yaml").write_text(text)
    compiled = compile_recipe(place / "small.yaml")
    train(compiled, console=Quiet(), run_dir=place / "run")


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., pa.Table]:
    """`make_rows(count, seed=0)`: rows with nulls, unseen values, empty lists and histories."""
    return rows
