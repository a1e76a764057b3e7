"""`graphrec verify`: every kernel of a recipe against torch in float64, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from graphrec.compiler.pipeline import Compiled
from graphrec.compiler.target import Target
from graphrec.ground.errors import Problem
from graphrec.ground.text import aligned
from graphrec.verify.compare import Difference, Results, errors, worst
from graphrec.verify.kernels import collection, layer
from graphrec.verify.kernels.bench import differs
from graphrec.verify.kernels.jobs import Job, LayerJob, StoreJob, interpreted, jobs
from graphrec.verify.kernels.layer import How
from graphrec.verify.layer_calls import cast, results

__all__ = ["Line", "Verified", "verify"]

Say = Callable[[str], None]
Case = tuple[int, How]
CASES: tuple[Case, ...] = (
    *((1, "empty"), (1, "full"), (5, "empty")),
    *((64, "uniform"), (83, "uniform")),
)
"""Batches: one row, an odd number and a round one; histories that are empty, full and mixed."""
SMALL: tuple[Case, ...] = ((1, "empty"), (1, "full"), (5, "uniform"))
"""For Triton's interpreter, which takes milliseconds for every operation of a tile."""


@dataclass(frozen=True)
class Line:
    """One kernel of one node: what was found, where it is farthest from torch, or why not run."""

    node: str
    block: str
    kernel: str
    state: Literal["agrees", "differs", "not run here"]
    detail: str
    comparisons: int = 0


@dataclass(frozen=True)
class Verified:
    """All lines, and a finding (GR606) for every kernel that differs."""

    lines: tuple[Line, ...]
    problems: tuple[Problem, ...]

    def count(self, state: str) -> int:
        """How many lines say so."""
        return sum(line.state == state for line in self.lines)

    def summary(self) -> str:
        """`3 agree, 0 differ, 2 not run here`."""
        skipped = self.count("not run here")
        more = f", {skipped} not run here" if skipped else ""
        return f"{self.count('agrees')} agree, {self.count('differs')} differ{more}"

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "lines": [asdict(line) for line in self.lines],
            "agree": self.count("agrees"),
            "differ": self.count("differs"),
            "not_run": self.count("not run here"),
            "problems": [problem.as_json() for problem in self.problems],
        }

    def as_text(self) -> str:
        """A line per node and kernel, and the sums."""
        rows = [[x.node, x.block, x.kernel, x.state, x.detail] for x in self.lines]
        return "\n".join([*([aligned(rows)] if rows else []), self.summary()]) + "\n"


def verify(compiled: Compiled, target: Target, say: Say = print) -> Verified:
    """Compare every kernel of every block and of the tables with torch; copies once."""
    lines: list[Line] = []
    problems: list[Problem] = []
    for job in jobs(compiled.graph, target):
        for kernel in (name for name in job.kernels if name != "torch"):
            say(f"{job.name}: {kernel}")
            compared = (
                _layer(job, kernel, target)
                if isinstance(job, LayerJob)
                else _store(job, kernel, compiled, target)
            )
            line, problem = _line(job, kernel, compared)
            lines.append(line)
            if problem is not None:
                problems.append(problem)
        for kernel, why in job.absent.items():
            lines.append(Line(job.name, job.entry.block, kernel, "not run here", why))
    return Verified(tuple(lines), tuple(problems))


def _line(
    job: Job, kernel: str, compared: Iterator[tuple[str, Difference]]
) -> tuple[Line, Problem | None]:
    """The comparison that comes nearest to its limit, or goes farthest beyond it."""
    comparisons, failed = list[tuple[str, Difference]](), None
    try:
        for one in compared:
            comparisons.append(one)
    except Exception as raised:  # the kernel's, whatever it is: told with its node
        failed = Difference.failure(raised)
    where, far = max(
        comparisons,
        key=lambda one: one[1].error / one[1].allowed,
        default=("", Difference("", 0.0, 1.0)),
    )
    far = failed or far
    detail = far.told if failed or not comparisons else f"{far.told} ({where})"
    state: Literal["agrees", "differs"] = "agrees" if far.agrees else "differs"
    line = Line(job.name, job.entry.block, kernel, state, detail, len(comparisons))
    return line, None if far.agrees else differs(job.name, job.entry, kernel, far)


def _layer(job: Job, kernel: str, target: Target) -> Iterator[tuple[str, Difference]]:
    assert isinstance(job, LayerJob)
    state = layer.weights(job)
    history = any(longest is not None for longest in job.lengths)
    for precision in _precisions(target):
        for batch, how in _cases(history):
            given = layer.inputs(job, batch, how)
            for training in (False, True) if batch > 1 else (False,):
                compared = _Compared(job, kernel, target.device, precision, training, state)
                difference = compared.difference(given, history)
                if difference is not None:
                    mode = "train" if training else "eval"
                    yield f"{precision}, {mode}, {batch} rows, {how}", difference


def _precisions(target: Target) -> tuple[str, ...]:
    """Double precision where kernels are ordinary code; on a GPU it is torch's own road."""
    wanted = ("fp32",) if target.device == "cuda" else ("fp64", "fp32")
    return tuple(dict.fromkeys((*wanted, target.precision)))


def _cases(history: bool) -> Sequence[Case]:
    cases = SMALL if interpreted() else CASES
    return [case for case in cases if history or case[1] != "empty"]


@dataclass(frozen=True)
class _Compared:
    """One kernel, one precision, one mode."""

    job: LayerJob
    kernel: str
    device: str
    precision: str
    training: bool
    state: dict[str, torch.Tensor]

    def difference(self, given: Sequence[Any], history: bool) -> Difference | None:
        """The farthest result; None where torch draws at random, or does not know the precision."""
        right = self._results("torch", given, "fp64")
        if self.training and max(errors(self._results("torch", given, "fp64"), right).values()):
            return None  # dropout: no two calls are equal
        try:
            actual = self._results(self.kernel, given, self.precision)
        except (RuntimeError, TypeError):
            if self.precision != "fp64":
                raise
            return None  # fp32 follows, and there nothing is forgiven
        plain = self._results("torch", given, self.precision)
        return worst(actual, plain, right, self.precision, long_sums=history)

    def _results(self, kernel: str, given: Sequence[Any], precision: str) -> Results:
        module = layer.make(self.job, kernel, self.state, self.device)
        moved = [x.to(self.device) for x in given]
        if precision == "fp64":
            module, moved = module.double(), cast(moved, Tensor.double)
        return results(module, moved, self.device, precision, training=self.training)


def _store(
    job: Job, kernel: str, compiled: Compiled, target: Target
) -> Iterator[tuple[str, Difference]]:
    """Lookup, gradients and two updates; tables hold what the kernel stores, fp32 or bf16."""
    assert isinstance(job, StoreJob)
    sized, _ = collection.capped(job)
    device, graph, recipe = target.device, compiled.graph, compiled.recipe
    half = any(table.dtype == "bf16" for table in job.tables)
    for batch, how in _cases(history=True):
        plain = collection.make(sized, graph, recipe, "torch", device)
        other = collection.make(sized, graph, recipe, kernel, device)
        other.module.load_state_dict(plain.module.state_dict())
        features = collection.features(sized, batch, how, device)
        right, actual = collection.results(plain, features), collection.results(other, features)
        precision = "bf16" if half else "fp32"
        yield (
            f"{precision}, {batch} rows, {how}",
            worst(actual, right, right, precision, long_sums=True),
        )
