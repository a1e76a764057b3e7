"""Jobs of several ranks against one process: the same losses, weights, scores and checkpoints.

Adagrad and Adam divide by the root of squares: where a gradient is all but 0, its sign decides, and
the order of a sum decides that. So recipes are compared with an epsilon that numbers of that size
do not reach; with the default, one thread and two differ as much as one rank and two.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from graphrec.train import checkpoint

RECIPE = """\
graphrec: 1
name: every_table
data: {synthetic: 1500, workers: 1, shuffle: 400}
features:
  - {type: id, names: {user: 60, item: 300}, dim: 8}
  - {type: id, names: few, vocab: 2, dim: 8}
  - {type: id, names: six, vocab: 50, dim: 6}
  - {type: id, names: tags, vocab: 40, dim: 8, pool: sum}
  - {type: id, names: marks, vocab: 40, dim: 8, pool: mean, weights: mark_weights}
  - {type: id, names: words, vocab: 40, dim: 8, pool: mean}
  - {type: bucket, names: age, edges: [10, 20, 30], dim: 8}
  - {type: dense, names: price, dim: 8}
  - {type: sequence, name: seen, of: [item], max_len: 6}
groups:
  deep: {of: [user, item, few, six, tags, marks, words, age, price]}
  history: {query: [item], keys: seen}
graph:
  past: {block: din, in: history, hidden: [8], activation: dice}
  top: {block: mlp, in: [deep, past], hidden: [16], norm: batch}
  wide: {block: mlp, in: top, hidden: [8], out: 1}
  tower: {block: mlp, in: top, hidden: [8]}
tasks:
  click: {label: click, logit: deep.linear + wide, metrics: [auc, logloss]}
  buy: {label: buy, in: tower, space: click, metrics: [auc, gauc(user)]}
train:
  steps: 50
  batch: 61
  log_every: 1
  save: {every: 20}
  optim: {dense: {adam: {eps: 1.0e-3}}, sparse: {OPTIMIZER: {eps: 1.0e-3}}}
"""


def records(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in records(run)]


def weights(run: Path, step: int | None = None) -> dict[str, torch.Tensor]:
    found = checkpoint.steps(run / "checkpoints")
    chosen = [c for c in found if step in (None, c.position.step)][-1]
    return {**chosen.model(), **{f"optim {k}": v for k, v in chosen.optim().items()}}


def agree(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    """Losses of every step, and all weights with the optimizers' state."""
    first, second = losses(one), losses(other)
    assert len(first) == len(second)
    assert max(abs(a - b) for a, b in zip(first, second, strict=True)) < tolerance
    mine, theirs = weights(one), weights(other)
    skip = ("random/", "window/")
    keys = {k for k in mine if not any(s in k for s in skip)}
    assert keys == {k for k in theirs if not any(s in k for s in skip)}
    for key in sorted(keys):
        assert mine[key].shape == theirs[key].shape, key
        assert torch.allclose(mine[key], theirs[key], rtol=1e-4, atol=tolerance), key


def scores(run: Path) -> dict[str, Any]:
    last = records(run, "eval")[-1]
    return {k: v for k, v in last.items() if "." in k}


def write(folder: Path, optimizer: str = "adagrad", **changes: str) -> Path:
    path = folder / "every_table.yaml"
    text = RECIPE.replace("OPTIMIZER", optimizer)
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text)
    return path


def succeed(done: Any) -> Any:
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done


WAYS = "{user: row_wise, item: row_wise, six: table_wise, tags: data_parallel, few: data_parallel, words: column_wise}"


def test_two_ranks_are_one_process(tmp_path: Path, job: Any) -> None:
    recipe = write(tmp_path)
    wishes = ("-o", f"train.shard={WAYS}")
    succeed(job("train", recipe, "--run", "one", *wishes))
    done = succeed(job("train", recipe, "--run", "two", "--nproc", 2, *wishes))
    one, two = tmp_path / "one", tmp_path / "two"
    agree(one, two)
    for name, value in scores(one).items():
        assert scores(two)[name] == pytest.approx(value, abs=1e-4), name
    assert records(one)[-1]["click.auc"] == pytest.approx(records(two)[-1]["click.auc"], abs=1e-4)
    assert (one / "model.py").read_bytes() == (two / "model.py").read_bytes()
    # One voice, and a folder that tells what ran.
    assert done.stderr.count("parameters on cpu") == 1 and done.stdout.count("report ") == 1
    assert not any(word in done.stderr for word in ("torchrec", "WARNING", "W1", "fx_tracing"))
    plan = json.loads((two / "plan.json").read_text())
    ways = {part["table"].partition(".")[2]: part["sharding"] for part in plan["parts"]}
    assert ways["user"] == "row_wise" and ways["tags"] == "data_parallel"
    assert ways["words"] == "column_wise" and ways["six"] == "table_wise"
    assert "plan for 2 ranks on cpu" in (two / "plan.txt").read_text()
    counts = [checkpoint.latest(run / "checkpoints").position for run in (one, two)]  # type: ignore[union-attr]
    assert counts[0].trained == counts[1].trained and counts[0].counts == counts[1].counts
    # One process reads what two have written.
    evaluated = succeed(job("evaluate", "two", "--format", "json"))
    read = json.loads(evaluated.stdout)
    for name, value in scores(two).items():
        assert read[name] == pytest.approx(value, abs=1e-6), name
    _carry(tmp_path, job, recipe)


def _carry(folder: Path, job: Any, recipe: Path) -> None:
    """A checkpoint goes from two ranks to one and back; both go on as the unbroken run did."""
    for ranks in ((), ("--nproc", 1)):
        broken = folder / f"broken{len(ranks)}"
        shutil.copytree(folder / "two", broken)
        for step in (40, 50):
            shutil.rmtree(broken / f"checkpoints/step-{step:08d}")
        info = json.loads((broken / "run.json").read_text())
        info["finished"] = False
        (broken / "run.json").write_text(json.dumps(info))
        override = ("-o", f"train.shard={WAYS}")
        done = succeed(job("train", recipe, "--run", broken.name, *ranks, *override))
        assert "going on from step 20" in done.stderr
        agree(folder / "two", broken)


@pytest.mark.parametrize("optimizer", ["rowwise_adagrad", "sgd"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_other_optimizers_and_ranks(
    tmp_path: Path, job: Any, optimizer: str, ranks: int, soak: bool
) -> None:
    if not soak and (optimizer, ranks) != ("rowwise_adagrad", 2):
        pytest.skip("the long form: --soak")
    recipe = write(tmp_path, optimizer)
    text = recipe.read_text().replace("{sgd: {eps: 1.0e-3}}", "sgd")
    recipe.write_text(text)
    succeed(job("train", recipe, "--run", "one"))
    succeed(job("train", recipe, "--run", "many", "--nproc", ranks))
    agree(tmp_path / "one", tmp_path / "many")


SHIPPED = (
    "shop",
    "kuairand_mmoe_din",
    "dbmtl_taobao",
    "deepfm_criteo",
    "multi_tower_din",
    "ple",
    "two_histories",
)


@pytest.mark.parametrize("recipe", SHIPPED)
@pytest.mark.parametrize("ranks", [2, 4])
def test_shipped_recipes(tmp_path: Path, job: Any, recipe: str, ranks: int, soak: bool) -> None:
    if not soak:
        pytest.skip("the long form: --soak")
    overrides = (
        "data.synthetic=12000",
        "train.batch=200",
        "train.epochs=1",
        "train.log_every=1",
        "train.optim={dense: {adam: {eps: 1.0e-3}}, sparse: {adagrad: {eps: 1.0e-2}}}",
    )
    options = [word for override in overrides for word in ("-o", override)]
    succeed(job("train", recipe, "--run", "one", *options))
    succeed(job("train", recipe, "--run", "many", "--nproc", ranks, *options))
    assert len(losses(tmp_path / "one")) >= 50
    agree(tmp_path / "one", tmp_path / "many")
