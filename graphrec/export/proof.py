"""Whether a bundle gives the numbers of its run, in a process that has nothing of graphrec."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graphrec.export.formats import Format
from graphrec.export.program import Model
from graphrec.export.proof_rows import proof_rows
from graphrec.ground.errors import CheckpointError, Problem

__all__ = ["BATCHES", "Proof", "Scores", "prove"]

BATCHES = (1, 2, 17, 4097)
"""Sizes of the first batches; what is left comes in thousands."""
_REQUESTS = (1, 2, 17, 500, 1, 2, 17, 500)

_STEEPEST = 4
"""A logit that is off by 4e-6 is a probability that is off by 1e-6 at most: its slope is 1/4."""

Array = np.ndarray[Any, Any]
Scores = Mapping[str, Array]


@dataclass(frozen=True)
class Proof:
    """What was tried, and how far the file's numbers were from the run's at most."""

    rows: int
    requests: int
    largest: float
    tolerance: float

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "batches": list(BATCHES),
            "requests": self.requests,
            "largest_difference": self.largest,
            "tolerance": self.tolerance,
        }


def prove(
    bundle: Path,
    model: Model,
    form: Format,
    predict: Callable[[Any], Scores],
    score: Callable[[Any, Any], Scores],
    count: int = 10_000,
) -> Proof:
    """Compare the bundle's client with these two functions of Arrow tables.

    Raises CheckpointError (GR820) where a number differs, or the client can't be run.
    """
    names = {entry["name"] for entry in model.spec["entries"]}
    rows = proof_rows(model.trained.encoder.only(names), count, seed=11)
    table = pa.Table.from_pylist(rows)
    batches, requests = _batches(count), []
    if "score" in model.entry_points:
        requests = [(n, n, n + size) for n, size in enumerate(_REQUESTS) if n + size <= count]
    with tempfile.TemporaryDirectory() as work:
        results = _run(bundle, Path(work), form, rows, batches, requests)
    largest = 0.0
    for number, (start, stop) in enumerate(batches):
        expected = predict(table.slice(start, stop - start))
        what = f"rows {start} to {stop}"
        largest = max(largest, _compare(expected, results, f"forward/{number}", form, what))
    for number, (request, start, stop) in enumerate(requests):
        expected = score(table.slice(request, 1), table.slice(start, stop - start))
        what = f"a request with {stop - start} candidates"
        largest = max(largest, _compare(expected, results, f"score/{number}", form, what))
    return Proof(count, len(requests), largest, form.tolerance)


def _batches(count: int) -> list[tuple[int, int]]:
    ends = [0]
    for size in (*BATCHES, *[1000] * (count // 1000 + 1)):
        if ends[-1] < count:
            ends.append(min(ends[-1] + size, count))
    return list(zip(ends[:-1], ends[1:], strict=True))


def _run(
    bundle: Path,
    work: Path,
    form: Format,
    rows: Sequence[Mapping[str, Any]],
    batches: Sequence[tuple[int, int]],
    requests: Sequence[tuple[int, int, int]],
) -> dict[str, Array]:
    """What the client in the bundle gives, in a process of its own."""
    (work / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    plan = {"batches": batches, "requests": requests}
    (work / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    script = Path(__file__).parent / "bundle_files" / "prove.py"
    forbidden = {"graphrec", "pyarrow", "torch", "onnxruntime", "onnx"} - {form.runs_on}
    command = [sys.executable, "-I", "-B", str(script), str(bundle), str(work), *sorted(forbidden)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last_line = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise CheckpointError(
            Problem("GR820", f"the exported model can't be run: {last_line[0]}", help=_REPORT)
        )
    with np.load(work / "found.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


_REPORT = "nothing was written; please report it with the recipe"


def _compare(
    expected: Scores, results: Mapping[str, Array], key: str, form: Format, what: str
) -> float:
    """The largest difference, relative to numbers above 1; of logits, as a probability."""
    largest = 0.0
    for name, values in expected.items():
        other = results[f"{key}/{name}"]
        if other.shape != values.shape:
            why = f"{name} has shape {other.shape} for {what}, the run gives {values.shape}"
            raise CheckpointError(Problem("GR820", why, help=_REPORT))
        difference = np.abs(other - values) / np.maximum(1, np.abs(values))
        if name.startswith("logits"):
            difference /= _STEEPEST
        worst = float(difference.max(initial=0.0))
        if not worst <= form.tolerance:
            why = (
                f"{name} of the exported model differs from the run's by {worst:.2g} for {what};"
                f" {form.tolerance:g} is allowed"
            )
            raise CheckpointError(Problem("GR820", why, help=_REPORT))
        largest = max(largest, worst)
    return largest
