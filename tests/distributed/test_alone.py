"""One device as a job of one rank: the road of a single GPU, tried here on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from graphrec.cli import main
from graphrec.cli import train as command
from graphrec.compiler.pipeline import compile_recipe
from graphrec.train import checkpoint

RECIPE = """\
graphrec: 1
name: alone
data: {synthetic: 900, workers: 0}
features:
  - {type: id, names: {user: 50, item: 90}, dim: 8}
  - {type: id, names: tags, vocab: 20, dim: 8, pool: mean, sep: "|"}
graph: {top: {block: mlp, in: all, hidden: [8]}}
tasks: {click: {label: click, in: top}}
train: {steps: 30, batch: 64, optim: {sparse: OPTIMIZER}}
"""
SCRIPT = """\
import sys
from graphrec.compiler.pipeline import compile_recipe
from graphrec.distributed.alone import train_alone, why_not_alone

class Quiet:
    quiet = True
    def result(self, text): print(text)
    def remark(self, text): print(text)

compiled = compile_recipe(sys.argv[1])
assert why_not_alone(compiled) is None
train_alone(compiled, console=Quiet(), run_dir=sys.argv[2])
"""


def test_a_job_of_one_rank_is_one_process(tmp_path: Path, job: Any) -> None:
    recipe = tmp_path / "alone.yaml"
    recipe.write_text(RECIPE.replace("OPTIMIZER", "{adagrad: {eps: 1.0e-3}}"))
    (tmp_path / "run.py").write_text(SCRIPT)
    words = [sys.executable, str(tmp_path / "run.py"), str(recipe), str(tmp_path / "alone")]
    alone = subprocess.run(words, **job._settings({}), capture_output=True, timeout=240)
    assert alone.returncode == 0, alone.stderr
    plain = job("train", recipe, "--run", "plain")
    assert plain.returncode == 0, plain.stderr
    states = []
    for run in ("alone", "plain"):
        last = checkpoint.latest(tmp_path / run / "checkpoints")
        assert last is not None
        states.append(last.model())
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], atol=1e-5), name
    assert (tmp_path / "alone" / "plan.txt").exists()
    assert (tmp_path / "plain" / "model.py").read_bytes() == (
        tmp_path / "alone" / "model.py"
    ).read_bytes()


@pytest.mark.parametrize(("optimizer", "road"), [("adagrad", "torchrec"), ("adam", "torch")])
def test_a_cuda_device_takes_that_road_where_it_can(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    optimizer: str,
    road: str,
) -> None:
    """Which road a recipe compiled for CUDA takes; no device is there, so nothing is trained."""
    from graphrec.distributed import alone
    from graphrec.train import loop

    recipe = tmp_path / "alone.yaml"
    recipe.write_text(RECIPE.replace("OPTIMIZER", optimizer))
    compiled = compile_recipe(recipe, device="cuda")
    taken: list[str] = []

    class Taken(Exception):
        pass

    def take(name: str) -> Any:
        def go(*_: Any, **__: Any) -> None:
            taken.append(name)
            raise Taken

        return go

    monkeypatch.setattr(command, "compiled_for", lambda *_: compiled)
    monkeypatch.setattr(alone, "train_alone", take("torchrec"))
    monkeypatch.setattr(loop, "train", take("torch"))
    if road == "torch":
        reason = "tables can't be so"
        monkeypatch.setattr(alone, "why_not_alone", lambda _: reason)
    main(["train", str(recipe)])
    assert taken == [road]
    told = "tables with torch's sparse gradients" in capsys.readouterr().err
    assert told == (road == "torch")
