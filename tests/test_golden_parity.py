"""Golden parity: the cases beside the checkout, and cases made here for what they leave out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "golden"
sys.path.insert(0, str(FOLDER))

from golden_case import Case, compare, load  # noqa: E402
from golden_run import compute, differences  # noqa: E402
from made_blocks import BLOCKS  # noqa: E402
from made_models import MODELS  # noqa: E402
from made_tasks import TASKS  # noqa: E402

MADE = {**BLOCKS, **MODELS, **TASKS}


def test_every_golden_case_passes(shared: Path) -> None:
    folder = shared / "golden" / "open"
    run = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), str(folder)], capture_output=True, text=True
    )
    count = len(list(folder.glob("*.json")))
    assert run.stdout.splitlines() == [f"{count} passed, 0 failed"], run.stdout + run.stderr
    assert run.returncode == 0 and count > 0


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_made_case_passes(name: str) -> None:
    case = MADE[name]()
    assert differences(case) == []


@pytest.mark.parametrize("part", ["out/y", "grad/mlp.0.weight", "after/mlp.0.norm.running_mean"])
def test_a_wrong_number_fails(part: str) -> None:
    case = BLOCKS["mlp_gelu_batch_0"]()
    largest = case.arrays[part].abs().max()
    wrong = case.arrays[part].clone()
    wrong.view(-1)[0] += 3e-4 * largest
    found = compare(replace(case, arrays={**case.arrays, part: wrong}), compute(case))
    assert len(found) == 1 and found[0].startswith(f"{part}: off by")
    wrong.view(-1)[0] = float("nan")
    found = compare(replace(case, arrays={**case.arrays, part: wrong}), compute(case))
    assert len(found) == 1 and found[0].startswith(f"{part}: off by")


def test_a_missing_key_fails() -> None:
    case = BLOCKS["cgc"]()
    found = compute(case)
    del found.out["shared"], found.grad["in.z"]
    assert compare(case, found) == ["out: missing shared", "grad: missing in.z"]


def test_cases_that_fail_are_named(tmp_path: Path, shared: Path) -> None:
    for name in ("fm_block", "cin"):
        for ending in (".json", ".npz"):
            source = shared / "golden" / "open" / (name + ending)
            (tmp_path / source.name).write_bytes(source.read_bytes())
    json = tmp_path / "cin.json"
    json.write_text(json.read_text().replace('"kind": "cin"', '"kind": "cyn"'))
    run = subprocess.run(
        [sys.executable, str(FOLDER / "run.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert run.stdout.splitlines() == ["cin: Unsupported: block cyn", "1 passed, 1 failed"]
    assert run.returncode == 1


def test_a_case_is_read_whole(shared: Path) -> None:
    case = load(shared / "golden" / "open" / "fm_block.json")
    assert isinstance(case, Case) and case.input("x").shape == (7, 4, 5)
