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

__all__ = ["BATCHES", "Proof", "Reference", "Scores", "prove"]

BATCHES = (1, 2, 17, 4097)
"""Sizes of the first batches; what is left comes in thousands."""
_REQUESTS = (1, 2, 17, 500, 1, 2, 17, 500)

Array = np.ndarray[Any, Any]
Scores = Mapping[str, Array]


@dataclass(frozen=True)
class Reference:
    """What a file is compared with: functions of Arrow tables.

    After `reorder` they give the same numbers summed in another order: what changes is rounding,
    and no file can be asked to be nearer to a run than the run is to itself.
    """

    predict: Callable[[Any], Scores]
    score: Callable[[Any, Any], Scores]
    reorder: Callable[[], None] | None = None


@dataclass(frozen=True)
class Proof:
    """What was tried, and how far the file's numbers were from the run's at most.

    `rounding` are outputs of which the run itself gives others, further apart than half the
    tolerance, when it sums in another order; twice that is allowed of them.
    """

    rows: int
    requests: int
    largest: float
    tolerance: float
    rounding: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "batches": list(BATCHES),
            "requests": self.requests,
            "largest_difference": self.largest,
            "tolerance": self.tolerance,
            "rounding_of_the_run": dict(self.rounding),
        }


@dataclass(frozen=True)
class _Questions:
    table: pa.Table
    batches: Sequence[tuple[int, int]]
    requests: Sequence[tuple[int, int, int]]

    def answers(self, reference: Reference) -> dict[str, Array]:
        """By the names under which the client saves its own."""
        answers: dict[str, Array] = {}
        for number, (start, stop) in enumerate(self.batches):
            scores = reference.predict(self.table.slice(start, stop - start))
            answers |= {f"forward/{number}/{name}": values for name, values in scores.items()}
        for number, (request, start, stop) in enumerate(self.requests):
            candidates = self.table.slice(start, stop - start)
            scores = reference.score(self.table.slice(request, 1), candidates)
            answers |= {f"score/{number}/{name}": values for name, values in scores.items()}
        return answers

    def what(self, key: str) -> str:
        """The rows of an answer, in words."""
        entry, number, _ = key.split("/", 2)
        if entry == "forward":
            return "rows {} to {}".format(*self.batches[int(number)])
        _, start, stop = self.requests[int(number)]
        return f"a request with {stop - start} candidates"


def prove(
    bundle: Path, model: Model, form: Format, reference: Reference, count: int = 10_000
) -> Proof:
    """Compare the bundle's client with the reference.

    Raises CheckpointError (GR820) where a number differs, or the client can't be run.
    """
    names = {entry["name"] for entry in model.spec["entries"]}
    rows = proof_rows(model.trained.encoder.only(names), count, seed=11)
    requests = []
    if "score" in model.entry_points:
        requests = [(n, n, n + size) for n, size in enumerate(_REQUESTS) if n + size <= count]
    questions = _Questions(pa.Table.from_pylist(rows), _batches(count), requests)
    with tempfile.TemporaryDirectory() as work:
        results = _run(bundle, Path(work), form, rows, questions)
    rounding: dict[str, float] = {}
    if reference.reorder is not None:
        before = questions.answers(reference)
        reference.reorder()
        rounding = _rounding(before, expected := questions.answers(reference), form)
    else:
        expected = questions.answers(reference)
    largest = _compare(expected, results, form, rounding, questions)
    return Proof(count, len(requests), largest, form.tolerance, rounding)


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
    questions: _Questions,
) -> dict[str, Array]:
    """What the client in the bundle gives, in a process of its own."""
    (work / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    plan = {"batches": questions.batches, "requests": questions.requests}
    (work / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    script = Path(__file__).parent / "bundle_files" / "prove.py"
    forbidden = {"graphrec", "pyarrow", "torch", "onnxruntime", "onnx"} - {form.runs_on}
    command = [sys.executable, "-I", "-B", str(script), str(bundle), str(work), *sorted(forbidden)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last_words = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise CheckpointError(
            Problem("GR820", f"the exported model can't be run: {last_words[0]}", help=_REPORT)
        )
    with np.load(work / "found.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


_MOST_ROUNDING = 1e-3
"""Of numbers above 1; the worst of the shipped recipes, afn, is from itself by 2e-4."""
_REPORT = "nothing was written; please report it with the recipe"


def _rounding(before: Scores, after: Scores, form: Format) -> dict[str, float]:
    """How far a run is from itself, of the outputs where that counts."""
    worst: dict[str, float] = {}
    for key, values in after.items():
        name = key.split("/", 2)[2]
        worst[name] = max(worst.get(name, 0.0), _difference(before[key], values))
    return {name: apart for name, apart in worst.items() if 2 * apart > form.tolerance}


def _compare(
    expected: Scores,
    results: Mapping[str, Array],
    form: Format,
    rounding: Mapping[str, float],
    questions: _Questions,
) -> float:
    """The largest difference there is."""
    largest = 0.0
    for key, values in expected.items():
        name, what = key.split("/", 2)[2], questions.what(key)
        if results[key].shape != values.shape:
            why = f"{name} has shape {results[key].shape} for {what}, the run gives {values.shape}"
            raise CheckpointError(Problem("GR820", why, help=_REPORT))
        worst = _difference(results[key], values)
        # Beyond that it is no rounding: a run that is another each time can't be proved.
        allowed = max(form.tolerance, min(2 * rounding.get(name, 0.0), _MOST_ROUNDING))
        if not worst <= allowed:
            why = (
                f"{name} of the exported model differs from the run's by {worst:.2g} for {what};"
                f" {allowed:.2g} is allowed"
            )
            raise CheckpointError(Problem("GR820", why, help=_REPORT))
        largest = max(largest, worst)
    return largest


def _difference(one: Array, other: Array) -> float:
    """The largest difference, relative to numbers above 1; NaN where one is no number."""
    if not one.size:
        return 0.0
    return float((np.abs(one - other) / np.maximum(1, np.abs(other))).max())
