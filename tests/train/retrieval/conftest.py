"""A planted world of tastes: users want films of their taste, popular ones more often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.compiler.pipeline import compile_recipe
from graphrec.train import train
from graphrec.train.run import Run

USERS, FILMS, TASTES, VIEWS = 90, 120, 6, 14

RECIPE = """\
graphrec: 1
name: films
data: {train: train.parquet, eval: valid.parquet, workers: 0}
defaults: {feature: {dim: 16}}
features:
  - {type: id, side: user, names: user, vocab: 90}
  - {type: id, side: item, names: film, vocab: fit}
  - {type: sequence, side: user, name: past, of: [film], max_len: 10}
groups: {who: [user], what: [film]}
graph:
  history: {block: pooling, in: past, mode: mean}
  query:   {block: mlp, in: [who, history], hidden: [32], out: 16}
  item:    {block: mlp, in: what, hidden: [32], out: 16}
retrieval:
  query: query
  item: item
  similarity: cosine
  candidates: {from: items.parquet, key: film, sample: 32, by: frequency}
  loss: {sampled_softmax: {temperature: 0.1}}
  metrics: [recall(5), recall(20), hit(5), ndcg(5), mrr]
train: {epochs: 8, batch: 64, lr: {dense: 0.005, sparse: 0.1}}
"""


class Quiet:
    """A console that says nothing."""

    quiet = True

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


Fit = Callable[..., Run]


def films_seen(rng: np.random.Generator) -> list[list[int]]:
    """What each user saw, in time order; no film twice."""
    popular = 1.0 / (1.0 + np.arange(FILMS) // TASTES)
    seen = []
    for user in range(USERS):
        weights = popular * np.where(np.arange(FILMS) % TASTES == user % TASTES, 1.0, 0.02)
        views = rng.choice(FILMS, VIEWS, replace=False, p=weights / weights.sum())
        seen.append((views + 1000).tolist())
    return seen


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe with its files: the last film of every user is to be found."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(3)
    rows: dict[str, list[dict[str, object]]] = {"train": [], "valid": []}
    for user, films in enumerate(films_seen(rng)):
        for place, film in enumerate(films):
            part = "valid" if place == VIEWS - 1 else "train"
            row = {"user": user, "film": film, "past__film": films[:place][-10:]}
            rows[part].append({**row, "liked": int(rng.random() < 0.8), "again": film})
    for part, some in rows.items():
        pq.write_table(pa.Table.from_pylist(some), folder / f"{part}.parquet")
    numbers = rng.permutation(FILMS)
    items = {"film": numbers + 1000, "weight": 1.0 + numbers % 3}
    pq.write_table(pa.table(items), folder / "items.parquet")
    edges = {"user": np.arange(USERS).repeat(3), "film": rng.integers(0, FILMS, USERS * 3) + 1000}
    pq.write_table(pa.table(edges), folder / "edges.parquet")
    (folder / "films.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="session")
def fit(world: Path) -> Fit:
    """Train the recipe with these overrides into a folder."""

    def run(folder: Path, overrides: Sequence[str] = ()) -> Run:
        compiled = compile_recipe(world / "films.yaml", overrides=overrides)
        return train(compiled, console=Quiet(), run_dir=folder)

    return run


@pytest.fixture(scope="session")
def trained(fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The recipe as it is, trained."""
    return fit(tmp_path_factory.mktemp("run") / "films")
