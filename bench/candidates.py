"""P7: one request with 500 candidates, `score` against `forward` on the rows written out.

    python -m bench.candidates [--threads 2] [--windows 7]

The same generated module with the same weights in fp32, eager, prepared for inference; histories of
50 steps. Scores are compared before anything is timed, to 1e-5.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from bench.timing import machine, measure  # before torch: its threads must not spin

# isort: split
import torch
from torch import Tensor, nn

from bench.options import Options
from bench.results import Row, ratio, text
from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.nn import Batch, Jagged, prepare
from graphrec.nn.split import rows as with_rows

__all__ = ["goal_rows", "main", "request_of"]

CANDIDATES, STEPS, WANTED = 500, 50, 3.0
ROOT = Path(__file__).resolve().parents[1]
CASES = {
    "multi_tower_din": (ROOT / "recipes/multi_tower_din.yaml", ["features.clicked.max_len=50"]),
    "dbmtl_din": (ROOT / "bench/recipes/dbmtl_din.yaml", []),
}


def goal_rows(options: Options) -> list[Row]:
    """A figure for each model and number of threads."""
    found = []
    for name, (path, overrides) in CASES.items():
        compiled = compile_recipe(path, overrides=overrides, purpose="inference")
        module = prepare(compiled.module())
        request, candidates, whole = request_of(compiled, CANDIDATES, STEPS)
        steps = _steps(module, request, candidates, whole)
        for threads in sorted({1, options.threads}):
            torch.set_num_threads(threads)
            times = measure(steps, options.windows, options.seconds)
            what = f"{name}, {CANDIDATES} candidates, history {STEPS}, {threads} threads"
            found.append(ratio("P7", what, times["score"], times["forward"], WANTED))
    torch.set_num_threads(options.threads)
    return found


def request_of(model: Compiled, candidates: int, steps: int) -> tuple[Batch, Batch, Batch]:
    """A request, its candidates, and the request said again beside each of them."""
    made = torch.Generator().manual_seed(0)
    rows = {table.name: table.rows or 1 for table in model.graph.tables}
    parts: dict[str, dict[str, Tensor | Jagged]] = {"request": {}, "candidates": {}}
    for lookup in model.graph.lookups:
        count = 1 if lookup.side == "request" else candidates
        if lookup.table is None:
            value: Tensor | Jagged = torch.rand(count, lookup.width, generator=made)
        else:
            each = steps if lookup.kind == "sequence" else 2 if lookup.pool else 1
            value = torch.randint(rows[lookup.table], (count * each,), generator=made)
            if lookup.kind == "sequence" or lookup.pool:
                value = Jagged(value, torch.full((count,), each))
        parts[lookup.side][lookup.column] = value
    said = {name: with_rows(value, candidates) for name, value in parts["request"].items()}
    whole = {name: _copied(value) for name, value in said.items()}
    return Batch(parts["request"]), Batch(parts["candidates"]), Batch(whole | parts["candidates"])


def _copied(value: Tensor | Jagged) -> Tensor | Jagged:
    """As a batch has it, in memory of its own."""
    if isinstance(value, Jagged):
        return Jagged(value.values.contiguous(), value.lengths.contiguous())
    return value.contiguous()


def _steps(
    module: nn.Module, request: Batch, candidates: Batch, whole: Batch
) -> dict[str, Callable[[], object]]:
    score: Callable[..., dict[str, Tensor]] = module.score  # type: ignore[assignment]

    def scored() -> dict[str, Tensor]:
        with torch.inference_mode():
            return score(request, candidates)

    def forward() -> dict[str, Tensor]:
        with torch.inference_mode():
            found: dict[str, Tensor] = module(whole)
            return found

    for key, value in forward().items():
        torch.testing.assert_close(scored()[key], value, atol=1e-5, rtol=1e-5)
    return {"score": scored, "forward": forward}


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=7)
    args = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in machine(args.threads).items()))
    print(text(goal_rows(Options(threads=args.threads, windows=args.windows))))


if __name__ == "__main__":
    main()
