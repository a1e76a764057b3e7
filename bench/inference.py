"""Inference: the generated module as it is, prepared, and compiled ahead of time; B 1, 64, 4096.

    python -m bench.inference [deepfm|RECIPE.yaml ...] [--bf16] [--threads 1] [--windows 7]

Candidates take turns in one process; medians of the windows, milliseconds a batch, and how many
times as fast as the first: the model by hand in eager mode where bench has it (deepfm), else the
generated module. Outputs are compared first. Ahead-of-time compilation takes a minute a model.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.cases import HAND, batches, compiled
from bench.options import Options
from bench.results import Row, ratio
from bench.steps import by_hand
from bench.timing import Time, measure
from graphrec.compiler.pipeline import Compiled
from graphrec.nn import Batch, Jagged, prepare

SIZES = (1, 64, 4096)
GOALS = {1: 2.3}
"""Batch -> how many times as fast as by hand the module compiled ahead of time is to be."""
LONGEST = 30
Step = Callable[[], object]


def rows(model: Compiled, size: int) -> Batch:
    """Random ids; histories of 0 to 30 steps, bags of 0 to 3 values."""
    random = torch.Generator().manual_seed(size)
    counts = {table.name: table.rows or 1 for table in model.graph.tables}
    lengths: dict[str, Tensor] = {}
    lookups = {c.column: c for c in (*model.graph.first_order, *model.graph.lookups)}

    def column(of: str) -> Tensor | Jagged:
        lookup = lookups[of]
        if lookup.kind not in ("id", "sequence"):
            return torch.rand(size, lookup.width, generator=random)
        most, name = counts[lookup.table or ""], lookup.column.partition(".")[0]
        if lookup.kind == "id" and not lookup.pool:
            return torch.randint(0, most, (size,), generator=random)
        longest = LONGEST if lookup.kind == "sequence" else 3
        if name not in lengths:
            lengths[name] = torch.randint(0, longest + 1, (size,), generator=random)
        count = int(lengths[name].sum())
        return Jagged(torch.randint(0, most, (count,), generator=random), lengths[name])

    return Batch({name: column(name) for name in lookups})


def ahead_of_time(module: nn.Module, example: Batch, folder: Path) -> Callable[[Batch], object]:
    """The prepared module through torch.export and AOTInductor, any number of rows."""
    shapes = torch.export.ShapesCollection()
    for value in example.features.values():
        for tensor in (value.values, value.lengths) if isinstance(value, Jagged) else (value,):
            shapes[tensor] = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "m.pt2"))
    compiled: Callable[[Batch], object] = torch._inductor.aoti_load_package(path)
    return compiled


def logits(found: object) -> Tensor:
    """All logits of an answer."""
    if isinstance(found, dict):
        return torch.stack([found[key] for key in sorted(found) if key.startswith("logits")])
    assert isinstance(found, tuple)
    return torch.stack(found)


def goal_rows(options: Options) -> list[Row]:
    """P6's stand-in: the fastest form of DeepFM against the model by hand in eager mode."""
    torch.set_num_threads(1)
    found = []
    for size, times in compare("deepfm", True, options.windows, options.seconds).items():
        hand, goal = times["by hand"], GOALS.get(size)
        for kind in ("generated", "prepared", "prepared, AOTInductor"):
            wanted = goal if kind.endswith("AOTInductor") else None
            what = f"deepfm B {size}, 1 thread: {kind} / by hand in eager mode"
            found.append(ratio("P6", what, times[kind], hand, wanted))
        best = min((k for k in times if "bf16" in k), key=lambda kind: times[kind].wall)
        what = f"deepfm B {size}, 1 thread: {best} / by hand in eager mode, fp32"
        found.append(ratio("P6", what, times[best], hand))
    torch.set_num_threads(options.threads)
    return found


def compare(name: str, bf16: bool, windows: int, seconds: float) -> dict[int, dict[str, Time]]:
    """Print the tables of one model; its times by batch."""
    found: dict[int, dict[str, Time]] = {}
    model = compiled(name)
    module = model.module({t.name: 1000 for t in model.graph.tables if t.rows is None}).eval()
    modules = {"generated": module, "prepared": prepare(copy.deepcopy(module))}
    if bf16:
        modules["prepared bf16"] = prepare(copy.deepcopy(module), torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        calls: dict[str, Callable[[Batch], object]] = dict(modules)
        for kind in [k for k in modules if k != "generated"]:
            place = Path(folder) / kind
            place.mkdir()
            calls[f"{kind}, AOTInductor"] = ahead_of_time(modules[kind], rows(model, 37), place)
        for size in SIZES:
            batch = rows(model, size)
            steps: dict[str, Step] = {
                kind: (lambda call=call, batch=batch: call(batch)) for kind, call in calls.items()
            }
            if name in HAND:
                (data,) = batches(model, size, 1)
                hand = by_hand(name, model, [data], tables="sparse", weights=module).module.eval()
                # In the order of the example: an exported program knows its inputs by place.
                batch = Batch({name: data.batch.features[name] for name in batch.features})
                steps = {
                    "by hand": lambda data=data, hand=hand: hand(data.ids, data.numbers),
                    **{k: (lambda call=c, batch=batch: call(batch)) for k, c in calls.items()},
                }
            found[size] = show(f"{name}, batch {size}", steps, windows, seconds)
    return found


def show(title: str, steps: dict[str, Step], windows: int, seconds: float) -> dict[str, Time]:
    """Compare the outputs, then time and print; a ValueError where outputs differ."""
    first = next(iter(steps))
    wanted = logits(steps[first]())
    gaps = {kind: float((logits(step()) - wanted).abs().max()) for kind, step in steps.items()}
    for kind, gap in gaps.items():
        if not gap <= (2e-2 if "bf16" in kind else 1e-4):
            raise ValueError(f"{title}: {kind} differs from {first} by {gap:.1e}")
    times = measure(steps, windows, seconds)
    print(f"\n{title}\n{'':28} {'wall ms':>9} {'x':>6} {'cpu ms':>9} {'x':>6} {'differs':>9}")
    for kind, time in times.items():
        wall, cpu = time.over(times[first])
        print(
            f"{kind:28} {time.wall:9.3f} {wall:6.2f} {time.cpu:9.3f} {cpu:6.2f} {gaps[kind]:9.1e}"
        )
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=["deepfm"])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a window")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    for name in args.models:
        compare(name, args.bf16, args.windows, args.seconds)
    print(f"\ntorch {torch.__version__}, {args.threads} threads, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
