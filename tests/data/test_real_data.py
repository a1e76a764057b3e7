"""The real sets, as they are: strings, lists, nulls, unseen ids; no preparation step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from graphrec.data import Encoder, Loader, open_data

MOVIES = """
- {type: id, names: [user_id, movie_id, occupation, zip3], vocab: fit}
- {type: id, names: genres, vocab: fit, pool: mean}
- {type: dense, names: age, transform: zscore}
- {type: sequence, name: seen, of: [movie_id], column: hist_movie, max_len: 20}
"""


@pytest.fixture
def movies(recipe_of, shared: Path):
    folder = shared / "data" / "ml100k"
    data = f"{{train: {folder}/train.parquet, eval: {folder}/valid.parquet}}"
    return recipe_of(MOVIES, "like: {label: like, in: top, metrics: [auc, gauc(user_id)]}", data)


def test_movielens(movies) -> None:
    data = open_data(movies)
    encoder = Encoder.fit(movies, data.train)
    raw = pq.read_table(data.train.paths[0])
    loader = Loader(movies, encoder, data.train, 4096, shuffle=False)
    batches = list(loader.epoch(0))
    assert loader.counts.trained == raw.num_rows == data.train.num_rows
    assert loader.counts.unseen_rates() == dict.fromkeys(loader.counts.unseen_rates(), 0.0)

    ids = torch.cat([batch.features["movie_id"] for batch in batches])
    values = encoder.learned.vocabularies["movie_id"].to_pylist()
    some = np.random.default_rng(0).integers(0, raw.num_rows, 200)
    assert [values[ids[i]] for i in some] == [str(raw["movie_id"][int(i)]) for i in some]

    first = batches[0].features["seen.movie_id"]
    histories = raw["hist_movie"].slice(0, 4096).to_pylist()
    assert first.lengths.tolist() == [min(len(h), 20) for h in histories]
    flat = [str(movie) for history in histories for movie in history[-20:]]
    assert [values[row] for row in first.values] == flat
    groups = batches[0].columns["user_id"]
    assert groups.tolist() == raw["user_id"].slice(0, 4096).to_pylist()
    assert encoder.learned.vocabularies["zip3"].to_pylist()[0].isalnum()

    held_out = Loader(movies, encoder, data.eval, 4096, shuffle=False)
    assert sum(batch.num_rows for batch in held_out.epoch(0)) == data.eval.num_rows
    assert 0 <= held_out.counts.unseen_rates()["movie_id"] < 0.02


def test_shuffling_breaks_the_order_of_users(movies) -> None:
    data = open_data(movies)
    encoder = Encoder.fit(movies, data.train)

    def users(shuffle: bool) -> np.ndarray:
        loader = Loader(movies, encoder, data.train, 4096, shuffle=shuffle)
        return next(iter(loader.epoch(0))).columns["user_id"]

    assert len(np.unique(users(False))) < 100 < 700 < len(np.unique(users(True)))
