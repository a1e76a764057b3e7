"""runs, and diff of two runs: what differs, and what each came to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphrec.cli import main

RECIPE = """
graphrec: 1
name: tiny
data: {synthetic: 400, workers: 0}
features: [{type: id, names: item, vocab: 20, dim: 4}]
graph: {deep: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: deep, metrics: [auc, logloss]}}
train: {batch: 60, eval_every: 2}
"""


def test_runs_and_their_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE)
    assert main(["runs"]) == 5
    assert "GR807" in capsys.readouterr().err
    for settings in ([], ["-o", "train.batch=90"]):
        assert main(["train", "tiny.yaml", "--quiet", *settings]) == 0
    capsys.readouterr()
    assert main(["runs", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {run["run"] for run in found} == {"runs/tiny", "runs/tiny-2"}
    assert sum(run["differs"] != [] for run in found) == 1
    for run in found:
        lines = Path(run["run"], "metrics.jsonl").read_text().splitlines()
        evaluated = [r for r in map(json.loads, lines) if r["kind"] == "eval"]
        assert run["best"]["click.auc"] == max(r["click.auc"] for r in evaluated)
        assert run["best"]["click.logloss"] == min(r["click.logloss"] for r in evaluated)
        assert run["finished"] and run["step"] == evaluated[-1]["step"]
    assert found[0]["best"]["click.auc"] >= found[1]["best"]["click.auc"]
    assert main(["runs"]) == 0
    table = capsys.readouterr().out
    assert "batch: " in table and "differs by" in table
    assert main(["diff", "runs/tiny", "runs/tiny-2"]) == 0
    out = capsys.readouterr().out
    assert "batch  60 -> 90" in out and "click.logloss" in out and "difference" in out
