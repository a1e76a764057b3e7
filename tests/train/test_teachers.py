"""Knowledge distillation from a run: `losses: {taught: {teacher: runs/big}}`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import graphrec
from graphrec.cli import main
from graphrec.compiler.pipeline import check_recipe

Write = Callable[[str], Path]

BIG = """\
graphrec: 1
name: big
data: {synthetic: 1_200}
features:
  - {type: id, names: {user: 12, item: 20}, dim: 8}
  - {type: dense, names: price, transform: zscore}
graph: {deep: {block: mlp, in: all, hidden: [32, 16], dropout: 0.2}}
tasks: {click: {label: click, in: deep}}
train: {batch: 100, epochs: 2, lr: 5e-3, seed: 3}
"""
SMALL = (
    BIG.replace("name: big", "name: small")
    .replace("dim: 8", "dim: 4")
    .replace("[32, 16], dropout: 0.2", "[4]")
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "big.yaml").write_text(BIG)
    run = graphrec.train(str(folder / "big.yaml"), run_dir=str(folder / "run"), quiet=True)
    return run.folder


def first_line(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("how", ["", ", kind: soft, temperature: 2.0"])
def test_the_term_is_what_the_teacher_says(
    how: str, teacher: Path, write_recipe: Write, tmp_path: Path
) -> None:
    """At the first step, computed again from both models and the first batch."""
    path = write_recipe(
        SMALL + f"losses: {{taught: {{teacher: {{run: '{teacher}'{how}}}, weight: 0.5}}}}\n"
    )
    model = graphrec.load(str(path), ["train.steps=1", "train.epochs=null", "train.log_every=1"])
    run = model.train(run_dir=str(tmp_path / "run"), quiet=True)
    encoder = graphrec.fit(model)
    batch = next(iter(graphrec.batches(encoder, shuffle=True, seed=3)))
    student = model.module(encoder.rows)(batch)["logits"].detach().double()
    taught = graphrec.load_run(teacher).module(batch)["logits"].double()
    if how:
        target = torch.sigmoid(taught / 2)
        right = 4 * torch.nn.functional.binary_cross_entropy_with_logits(student / 2, target)
    else:
        right = (student - taught).square().mean()
    line = first_line(run.folder)
    assert line["taught.loss"] == pytest.approx(0.5 * float(right), rel=1e-4)
    assert line["loss"] == pytest.approx(line["click.loss"] + line["taught.loss"], rel=1e-6)
    assert "taught.loss" not in run.evaluate()  # in training alone


def test_a_taught_model_is_nearer_to_its_teacher(
    teacher: Path, write_recipe: Write, tmp_path: Path
) -> None:
    apart = {}
    more = ["train.epochs=8", "train.lr=2e-2"]
    for weight in (0, 20):
        text = SMALL + f"losses: {{taught: {{teacher: '{teacher}', weight: {weight}}}}}\n"
        run = graphrec.train(
            str(write_recipe(text)), more, run_dir=str(tmp_path / str(weight)), quiet=True
        )
        rows = {"user": list(range(12)), "item": list(range(12)), "price": [10.0] * 12}
        ours, its = (r.predict(rows)["logits"] for r in (run, graphrec.load_run(teacher)))
        apart[weight] = float(abs(ours - its).mean())
    assert apart[20] < 0.7 * apart[0], apart


def test_a_teacher_that_reads_rows_otherwise_is_refused(
    teacher: Path, write_recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught = SMALL + f"losses: {{taught: {{teacher: '{teacher}'}}}}\n"
    for old, new, said in (
        ("user: 12", "user: 13", "the vocabulary of feature `user`"),
        ("transform: zscore", "transform: log1p", "the settings of feature `price`"),
        (
            "  - {type: dense, names: price, transform: zscore}\n",
            "",
            "feature `price` is not there",
        ),
        (
            "label: click, in: deep",
            "label: click, in: deep, kind: regression",
            "predicted otherwise",
        ),
    ):
        path = write_recipe(taught.replace(old, new))
        assert main(["train", str(path), "-o", f"train.dir={tmp_path / 'run'}"]) == 5
        error = capsys.readouterr().err
        assert "GR811" in error and said in error, error


@pytest.mark.parametrize(
    ("term", "code", "said"),
    [
        ("{teacher: runs/big, task: klick}", "GR301", "no task `klick`"),
        ("{teacher: runs/big, value: sum(all)}", "GR205", "a term has one of them"),
        ("{teacher: {rnu: runs/big}}", "GR201", "unknown key `rnu`"),
        ("{teacher: {run: runs/big, temperature: 0}}", "GR202", "above 0"),
    ],
)
def test_what_is_wrong_is_told_by_check(
    term: str, code: str, said: str, write_recipe: Write
) -> None:
    text = SMALL + f"losses: {{taught: {term}}}\n"
    text = text.replace("task: klick", "").replace("runs/big, }", "{run: runs/big, task: klick}}")
    problems = check_recipe(write_recipe(text)).problems
    assert code in {p.code for p in problems}, problems
    assert any(said in p.message for p in problems), problems
