"""The command line as a process: what it imports, how long it takes, pipes, training."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# What takes long to import: nobody should wait for it without need.
HEAVY = ("torch", "torchrec", "fbgemm_gpu", "triton", "pyarrow", "networkx", "torchmetrics", "rich")


def imported(result: subprocess.CompletedProcess[str]) -> set[str]:
    """Top-level packages that a run with -X importtime loaded."""
    names = re.findall(r"^import time:.*\|\s*(\S+)$", result.stderr, re.MULTILINE)
    return {name.partition(".")[0] for name in names}


def timed(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "graphrec", *words]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=120)


def seconds(here: Path, *words: str) -> float:
    """CPU time of the quickest of three runs: other processes should not count."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'graphrec', *sys.argv[1:]], check=True,"
        " stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(3)
    ]
    return min(float(run.stdout) for run in runs)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["check", "small.yaml"],
        ["check", "shop"],
        ["expand", "small.yaml"],
        ["compile", "small.yaml"],
        ["graph", "small.yaml", "--format", "svg"],
        ["recipes"],
        ["blocks"],
        ["schema"],
        ["explain", "GR502"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(words: list[str], here: Path) -> None:
    result = timed(here, *words)
    assert result.returncode == 0
    assert not imported(result) & set(HEAVY)


def test_a_mistake_is_told_before_torch_is_loaded(here: Path) -> None:
    result = timed(here, "train", "small.yaml", "-o", "train.bacth=1")
    assert result.returncode == 2 and not imported(result) & set(HEAVY)


def test_help_needs_argparse_alone(here: Path) -> None:
    loaded = imported(timed(here, "--help"))
    assert "argparse" in loaded
    assert not loaded & {
        "pydantic",
        "yaml",
        "numpy",
        "importlib_metadata",
        "graphrec.compiler.pipeline",
    }


def test_help_and_check_are_quick(here: Path) -> None:
    """0.2 s and 0.6 s are the aims; three times that is for slow and busy machines."""
    assert seconds(here, "--help") < 0.6
    assert seconds(here, "check", "deepfm") < 1.8


def test_importing_graphrec_loads_nothing(here: Path) -> None:
    code = "import graphrec, sys; print(sorted(m for m in sys.modules if m.startswith('graphrec')))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True
    )
    assert result.stdout == "['graphrec', 'graphrec.ground', 'graphrec.ground.version']\n"


def test_a_closed_pipe_is_quiet(here: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "graphrec", "schema"],
        cwd=here,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (141, "")


def test_the_recipes_of_others_run_nothing(here: Path, graphrec: Run) -> None:
    """Modules beside a recipe are not imported: only --plugin searches the working directory."""
    (here / "yaml.py").write_text("raise SystemExit('imported')")
    (here / "graphrec_plugin.py").write_text("raise SystemExit('imported')")
    code = "import sys; from graphrec.cli import main; sys.exit(main(['check', 'small.yaml']))"
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=here, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


def test_train_and_evaluate(here: Path, graphrec: Run) -> None:
    result = graphrec("train", "small.yaml", "-o", "train.epochs=1")
    assert result.returncode == 0, result.stderr
    folder = here / "runs" / "small"
    assert "evaluate  graphrec evaluate runs/small" in result.stdout
    files = {path.name for path in folder.iterdir()}
    assert {
        "recipe.yaml",
        "model.py",
        "graph.svg",
        "report.html",
        "report.md",
        "run.json",
        "metrics.jsonl",
    } <= files
    run = json.loads((folder / "run.json").read_text())
    assert run["command"] == "graphrec train small.yaml -o train.epochs=1"

    result = graphrec("evaluate", "runs/small", "--format", "json")
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["kind"] == "eval" and 0 <= record["click.auc"] <= 1
    result = graphrec("evaluate", "runs/small", "--checkpoint", "99")
    assert result.returncode == 5 and "GR801" in result.stderr


def test_train_as_json(here: Path, graphrec: Run) -> None:
    result = graphrec("train", "small.yaml", "--format", "json", "--run", "out")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["run"] == "out" and data["problems"] == [] and "click.auc" in data["eval"]


def test_data_that_is_not_there(graphrec: Run) -> None:
    result = graphrec("train", "small.yaml", "-o", "data.train=nowhere/*.parquet")
    assert result.returncode == 3 and "GR701" in result.stderr and "Traceback" not in result.stderr


def test_a_folder_that_is_no_run(graphrec: Run) -> None:
    result = graphrec("evaluate", "nowhere")
    assert result.returncode == 5 and "GR807" in result.stderr
