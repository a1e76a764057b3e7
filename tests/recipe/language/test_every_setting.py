"""No key is silently ignored: every leaf of the schema, set to something else, changes what is seen.

`CODE` leaves change the generated file. `RUN` leaves change a short training run: weights, metrics,
checkpoints, what is printed. An error counts as well: then the key was read.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from graphrec.cli import main
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.recipe import model
from graphrec.recipe.features import FEATURES
from graphrec.recipe.model import NodeSpec, Recipe

RECIPE = """\
graphrec: 1
name: all_of_it
description: It says everything.
data: {train: rows.csv, eval: more.csv, workers: 0}
features:
  - {type: id, names: user, vocab: 20, dim: 4, group: who}
  - {type: id, names: item, vocab: 30, dim: 4}
  - {type: id, names: tags, vocab: 9, dim: 4, pool: sum, sep: "|", weights: tag_weights}
  - {type: dense, names: price, dim: 4}
  - {type: dense, names: soft, dim: 4, autodis: {channels: 3}}
  - {type: dense, names: vector, width: 2, sep: "|", transform: none}
  - {type: bucket, names: age, edges: [10, 20, 30], dim: 4}
  - {type: cross, name: both, of: [user, item], vocab: hash(50), dim: 4}
  - {type: sequence, name: past, of: [item], max_len: 3, sep: "|", column: history}
groups:
  some: {of: [user, age, item], except: [age], regularize: {variational_dropout: {lambda: 0.01}}}
  pair: {query: [item], keys: past}
blocks:
  part:
    params: {size: {type: int, default: 4}}
    inputs: [x]
    graph: {inner: {block: mlp, in: x, hidden: [$size, 4]}, other: {block: linear, in: inner, out: 4}}
    output: other
graph:
  deep: {block: mlp, in: [all, who], hidden: [8]}
  chosen: {block: mlp, in: some, hidden: [4]}
  seen: {block: din, in: pair, hidden: [4]}
  made: {block: part, in: deep}
  tower: {block: mlp, in: [deep, chosen, seen, made], each: tasks, hidden: [6]}
tasks:
  click: {label: click, in: tower}
  buy: {label: buy, in: tower, space: click}
  stay: {label: {column: stay, transform: none}, in: tower, kind: regression}
losses:
  small: {value: mean(deep) ** 2}
relations:
  - click -> buy: {hidden: [5]}
train: {steps: 6, batch: 16, log_every: 2}
"""
ROWS = 64

# leaf -> overrides; a pair is (what both say, what the second says besides)
CODE: dict[str, Any] = {
    "description": "description=other",
    "name": "name=other",
    "groups.of": "groups.some.of=[user]",
    "groups.except": "groups.some.except=[user]",
    "groups.regularize.variational_dropout.lambda": "groups.some.regularize.variational_dropout.lambda=0.5",
    "groups.regularize.variational_dropout.in_eval": "groups.some.regularize.variational_dropout.in_eval=true",
    "groups.query": "groups.pair.query=[user]",
    "groups.keys": "groups.pair.keys=nothing",
    "blocks.params.type": "blocks.part.params.size.type=str",
    "blocks.params.default": "blocks.part.params.size.default=7",
    "blocks.inputs": "blocks.part.inputs=[y]",
    "blocks.graph": "blocks.part.graph.other.out=9",
    "blocks.output": "blocks.part.output=inner",
    "graph.block": "graph.deep.block=linear",
    "graph.in": "graph.deep.in=all",
    "graph.each": "graph.tower.each=[click, buy]",
    "graph.parallel": "graph.made.parallel=2",
    "graph.join": ("graph.made.parallel=2;graph.made.join=sum", "graph.made.join=concat"),
    "graph.repeat": "graph.made.repeat=2",
    "graph.carry": ("graph.made.repeat=2", "graph.made.carry=y"),
    "graph.tied": ("graph.chosen.repeat=2", "graph.chosen.tied=true"),
    "graph.share": "graph.made.share=deep",
    "graph.residual": ("graph.chosen.hidden=[8]", "graph.chosen.residual=true"),
    "graph.enabled": "graph.made.enabled=false",
    "graph.kernel": "graph.deep.kernel=triton",
    "graph.params": "graph.deep.hidden=[9]",
    "tasks.in": "tasks.click.in=deep",
    "tasks.logit": "tasks.click.logit=sum(deep)",
    "tasks.prob": "tasks.click.prob=buy.prob",
    "tasks.kind": "tasks.click.kind=regression",
    "tasks.classes": "tasks.click.classes=2",
    "losses.value": "losses.small.value=sum(deep)",
    "losses.block": "losses.small={block: hint, in: {student: deep, teacher: made}}",
    "losses.in": (
        "losses.more={block: similarity, in: {student: chosen, teacher: made}}",
        "losses.more.in={student: made, teacher: chosen}",
    ),
    "losses.params": (
        "losses.more={block: similarity, in: {student: chosen, teacher: made}}",
        "losses.more.kind=euclid",
    ),
    "graph.when": "graph.deep.when=train",
    "relations.via": "relations=[click -> buy: {via: product}]",
    "relations.hidden": "relations=[click -> buy: {hidden: [9]}]",
    "relations.activation": "relations=[click -> buy: {hidden: [5], activation: tanh}]",
    "relations.norm": "relations=[click -> buy: {hidden: [5], norm: layer}]",
    "relations.dropout": "relations=[click -> buy: {hidden: [5], dropout: 0.3}]",
    "relations.bias": "relations=[click -> buy: {hidden: [5], bias: false}]",
    "relations.detach": "relations=[click -> buy: {hidden: [5], detach: true}]",
    "relations.parents": "relations=[stay -> buy: {hidden: [5]}]",
    "relations.child": "relations=[click -> stay: {hidden: [5]}]",
    "kernels.default": "kernels.default=triton",
    "kernels.by_block": "kernels.by_block.mlp=triton",
    "kernels.by_node": "kernels.by_node.deep=triton",
    "kernels.policy": ("kernels.default=triton", "kernels.policy=strict"),
    "export.nodes": "export.nodes=[deep]",
    "train.seed": "train.seed=5",
    "features.id.name": "features.other={type: id, vocab: 5, dim: 4}",
    "features.id.group": "features.item.group=who",
    "features.id.dim": "features.user.dim=5",
    "features.id.pool": "features.tags.pool=mean",
    "features.id.share": "features.user.share=table",
    "features.id.init": "features.user.init=zeros",
    "features.id.trainable": "features.user.trainable=false",
    "features.id.dtype": "features.user.dtype=bf16",
    "features.id.vocab": "features.user.vocab=21",
    "features.bucket.group": "features.age.group=who",
    "features.bucket.dim": "features.age.dim=5",
    "features.bucket.pool": "features.age.pool=sum",
    "features.bucket.share": "features.age.share=table",
    "features.bucket.init": "features.age.init=zeros",
    "features.bucket.trainable": "features.age.trainable=false",
    "features.bucket.dtype": "features.age.dtype=bf16",
    "features.cross.name": "features.other={type: cross, of: [user, item], vocab: hash(5), dim: 4}",
    "features.cross.group": "features.both.group=who",
    "features.cross.dim": "features.both.dim=5",
    "features.cross.share": "features.both.share=table",
    "features.cross.init": "features.both.init=zeros",
    "features.cross.trainable": "features.both.trainable=false",
    "features.cross.dtype": "features.both.dtype=bf16",
    "features.cross.vocab": "features.both.vocab=hash(51)",
    "features.dense.group": "features.price.group=who",
    "features.dense.width": "features.vector.width=3",
    "features.dense.dim": "features.price.dim=5",
    "features.dense.autodis.channels": "features.soft.autodis.channels=5",
    "features.dense.autodis.temperature": "features.soft.autodis.temperature=0.5",
    "features.dense.autodis.skip": "features.soft.autodis.skip=0.5",
    "features.sequence.group": "features.past.group=who",
    "features.sequence.of": "features.past.of=[user]",
    "features.sequence.share": "features.past.share=false",
    "features.id.type": "features.user.type=dense",
    "features.bucket.type": "features.age.type=dense",
    "features.bucket.name": "features.other={type: bucket, edges: [1], dim: 4}",
    "features.cross.type": "features.both.type=id",
    "features.dense.type": "features.price.type=id",
    "features.dense.name": "features.other={type: dense}",
    "features.sequence.type": "features.past.type=id",
    "features.sequence.name": "features.other={type: sequence, of: [item], max_len: 3}",
    "graphrec": "graphrec=2",
}
FIT = "features.user.vocab=fit"
RUN: dict[str, Any] = {
    "data.train": "data.train=more.csv",
    "data.eval": "data.eval=rows.csv",
    "data.format": "data.format=parquet",
    "data.sep": "data.sep=';'",
    "data.split.by": ("data.eval=null", "data.split={by: user, eval: last(1)}"),
    "data.split.random": (
        "data.eval=null;data.split={by: user, random: 0.3}",
        "data.split.random=0.6",
    ),
    "data.split.eval": (
        "data.eval=null;data.split={by: user, eval: last(1)}",
        "data.split.eval=last(2)",
    ),
    "data.workers": "data.workers=-1",
    "data.shuffle": "data.shuffle=0",
    "data.bad_rows": ("data.train=bad.csv", "data.bad_rows=quarantine"),
    "data.quote": ("data.train=quoted.csv", "data.quote=none"),
    "data.columns": "data.columns=[user, item]",
    "data.nulls": "data.nulls=['1']",
    "data.overlap": ("data.train=[rows.csv, more.csv];data.eval=more.csv", "data.overlap=allow"),
    "data.limits.unseen": ("features.user.vocab=2", "data.limits.unseen=0.01"),
    "data.limits.quarantined": (
        "data.train=bad.csv;data.bad_rows=quarantine",
        "data.limits.quarantined=0.0001",
    ),
    "data.synthetic": "data.synthetic=100",
    "train.epochs": ("train.steps=null", "train.epochs=2"),
    "train.steps": "train.steps=5",
    "train.batch": "train.batch=8",
    "train.accumulate": "train.accumulate=2",
    "train.lr.dense": "train.lr.dense=0.5",
    "train.lr.sparse": "train.lr.sparse=0.5",
    "train.optim.dense.name": "train.optim.dense=sgd",
    "train.optim.dense.betas": "train.optim.dense={adam: {betas: [0.1, 0.2]}}",
    "train.optim.dense.eps": "train.optim.dense={adam: {eps: 1.0}}",
    "train.optim.dense.momentum": "train.optim.dense={sgd: {momentum: 0.5}}",
    "train.optim.dense.weight_decay": "train.optim.dense={adam: {weight_decay: 0.5}}",
    "train.optim.sparse.name": "train.optim.sparse=adam",
    "train.optim.sparse.betas": (
        "train.optim.sparse=adam",
        "train.optim.sparse={adam: {betas: [0.1, 0.2]}}",
    ),
    "train.optim.sparse.eps": "train.optim.sparse={adagrad: {eps: 1.0}}",
    "train.optim.sparse.momentum": "train.optim.sparse={sgd: {momentum: 0.5}}",
    "train.optim.sparse.weight_decay": "train.optim.sparse={adagrad: {weight_decay: 0.5}}",
    "train.schedule.kind": "train.schedule=cosine",
    "train.schedule.warmup": "train.schedule.warmup=4",
    "train.schedule.warmup_from": ("train.schedule.warmup=4", "train.schedule.warmup_from=0.9"),
    "train.schedule.gamma": (
        "train.schedule={exponential: {every: 2}}",
        "train.schedule.gamma=0.1",
    ),
    "train.schedule.every": ("train.schedule={exponential: {every: 2}}", "train.schedule.every=3"),
    "train.schedule.staircase": (
        "train.schedule={exponential: {every: 2}}",
        "train.schedule.staircase=true",
    ),
    "train.schedule.at": ("train.schedule={steps: {at: [2]}}", "train.schedule.at=[3]"),
    "train.schedule.minimum": ("train.schedule=cosine", "train.schedule.minimum=0.9"),
    "train.table_schedule.kind": "train.table_schedule=cosine",
    "train.table_schedule.warmup": "train.table_schedule.warmup=4",
    "train.table_schedule.warmup_from": (
        "train.table_schedule.warmup=4",
        "train.table_schedule.warmup_from=0.9",
    ),
    "train.table_schedule.gamma": (
        "train.table_schedule={exponential: {every: 2}}",
        "train.table_schedule.gamma=0.1",
    ),
    "train.table_schedule.every": (
        "train.table_schedule={exponential: {every: 2}}",
        "train.table_schedule.every=3",
    ),
    "train.table_schedule.staircase": (
        "train.table_schedule={exponential: {every: 2}}",
        "train.table_schedule.staircase=true",
    ),
    "train.table_schedule.at": (
        "train.table_schedule={steps: {at: [2]}}",
        "train.table_schedule.at=[3]",
    ),
    "train.table_schedule.minimum": (
        "train.table_schedule=cosine",
        "train.table_schedule.minimum=0.9",
    ),
    "train.precision": "train.precision=bf16",
    "train.clip": "train.clip=0.0001",
    "train.balance.kind": "train.balance=uncertainty",
    "train.balance.min": ("train.balance=pareto", "train.balance.min.click=0.9"),
    "train.balance.over": ("train.balance=pareto", "train.balance.over=all"),
    "train.early_stop.metric": (
        "train.eval_every=1",
        "train.early_stop={metric: click.auc, patience: 1}",
    ),
    "train.early_stop.patience": (
        "train.eval_every=1;train.early_stop={metric: click.auc, patience: 1};train.lr={dense: 1e-12, sparse: 1e-12}",
        "train.early_stop.patience=3",
    ),
    "train.save.best": (
        "train.eval_every=1;train.save={every: 1, keep: 1};train.lr={dense: 1e-12, sparse: 1e-12}",
        "train.save.best=click.auc",
    ),
    "train.save.keep": ("train.save.every=1", "train.save.keep=1"),
    "train.save.every": "train.save.every=1",
    "train.eval_every": "train.eval_every=2",
    "train.log_every": "train.log_every=1",
    "train.dir": "train.dir=runs/elsewhere",
    "train.groups.lr": "train.groups={deep: {lr: 0.5}}",
    "train.groups.weight_decay": "train.groups={deep: {weight_decay: 0.5}}",
    "tasks.label.column": "tasks.click.label.column=buy",
    "tasks.label.above": "tasks.click.label={column: stay, above: 3.5}",
    "tasks.label.below": "tasks.click.label={column: stay, below: 3.5}",
    "tasks.label.soft": "tasks.click.label={column: stay, soft: true}",
    "tasks.label.classes": "tasks.click.label={column: click, classes: [a, b]}",
    "tasks.label.transform": "tasks.stay.label.transform=log1p",
    "tasks.loss": "tasks.click.loss=focal",
    "tasks.weight": "tasks.click.weight=3",
    "losses.weight": "losses.small.weight=5",
    "losses.from_step": "losses.small.from_step=3",
    "tasks.sample_weight": "tasks.click.sample_weight=row_weight",
    "tasks.space.label": "tasks.buy.space.label=stay",
    "tasks.space.inside": ("tasks.buy.space.outside=1", "tasks.buy.space.inside=3"),
    "tasks.space.outside": "tasks.buy.space.outside=1",
    "tasks.metrics": "tasks.click.metrics=[auc, gauc(user)]",
    "tasks.train_metrics": "tasks.click.train_metrics=[auc(step=1)]",
    "features.id.column": "features.user.column=item",
    "features.id.side": ("data.synthetic=200", "features.user.side=user"),
    "features.id.sep": "features.tags.sep=';'",
    "features.id.weights": "features.tags.weights=null",
    "features.id.pad": "features.tags.pad=3",
    "features.id.default": "features.user.default=3",
    "features.id.oov": "features.user.oov=error",
    "features.bucket.column": "features.age.column=stay",
    "features.bucket.sep": "features.age.sep='|'",
    "features.bucket.edges": "features.age.edges=[5, 6, 7]",
    "features.bucket.default": "features.age.default=15",
    "features.cross.column": "features.both.column=other",
    "features.cross.pool": "features.both.pool=sum",
    "features.cross.sep": "features.both.sep='|'",
    "features.cross.of": "features.both.of=[item, user]",
    "features.dense.column": "features.price.column=stay2",
    "features.dense.transform": "features.price.transform=log1p",
    "features.dense.stats": ("features.price.transform=zscore", "features.price.stats=[0, 9]"),
    "features.dense.default": "features.price.default=7",
    "features.dense.sep": "features.vector.sep=';'",
    "features.sequence.column": "features.past.column=hist",
    "features.sequence.max_len": "features.past.max_len=1",
    "features.sequence.pad": "features.past.pad=3",
    "features.sequence.keep": "features.past.keep=first",
    "features.sequence.columns": "features.past.columns={item: other}",
    "features.sequence.sep": "features.past.sep=';'",
}
SHOWN = {
    "meta": "free-form by definition",
    "search": "what `graphrec tune` tries: tests/train/test_tuning.py",
    "graph.note": "a remark for the reader of the recipe",
    "graph.was": "former keys: tests/language/test_former_names.py",
    "blocks.doc": "shown by `graphrec blocks`",
    "blocks.block": "the composite's own name",
    "blocks.params.doc": "shown by `graphrec blocks`",
    **{
        f"features.{kind}.side": "whose property it is; only ids of synthetic rows differ by it"
        for kind in ("bucket", "cross", "dense", "sequence")
    },
    **{
        f"retrieval.{leaf}": "instead of tasks: tests/train/retrieval/test_settings.py"
        for leaf in (
            *("query", "item", "similarity", "seen", "metrics", "label.column", "label.above"),
            *("label.below", "label.soft", "label.classes", "label.transform"),
            *("candidates.from", "candidates.key", "candidates.sample", "candidates.by"),
            *("candidates.in_batch", "candidates.hard", "candidates.hard_by"),
            *("candidates.hard_sample", "loss.temperature", "loss.logq", "loss.power"),
        )
    },
    "train.save.minutes": "by the clock, while training goes on: tests/reliability/test_saving.py",
    **{
        f"losses.teacher.{word}": "needs a trained run: tests/train/test_teachers.py"
        for word in ("run", "task", "from_task", "kind", "temperature")
    },
    "tasks.when": "inference has no such task: tests/compiler/frontend/test_loss_terms.py",
    "train.compile": "torch.compile: the same numbers; tests/train",
    "train.memory": "what is kept, not what comes of it: tests/train/test_recompute.py",
    "train.shard": "where tables lie on many ranks: tests/distributed",
    "train.device": "where, not what: tests/train/test_device.py",
}
"""Leaves that a run does not show, and why."""


def leaves() -> Iterator[str]:
    """Every leaf of the schema; features by type, maps of named parts without the names."""
    for name, field in Recipe.model_fields.items():
        if name == "origin":
            continue
        if name == "features":
            for kind, feature in FEATURES.items():
                yield from _of(feature, f"features.{kind}")
        else:
            yield from _field(field, name)


def _of(part: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in part.model_fields.items():
        yield from _field(field, f"{path}.{field.alias or name}")


def _field(field: Any, path: str) -> Iterator[str]:
    parts = list(_models(field.annotation))
    if not parts:
        yield path
    for part in parts:
        yield from _of(part, path)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def test_every_leaf_is_looked_at() -> None:
    asked = {*CODE, *RUN, *SHOWN}
    there = set(leaves())
    assert there - asked == set(), "new settings need a line here"
    assert asked - there == set(), "settings that are gone"
    assert model.NODE_WORDS and NodeSpec.model_fields


@pytest.fixture
def folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe and four files of rows: some to train on, some to evaluate, two with a bad cell."""
    tmp_path = tmp_path_factory.mktemp("settings")
    rng = random.Random(1)
    columns = ("user", "item", "tags", "tag_weights", "price", "soft", "vector", "age", "history")
    columns += ("hist", "click", "buy", "stay", "stay2", "row_weight")
    for name, rows in (("rows", ROWS), ("more", 40), ("bad", 40), ("quoted", 40)):
        lines = [",".join(columns)]
        for number in range(rows):
            tags = [str(rng.randrange(9)) for _ in range(2)]
            past = [str(rng.randrange(30)) for _ in range(rng.choice((2, 5)))]
            click, empty = rng.randrange(2), number == 3
            values: list[object] = [
                "" if empty else rng.randrange(25),
                rng.randrange(30),
                "|".join(tags),
            ]
            values += ["0.5|2", "" if empty else round(rng.random() * 9, 2), round(rng.random(), 2)]
            values += ["1.5|2.5", "" if empty else rng.randrange(40), "|".join(past), past[0]]
            values += [click, click and rng.randrange(2), rng.randrange(7), rng.randrange(7)]
            values += [1 + rng.randrange(3)]
            if name == "bad" and number == 5:
                values[4] = "dear"
            if name == "quoted" and number == 5:
                values[4] = '"1'
            lines.append(",".join(map(str, values)))
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def pair(said: Any) -> tuple[list[str], list[str]]:
    both, more = said if isinstance(said, tuple) else ("", said)
    before = both.split(";") if both else []
    return before, [*before, more]


def code(overrides: list[str]) -> str:
    checked = check_recipe("recipe.yaml", overrides=overrides)
    if checked.errors:
        return "; ".join(f"{p.code} {p.path}" for p in checked.errors)
    text = compile_recipe("recipe.yaml", overrides=overrides).source.text
    return "\n".join(line for line in text.splitlines() if "sha256" not in line)


@pytest.mark.parametrize("leaf", CODE)
def test_settings_of_the_model(leaf: str, folder: Path) -> None:
    before, after = map(code, pair(CODE[leaf]))
    assert before != after, leaf
    assert not before.startswith("GR"), before


_DONE: dict[tuple[str, ...], Mapping[str, Any]] = {}
"""Runs by their overrides: most comparisons share the first of their two."""


def run(
    overrides: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> Mapping[str, Any]:
    """What a run leaves behind, without times and without the recipe itself."""
    if tuple(overrides) in _DONE:
        return _DONE[tuple(overrides)]
    known = {*folder.glob("runs/*")}
    capsys.readouterr()
    words = [word for text in overrides for word in ("-o", text)]
    status = main(["train", "recipe.yaml", *words, "--quiet"])
    out = capsys.readouterr()
    if status:
        return _DONE.setdefault(tuple(overrides), {"status": status, "said": out.err + out.out})
    (made,) = [p for p in folder.glob("runs/*") if p not in known]
    found: dict[str, Any] = {"status": 0, "folder": made.name.partition("-")[0]}
    dull = ("seconds", "rows_per_s", "loader_share")
    lines = (made / "metrics.jsonl").read_text().splitlines()
    found["metrics"] = [
        {k: v for k, v in json.loads(line).items() if not any(word in k for word in dull)}
        for line in lines
    ]
    found["checkpoints"] = sorted(p.name for p in (made / "checkpoints").iterdir())
    last = max((made / "checkpoints").glob("step-*/model.safetensors"))
    found["weights"] = hashlib.sha256(last.read_bytes()).hexdigest()
    return _DONE.setdefault(tuple(overrides), found)


def test_the_same_run_is_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = run([], folder, capsys), run(["description=another"], folder, capsys)
    assert first["status"] == 0
    assert first == second


@pytest.mark.parametrize("leaf", RUN)
def test_settings_of_the_run(leaf: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = pair(RUN[leaf])
    first = run(before, folder, capsys)
    second = run(after, folder, capsys)
    assert first != second, leaf
    # what both say is fine by itself, except where the point is that it is not
    assert first["status"] == 0 or leaf in ("data.bad_rows", "data.quote", "data.overlap"), first
