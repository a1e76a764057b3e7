"""`graphrec bench`: the time of every kernel of a recipe at its own shapes, and kernels.lock."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from graphrec.compiler.kernel_lock import Entry, Machine, Times
from graphrec.compiler.passes.measured import GAIN
from graphrec.compiler.pipeline import Compiled
from graphrec.compiler.target import Target
from graphrec.ground.errors import Problem
from graphrec.ground.text import aligned
from graphrec.verify.compare import Difference, worst
from graphrec.verify.kernels import collection, layer
from graphrec.verify.kernels.jobs import Job, LayerJob, StoreJob, jobs
from graphrec.verify.kernels.timing import Taken, interleaved
from graphrec.verify.layer_calls import cast, results

__all__ = ["Bench", "Row", "bench"]

Say = Callable[[str], None]
WINDOWS = 7
_ODD = 5
"""Rows of a second batch that kernels are compared on: the last one of an epoch is seldom round."""
_BUSY = 0.5
"""Load per processor from which wall time says nothing."""


@dataclass(frozen=True)
class Row:
    """One kernel of one node: times of a call in milliseconds (`clock`), and how they compare."""

    node: str
    block: str
    inputs: str
    kernel: str
    clock: str
    forward: Taken
    train: Taken
    ratio: float
    """Times as fast as torch, forward and backward."""
    chosen: bool
    """Whether `auto` chooses it for training; never where torch is alone."""


@dataclass(frozen=True)
class Bench:
    """All times, the entries for kernels.lock by key, findings, and what could not be timed."""

    rows: tuple[Row, ...]
    entries: Mapping[str, Entry]
    machine: Machine
    absent: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def _absent(self) -> list[list[str]]:
        """What was not timed, by kernel and reason: a GPU that is missing is missing everywhere."""
        nodes: dict[tuple[str, str], list[str]] = {}
        for who, why in self.absent.items():
            node, _, kernel = who.rpartition(": ")
            nodes.setdefault((kernel, why), []).append(node)
        return [[kernel, ", ".join(names), why] for (kernel, why), names in nodes.items()]

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "machine": self.machine.model_dump(mode="json"),
            "rows": [asdict(row) for row in self.rows],
            "not_timed": dict(self.absent),
            "remarks": list(self.remarks),
            "problems": [problem.as_json() for problem in self.problems],
        }

    def as_text(self) -> str:
        """An aligned table, and what could not be timed."""
        head = ["node", "block", "inputs", "kernel", "forward ms", "train ms", "vs torch", "auto"]
        lines, before = [head], ""
        for row in self.rows:
            shown = [row.node, row.block, row.inputs] if row.node != before else ["", "", ""]
            before = row.node
            wall = row.clock == "wall"
            times = [t.wall if wall else t.process for t in (row.forward, row.train)]
            mark = "<-" if row.chosen else ""
            lines.append([*shown, row.kernel, *(_ms(t) for t in times), f"{row.ratio:.3f}x", mark])
        parts = [aligned(lines, right=frozenset({4, 5, 6}))]
        if self.absent:
            parts.append("not timed:\n" + aligned([["", *row] for row in self._absent()]))
        return "\n\n".join([*parts, *self.remarks]) + "\n"


def bench(compiled: Compiled, target: Target, windows: int = WINDOWS, say: Say = print) -> Bench:
    """Time the kernels of every block and of the tables, in turn, each checked before it is timed.

    A kernel that differs from torch is not timed: a finding (GR606) says so.
    """
    timer = _Timer(compiled, target, windows)
    absent: dict[str, str] = {}
    todo = jobs(compiled.graph, target)
    for number, job in enumerate(todo, 1):
        say(f"{number}/{len(todo)} {job.name}: {', '.join(job.kernels)}")
        timer.time(job)
        absent |= {f"{job.name}: {kernel}": why for kernel, why in job.absent.items()}
    return Bench(
        tuple(timer.rows),
        timer.entries,
        _machine(target.device),
        absent,
        tuple(timer.remarks),
        tuple(timer.problems),
    )


class _Timer:
    """What has been timed so far."""

    def __init__(self, compiled: Compiled, target: Target, windows: int) -> None:
        self.compiled, self.target, self.windows = compiled, target, windows
        self.clock, busy = _clock(target.device)
        self.rows: list[Row] = []
        self.entries: dict[str, Entry] = {}
        self.remarks: list[str] = [busy] if busy else []
        self.problems: list[Problem] = []

    def time(self, job: Job) -> None:
        if isinstance(job, StoreJob):
            forward, train = self._store_runs(job)
        else:
            assert isinstance(job, LayerJob)
            forward, train = self._layer_runs(job)
        # Where torch is alone there is nothing to choose: its time is only for the table.
        windows = self.windows if len(forward) > 1 else min(3, self.windows)
        times = interleaved(forward, windows, self.target.device)
        taken = interleaved(train, windows, self.target.device)
        self._keep(job, {name: (times[name], taken[name]) for name in forward})

    def _layer_runs(self, job: LayerJob) -> tuple[dict[str, Any], dict[str, Any]]:
        device, precision = self.target.device, job.entry.precision
        given = [x.to(device) for x in layer.inputs(job, job.entry.batch)]
        state = layer.weights(job)
        layers = {"torch": layer.make(job, "torch", state, device)}
        if len(job.kernels) > 1:
            exact = layer.make(job, "torch", state, device).double()
            few = [x.to(device) for x in layer.inputs(job, _ODD)]
            cases = []
            for case in (few, given):
                right = results(exact, cast(case, Tensor.double), device)
                cases.append((case, right, results(layers["torch"], case, device, precision)))
            long = any(longest is not None for longest in job.lengths)
            for name in job.kernels[1:]:

                def compared(name: str = name) -> Difference:
                    layers[name] = layer.make(job, name, state, device)
                    differences = [
                        worst(
                            results(layers[name], case, device, precision),
                            plain,
                            right,
                            precision,
                            long_sums=long,
                        )
                        for case, right, plain in cases
                    ]
                    return max(differences, key=lambda one: one.error / one.allowed)

                self._judge(job, name, layers, compared)
        forward = {n: layer.forward(m, given, device, precision) for n, m in layers.items()}
        return forward, {n: layer.train(m, given, device, precision) for n, m in layers.items()}

    def _store_runs(self, job: StoreJob) -> tuple[dict[str, Any], dict[str, Any]]:
        device, graph, recipe = self.target.device, self.compiled.graph, self.compiled.recipe
        sized, remark = collection.capped(job)
        self.remarks += [remark] if remark else []
        stores = {"torch": collection.make(sized, graph, recipe, "torch", device)}
        # A copy: comparing updates the tables.
        state = {name: w.clone() for name, w in stores["torch"].module.state_dict().items()}
        batch = collection.features(sized, job.entry.batch, device=device)
        right = collection.results(stores["torch"], batch)
        precision = "bf16" if any(t.dtype == "bf16" for t in job.tables) else "fp32"
        for name in job.kernels[1:]:

            def compared(name: str = name) -> Difference:
                stores[name] = collection.make(sized, graph, recipe, name, device)
                stores[name].module.load_state_dict(state)
                actual = collection.results(stores[name], batch)
                return worst(actual, right, right, precision, long_sums=True)

            self._judge(job, name, stores, compared)
        forward = {name: one.forward(batch) for name, one in stores.items()}
        return forward, {name: one.train(batch) for name, one in stores.items()}

    def _judge(
        self, job: Job, kernel: str, candidates: dict[str, Any], compared: Callable[[], Difference]
    ) -> None:
        """Leave a kernel out of what is made, and timed, if it differs or fails."""
        try:
            difference = compared()
        except Exception as raised:  # the kernel's, whatever it is: the others are timed
            difference = Difference.failure(raised)
        if not difference.agrees:
            candidates.pop(kernel, None)
            self.problems.append(differs(job.name, job.entry, kernel, difference))

    def _keep(self, job: Job, taken: Mapping[str, tuple[Taken, Taken]]) -> None:
        times = {
            name: Times(forward=self._of(forward), train=self._of(train))
            for name, (forward, train) in taken.items()
        }
        entry = job.entry.model_copy(update={"clock": self.clock, "kernels": times})
        if len(times) > 1:
            self.entries[entry.key] = entry
        ratios = {name: entry.ratio(name, "train") or 1.0 for name in times}
        best = max(ratios, key=lambda name: ratios[name])
        chosen = best if ratios[best] >= GAIN else "torch"
        for name, (forward, train) in taken.items():
            self.rows.append(
                Row(
                    node=job.name,
                    block=entry.block,
                    inputs=_shapes(entry),
                    kernel=name,
                    clock=self.clock,
                    forward=forward,
                    train=train,
                    ratio=ratios[name],
                    chosen=name == chosen and len(taken) > 1,
                )
            )

    def _of(self, taken: Taken) -> float:
        """Five digits of the milliseconds that count, above 0 whatever the clock's steps are."""
        value = taken.wall if self.clock == "wall" else taken.process
        return max(float(f"{value:.5g}"), 1e-6)


def _clock(device: str) -> tuple[Literal["wall", "process"], str]:
    """Wall time, or that of the processor where others use it too, with a remark."""
    if device == "cuda":
        return "wall", ""
    load, cores = getattr(os, "getloadavg", lambda: (0.0,))()[0], os.cpu_count() or 1
    if load < _BUSY * cores:
        return "wall", ""
    return (
        "process",
        f"The machine is busy (load {load:.1f}, {cores} processors): times are processor time of"
        " all threads, not wall time.",
    )


def differs(node: str, entry: Entry, kernel: str, difference: Difference) -> Problem:
    """GR606: what differs, by how much, and at which shapes."""
    shapes = " ".join(entry.inputs)
    return Problem(
        "GR606",
        f"{node}: kernel `{kernel}` of {entry.block} differs from torch: {difference.told}"
        f" (inputs {shapes})",
        path=f"graph.{node}",
        help=f"ask for torch until it is mended:  kernels: {{by_block: {{{entry.block}: torch}}}}",
    )


def _shapes(entry: Entry) -> str:
    """`3 x [B, 64]`: three nodes that can be computed together."""
    copies = f"{entry.copies} x " if entry.copies > 1 else ""
    return copies + " ".join(entry.inputs[:2]) + (" ..." if entry.inputs[2:] else "")


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:.0f}"


def _machine(device: str) -> Machine:
    versions = {}
    for package in ("graphrec", "torch", "triton"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return Machine(processor=_processor(device), threads=torch.get_num_threads(), versions=versions)


def _processor(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
