"""Every setting of `retrieval` changes what is compiled, drawn, minimised or measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.data import Encoder, Items, Negatives, open_data
from graphrec.ground.errors import DataError, Problem
from graphrec.train.losses import TaskLosses
from graphrec.train.retrieval_scores import RetrievalScores

HARD = ["retrieval.candidates.hard=edges.parquet", "retrieval.candidates.hard_by=user"]
LABEL = "retrieval.label"
CHANGES: dict[str, tuple[list[str], list[str]]] = {
    "query": ([], ["retrieval.query=who"]),
    "item": ([], ["retrieval.item=what"]),
    "similarity": ([], ["retrieval.similarity=dot"]),
    "seen": ([], ["retrieval.seen=past"]),
    "metrics": ([], ["retrieval.metrics=[mrr]"]),
    "label.column": (["retrieval.label=liked"], ["retrieval.label={column: user, above: 40}"]),
    "label.above": (
        ["retrieval.label={column: user, above: 40}"],
        ["retrieval.label={column: user, above: 2}"],
    ),
    "label.below": (
        ["retrieval.label={column: user, below: 40}"],
        ["retrieval.label={column: user, below: 2}"],
    ),
    "label.soft": (["retrieval.label=liked"], ["retrieval.label={column: user, soft: true}"]),
    "label.classes": (
        ["retrieval.label=liked"],
        ["retrieval.label={column: liked, classes: ['1', '0']}"],
    ),
    "label.transform": (
        ["retrieval.label=liked"],
        ["retrieval.label={column: liked, transform: log1p}"],
    ),
    "candidates.from": ([], ["retrieval.candidates.from=valid.parquet"]),
    "candidates.key": ([], ["retrieval.candidates.key=weight"]),
    "candidates.sample": ([], ["retrieval.candidates.sample=9"]),
    "candidates.by": ([], ["retrieval.candidates.by=weight"]),
    "candidates.in_batch": ([], ["retrieval.candidates.in_batch=false"]),
    "candidates.hard": ([], HARD),
    "candidates.hard_by": (HARD, [HARD[0], "retrieval.candidates.hard_by=nobody"]),
    "candidates.hard_sample": (HARD, [*HARD, "retrieval.candidates.hard_sample=1"]),
    "loss.temperature": ([], ["retrieval.loss.sampled_softmax.temperature=2"]),
    "loss.logq": ([], ["retrieval.loss.sampled_softmax.logq=false"]),
    "loss.power": (
        SEVERAL := [
            "graph.query={block: mlp, in: [who, history], out: 32}",
            "graph.several=reshape(query, [2, 16])",
            "retrieval.query=several",
        ],
        [*SEVERAL, "retrieval.loss.sampled_softmax.power=9"],
    ),
}


def seen(world: Path, overrides: list[str]) -> Any:
    """What a recipe compiles to, the first loss, and the first measurement; or the findings."""
    checked = check_recipe(world / "films.yaml", overrides=overrides)
    if checked.errors:
        return [(p.code, p.path) for p in checked.errors]
    compiled = compile_recipe(world / "films.yaml", overrides=overrides)
    recipe = compiled.recipe
    try:
        data = open_data(recipe)
        assert data.items is not None and data.eval is not None and recipe.retrieval is not None
        encoder = Encoder.fit(recipe, data.train, data.items)
        items = Items(encoder, data.items)
        negatives = Negatives(encoder, items, data.train, 0)
        module = compiled.module(encoder.rows)
        raw = next(data.train.read(data.train.units()[0], rows=64))
        chunk, _ = encoder.encode_raw(raw)
        batch = chunk.batch()
        batch.compared = negatives.compared(chunk, 0, 0)
        loss = TaskLosses(recipe)(module(batch), batch).total
        scores = RetrievalScores(recipe.retrieval, items, module, torch.device("cpu"))
        held, _ = encoder.encode_raw(next(data.eval.read(data.eval.units()[0])))
        scores.add(module.encode_query(held.batch()), held.batch())
    except DataError as error:
        return [(p.code, p.path) for p in error.problems]
    text = "\n".join(line for line in compiled.source.text.splitlines() if "sha256" not in line)
    return text, float(loss.detach()), scores.values()


@pytest.mark.parametrize("leaf", CHANGES)
def test_no_setting_is_ignored(leaf: str, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    before, after = (seen(world, overrides) for overrides in CHANGES[leaf])
    assert not isinstance(before, list), before
    assert before != after


def findings(world: Path, *overrides: str) -> tuple[Problem, ...]:
    return check_recipe(world / "films.yaml", overrides=overrides).errors


WRONG = {
    "graph.query={block: mlp, in: [who, history, what], out: 16}": (
        "GR241",
        "`query` reads feature `film`, whose side is item",
    ),
    "graph.item={block: mlp, in: [what, who], out: 16}": (
        "GR241",
        "`item` reads feature `user`, whose side is user",
    ),
    "features.user.side=null": ("GR241", "whose side is not said"),
    "graph.item={block: mlp, in: what, out: 8}": (
        "GR506",
        "`query` is [B, 16] and `item` is [B, 8]",
    ),
    "retrieval.query=past": ("GR506", "expected [B, D], or [B, K, D] for several interests"),
    "retrieval.query=nobody": ("GR301", "no node or group `nobody`"),
    "retrieval.metrics=[recall]": ("GR234", "one whole number of 1 or more"),
    "retrieval.metrics=[auc]": ("GR234", "no metric of retrieval `auc`"),
    "retrieval.seen=nothing": ("GR301", "no history `nothing`"),
    "retrieval.candidates.hard=edges.parquet": ("GR205", "`hard` and `hard_by` go together"),
    "retrieval.candidates.sample=-1": ("GR202", "sample"),
    "retrieval.loss=bce": ("GR20", "sampled_softmax"),
    "tasks={click: {label: liked, in: query}}": ("GR241", "`retrieval` and `tasks`"),
    "train.save.best=retrieval.recall(6)": ("GR238", "no task evaluates"),
}


@pytest.mark.parametrize("override", WRONG)
def test_what_cannot_work_is_told(
    override: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    code, words = WRONG[override]
    found = findings(world, override)
    assert any(p.code.startswith(code) and words in f"{p.message} {p.help}" for p in found), found
    assert all(p.span is not None for p in found)


def test_the_best_checkpoint_may_go_by_a_metric_of_retrieval(world: Path) -> None:
    assert not findings(world, "train.save.best=retrieval.recall(5)")
    assert not findings(world, "train.save.best=mrr")
    assert not findings(world, "train.save.best=loss")
