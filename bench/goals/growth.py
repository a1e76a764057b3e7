"""P8: cost against work, of batch, features, tasks, experts, history and table rows.

Each step's cost per unit of work, the largest amount against the smallest: 1 is linear, less is
better than linear. For rows the step's cost itself, which should not depend on them.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.cases import Data, batches, columns, compiled
from bench.options import Options
from bench.results import Row
from bench.steps import Candidate, generated
from bench.timing import measure
from graphrec.compiler.pipeline import Compiled
from graphrec.nn import Jagged

__all__ = ["AMOUNTS", "curves", "rows"]

AMOUNTS: dict[str, Sequence[int]] = {
    "batch": (256, 1024, 4096, 16384),
    "features": (26, 100, 400),
    "tasks": (2, 4, 8, 16),
    "experts": (2, 4, 8, 16),
    "history": (20, 100, 400),
    "rows": (10_000, 100_000, 1_000_000, 10_000_000),
}
FLAT = 1.25
"""A step of 10^7 rows may cost this much of one of 10^4, whose rows are all in the cache."""


def rows(options: Options) -> list[Row]:
    """A figure for every kind of work."""
    found = []
    for work, costs in curves(options).items():
        (few, first), *_, (many, last) = costs.items()
        flat = work == "rows"
        value = last / first if flat else (last / many) / (first / few)
        shown = ", ".join(f"{amount}: {cost:.1f}" for amount, cost in costs.items())
        what = "cost" if flat else "cost per unit"
        text = f"{work} {few} -> {many}: {what}, last over first"
        how = f"CPU ms a step: {shown}"
        limit = FLAT if flat else 1.0
        found.append(Row("P8", text, round(value, 3), "x", limit, True, how))
    return found


def curves(options: Options) -> dict[str, dict[int, float]]:
    """Milliseconds of CPU time a step, by kind and amount of work."""
    return {work: _curve(work, amounts, options) for work, amounts in AMOUNTS.items()}


def _curve(work: str, amounts: Sequence[int], options: Options) -> dict[int, float]:
    used = amounts[:-1] if options.quick else amounts
    made = {str(amount): _candidate(work, amount, options) for amount in used}
    times = measure({n: c.step for n, c in made.items()}, options.windows, options.seconds / 2)
    del made
    gc.collect()
    return {int(name): time.cpu for name, time in times.items()}


def _candidate(work: str, amount: int, options: Options) -> Candidate:
    changed = {} if work == "batch" else {work: amount}
    if work == "rows":
        changed = {"features": 2, "rows": amount // 2}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grown.yaml"
        path.write_text(_recipe(**changed))
        model = compiled(str(path))
    batch = amount if work == "batch" else options.batch(512 if work == "history" else 2048)
    history = amount if work == "history" else 0
    return generated(model, [_data(model, batch, history, seed) for seed in range(4)])


def _recipe(
    features: int = 26, tasks: int = 2, experts: int = 2, history: int = 0, rows: int = 10_000
) -> str:
    """MMoE over `features` of `rows` values each; with a history, DIN before it."""
    names = ", ".join(f"f{number:03d}" for number in range(features))
    lines = [
        "graphrec: 1",
        "name: grown",
        "data: {synthetic: 1000}",
        "features:",
        f"  - {{type: id, names: [{names}], vocab: {rows - 1}, dim: 16}}",
    ]
    graph, read = [], "all"
    if history:
        lines += [
            f"  - {{type: sequence, name: seen, of: [f000, f001], max_len: {history}}}",
            "groups: {past: {query: [f000, f001], keys: seen}}",
        ]
        graph, read = ["  din: {block: din, in: past, hidden: [64, 32]}"], "[all, din]"
    mixed = f"gates: tasks, experts: {experts}, hidden: [64, 32]"
    lines += ["graph:", *graph, f"  mixed: {{block: mmoe, in: {read}, {mixed}}}", "tasks:"]
    lines += [f"  t{n:02d}: {{label: y{n}, in: mixed}}" for n in range(tasks)]
    return "\n".join(lines) + "\n"


def _data(model: Compiled, size: int, history: int, seed: int) -> Data:
    """A batch whose histories are all of the length `history`."""
    data = batches(model, size, count=1, seed=seed)[0]
    if history:
        lengths = torch.full((size,), history)
        for name in ("f000", "f001"):
            steps = torch.randint(0, columns(model)[0][name], (size * history,))
            data.batch.features[f"seen.{name}"] = Jagged(steps, lengths)
    return data
