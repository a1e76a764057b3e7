"""R1 and R4: any text gives a recipe or findings; nothing is run, opened or sent on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_texts import HOSTILE
from mistakes import recipes

from graphrec.compiler.pipeline import check_recipe, compile_recipe

CHILD = Path(__file__).parent / "hostile_child.py"


def test_mutated_recipes(tmp_path: Path, soak: bool) -> None:
    """2,000 of them here, 100,000 in the soak, over two processes."""
    count = 50_000 if soak else 1000
    runs = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        command = [sys.executable, str(CHILD), str(folder), str(count), str(seed)]
        runs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path))
    for run in runs:
        text, _ = run.communicate(timeout=None if soak else 300)
        assert run.returncode == 0
        found = json.loads(text)
        assert not found["wrong"], found["wrong"][:2]
        assert found["slowest"] < 10, found["worst"]
        assert found["memory"] < 512
        assert found["fine"] > count // 20
        assert not found["torch"]
    assert not list(tmp_path.rglob("PWNED"))


SLOTS = """\
graphrec: 1
name: NAME
description: DESCRIPTION
features:
  - {type: id, names: user_id, vocab: VOCAB, dim: 4, column: COLUMN}
  - {type: dense, names: price, transform: TRANSFORM}
graph:
  deep: {block: BLOCK, in: IN, hidden: [4], activation: ACTIVATION, kernel: KERNEL, note: NOTE}
  mixed: EXPRESSION
tasks:
  click: {label: LABEL, in: deep, metrics: [METRIC]}
  other: {label: two, logit: sum(mixed), loss: LOSS}
train: {optim: {dense: OPTIMIZER}, dir: DIR}
kernels: {default: DEFAULT}
meta: META
"""
FINE = {
    "NAME": "m",
    "DESCRIPTION": "d",
    "VOCAB": 10,
    "COLUMN": "c",
    "TRANSFORM": "none",
    "BLOCK": "mlp",
    "IN": "all",
    "ACTIVATION": "relu",
    "KERNEL": "torch",
    "NOTE": "n",
    "EXPRESSION": "2 * deep",
    "LABEL": "l",
    "METRIC": "auc",
    "LOSS": "bce",
    "OPTIMIZER": "adam",
    "DIR": "runs/x",
    "DEFAULT": "auto",
    "META": "x",
}
FREE = {"NAME", "DESCRIPTION", "COLUMN", "NOTE", "LABEL", "DIR", "META"}
"""Slots where any text may stand; in all others a hostile one is refused."""


def slotted(**changed: object) -> str:
    text = SLOTS
    for slot, value in {**FINE, **changed}.items():
        text = text.replace(slot, json.dumps(value), 1)
    return text


@pytest.mark.parametrize("slot", FINE)
def test_hostile_texts_in_every_slot(
    slot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not check_recipe(slotted()).problems
    for text in HOSTILE:
        if "\0" in text and slot in FREE:
            continue  # refused as no text of YAML, below
        checked = check_recipe(slotted(**{slot: text}))
        if slot not in FREE and (slot, text) not in (("KERNEL", "torch"), ("DEFAULT", "torch")):
            assert checked.errors, text[:80]
        elif not checked.errors:
            compile_recipe(slotted(**{slot: text}))
    assert not list(tmp_path.iterdir())


def test_generated_code_never_runs_what_a_text_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in HOSTILE:
        if "\0" in text or "$env" in text or "${" in text:
            continue  # no text, or one that only --allow-env lets in
        free = dict.fromkeys(FREE - {"DIR"}, text)
        checked = check_recipe(slotted(**free))
        if checked.errors:  # one column for the label and the feature
            free.pop("LABEL")
        compile_recipe(slotted(**free)).module()
    assert not list(tmp_path.iterdir())


def test_every_recipe_is_checked_without_a_network_or_torch(tmp_path: Path) -> None:
    command = [sys.executable, str(CHILD), str(tmp_path), "0", "1"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert json.loads(run.stdout)["wrong"] == []


def test_random_bytes_are_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    for size in (0, 1, 7, 1000, 100_000, 2 << 20):
        path.write_bytes(os.urandom(size))
        started = time.process_time()
        assert check_recipe(path).errors
        assert time.process_time() - started < 2
    for other in (tmp_path, tmp_path / "none.yaml", "/dev/null", "x" * 5000, ""):
        assert check_recipe(other).errors


def test_the_corpus_is_the_zoo() -> None:
    assert len(recipes()) > 35
