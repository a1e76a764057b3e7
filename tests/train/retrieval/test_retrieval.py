"""A retriever from recipe to search: it learns, is measured exactly, goes on bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from graphrec.cli import main
from graphrec.compiler.pipeline import compile_recipe
from graphrec.data import Items, Negatives, open_data
from graphrec.train import checkpoint, evaluate
from graphrec.train.evaluate_run import load_run
from graphrec.train.run import Run

FILMS = 120
Fit = Callable[..., Run]


def record(run: Run) -> dict[str, float]:
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if '"eval"' in line][-1]


def test_it_finds_more_than_the_most_popular(trained: Run, world: Path) -> None:
    train, valid = (pq.read_table(world / f"{part}.parquet") for part in ("train", "valid"))
    counts = np.bincount(train["film"].to_numpy() - 1000, minlength=FILMS)
    ranks = (counts[None] >= counts[valid["film"].to_numpy() - 1000][:, None]).sum(1)
    popular = float((ranks <= 20).mean())
    assert record(trained)["retrieval.recall(20)"] > popular + 0.1


def test_metrics_are_those_of_brute_force(trained: Run, world: Path) -> None:
    run = load_run(trained.folder)
    films = pq.read_table(world / "items.parquet")["film"].to_pylist()
    rows = pq.read_table(world / "valid.parquet")
    with torch.no_grad():
        items = run.items()
        assert items is not None
        vectors = run.module.encode_item(items.batch(np.arange(len(items)))).double()
        queries = run.module.encode_query(run.encoder.encode(rows)).double()
    scores = (queries @ vectors.t()).float().numpy()
    ranks = []
    for row, film in zip(scores, rows["film"].to_pylist(), strict=True):
        mine = films.index(film)
        ranks.append(1 + sum(s >= row[mine] for place, s in enumerate(row) if place != mine))
    found = np.array(ranks)
    saved = record(trained)
    assert saved["retrieval.recall(5)"] == saved["retrieval.hit(5)"] == np.mean(found <= 5)
    assert saved["retrieval.recall(20)"] == np.mean(found <= 20)
    gains = np.where(found <= 5, 1 / np.log2(1 + found), 0)
    assert saved["retrieval.ndcg(5)"] == pytest.approx(gains.mean(), abs=1e-15)
    assert saved["retrieval.mrr"] == pytest.approx((1 / found).mean(), abs=1e-15)
    again = evaluate(trained.folder)
    assert {k: v for k, v in again.items() if "." in k} == {
        k: v for k, v in saved.items() if "." in k
    }


def test_the_loss_of_an_evaluation_is_over_all_items(trained: Run, world: Path) -> None:
    run = load_run(trained.folder)
    items = run.items()
    rows = pq.read_table(world / "valid.parquet")
    assert items is not None
    with torch.no_grad():
        vectors = run.module.encode_item(items.batch(np.arange(len(items))))
        queries = run.module.encode_query(run.encoder.encode(rows))
    own = torch.tensor([items.keys.to_pylist().index(film) for film in rows["film"].to_pylist()])
    expected = torch.nn.functional.cross_entropy(queries @ vectors.t() / 0.1, own)
    assert record(trained)["loss"] == pytest.approx(float(expected), rel=1e-5)


SETTINGS = {
    "drawn and in the batch": [],
    "hard, and nothing seen": [
        "retrieval.candidates.hard=edges.parquet",
        "retrieval.candidates.hard_by=user",
        "retrieval.candidates.hard_sample=2",
        "retrieval.seen=past",
        "data.workers=1",
    ],
}


@pytest.mark.parametrize("overrides", SETTINGS.values(), ids=SETTINGS)
def test_a_run_that_goes_on_in_mid_epoch_is_the_unbroken_run(
    fit: Fit, world: Path, tmp_path: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)  # where paths of overrides begin
    more = [*overrides, "train.epochs=2", "train.save={every: 5, keep: 99}"]
    whole = fit(tmp_path / "whole", more)
    cut = tmp_path / "cut"
    shutil.copytree(whole.folder, cut)
    steps = sorted((cut / "checkpoints").glob("step-*"))
    for later in steps[1:]:
        shutil.rmtree(later)
    first = checkpoint.load(steps[0])
    assert first.position.row > 0, "in the middle of an epoch"
    (cut / "run.json").unlink()
    facts = json.loads((whole.folder / "run.json").read_text())
    Run(cut).info(
        **{k: v for k, v in facts.items() if k not in ("sha256", "format", "finished")},
        finished=False,
    )
    resumed = fit(cut, more)
    assert resumed.resumed and resumed.folder == cut
    one, other = (checkpoint.latest(run.folder / "checkpoints") for run in (whole, resumed))
    assert one is not None and other is not None and one.position.step == other.position.step > 5
    for mine, theirs in ((one.model(), other.model()), (one.optim(), other.optim())):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_side_of_the_user_runs_once_for_a_batch(fit: Fit, world: Path, trained: Run) -> None:
    run = load_run(trained.folder)
    data = open_data(run.recipe)
    assert data.items is not None
    items = Items(run.encoder, data.items)
    negatives = Negatives(run.encoder, items, data.train, 0)
    raw = next(data.train.read(data.train.units()[0], rows=64))
    chunk, _ = run.encoder.encode_raw(raw)
    batch = chunk.batch()
    batch.compared = negatives.compared(chunk, 0, 0)
    result = run.module(batch)
    distinct = len(set(raw.table["film"].to_pylist()))
    assert result["query"].shape == (64, 16)
    assert distinct < result["item"].shape[0] <= distinct + 32


def test_index_and_search(
    trained: Run, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faiss")
    where = str(tmp_path / "index")
    run, users = str(trained.folder), str(world / "valid.parquet")
    assert main(["index", run, "-O", where, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["items"] == FILMS and told["recall"]["10"] > 0.99
    for name, more in (("graph", []), ("exact", ["--exact"])):
        words = ["search", run, "--data", users, "-k", "7", "--keep", "user", "--index", where]
        assert main([*words, *more, "-O", str(tmp_path / f"{name}.parquet")]) == 0
    graph, exact = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("graph", "exact"))
    assert exact.column_names == ["row", "user", "rank", "film", "score"]
    assert exact["rank"].to_pylist()[:7] == [1, 2, 3, 4, 5, 6, 7]
    assert exact["row"].to_pylist()[:8] == [1] * 7 + [2]
    same = np.mean(np.array(graph["film"]) == np.array(exact["film"]))
    assert same > 0.95
    hits = sum(
        film in exact["film"].to_pylist()[7 * row : 7 * row + 5]
        for row, film in enumerate(pq.read_table(users)["film"].to_pylist())
    )
    assert hits / pq.read_table(users).num_rows == record(trained)["retrieval.recall(5)"]


def test_search_leaves_out_what_was_seen(
    fit: Fit, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(tmp_path / "seen", ["retrieval.seen=[past]", "train.epochs=1"])
    users = str(world / "valid.parquet")
    assert (
        main(["search", str(run.folder), "--data", users, "-k", "9", "--exact", "--format", "json"])
        == 0
    )
    results = json.loads(capsys.readouterr().out)["results"]
    past = pq.read_table(users)["past__film"].to_pylist()
    assert len(results) == 9 * len(past)
    assert not any(answer["film"] in past[answer["row"] - 1] for answer in results)


def test_an_index_of_other_weights_is_refused(
    fit: Fit, trained: Run, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = fit(tmp_path / "other", ["train.epochs=1"])
    where = str(tmp_path / "index")
    assert main(["index", str(other.folder), "-O", where, "--exact"]) == 0
    words = [
        "search",
        str(trained.folder),
        "--data",
        str(world / "valid.parquet"),
        "--index",
        where,
    ]
    assert main(words) == 5
    assert "GR824" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "export"])
def test_what_predicts_rows_is_told_that_there_are_none(
    command: str, trained: Run, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--data", str(world / "valid.parquet")] if command == "predict" else []
    assert main([command, str(trained.folder), *more, "-O", str(tmp_path / "out")]) == 2
    assert "GR241" in capsys.readouterr().err


def test_the_generated_module_reads_as_the_recipe(world: Path) -> None:
    text = compile_recipe(world / "films.yaml").source.text
    body = text[text.index("    def encode_query") :]
    assert (
        body
        == '''\
    def encode_query(self, batch: Batch) -> Tensor:
        """What looks for items: [B, 16], a row each."""
        embedded = self.embeddings(batch.features, partial=True)
        past_keys = embedded.sequence("past")  # Jagged [T, 16]
        history = self.history(past_keys)  # [B, 16]
        who = embedded.concat(["user"])  # [B, 16]
        query = self.query(fn.concat(who, history))  # [B, 16]
        return fn.normalize(query)

    def encode_item(self, batch: Batch) -> Tensor:
        """What is found: [B, 16], a row each."""
        embedded = self.embeddings(batch.features, partial=True)
        what = embedded.concat(["film"])  # [B, 16]
        item = self.item(what)  # [B, 16]
        return fn.normalize(item)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The queries of a batch, and the items that they are compared with."""
        return {
            "query": self.encode_query(batch),
            "item": self.encode_item(batch.candidates()),
        }
'''
    )
