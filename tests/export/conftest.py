"""A small trained run with every kind of feature, and rows for it that are not easy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.compiler.pipeline import compile_recipe
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


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained run of RECIPE."""
    return _trained(tmp_path_factory.mktemp("small"), RECIPE)


@pytest.fixture(scope="session")
def strict_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same where a bad row is an error."""
    text = RECIPE.replace("bad_rows: quarantine", "bad_rows: error")
    return _trained(tmp_path_factory.mktemp("strict"), text)


def _trained(place: Path, text: str) -> Path:
    pq.write_table(rows(600), place / "rows.parquet")
    (place / "small.yaml").write_text(text)
    compiled = compile_recipe(place / "small.yaml")
    return train(compiled, console=Quiet(), run_dir=place / "run").folder


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., pa.Table]:
    """`make_rows(count, seed=0)`: rows with nulls, unseen values, empty lists and histories."""
    return rows
