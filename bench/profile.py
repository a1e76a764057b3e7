"""Where a training step's time goes: parts of the trainer's step as shares of it and of its bound.

    python -m bench.profile [--only dbmtl ple] [--batch 4096] [--threads 2] [--windows 7]

One table (bench/results/profile.md), one picture (profile.png, with matplotlib) and one JSON file.
Rows come from a Parquet file, through the loader: its CPU time, which threads spend beside the
step, is a part like the others. The parts are added up and compared with the same steps done whole,
turn by turn: `sum` is what they come to, and must be within 5 % of 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.timing import Time, machine, measure, run  # before torch: its threads must not spin

# isort: split
import torch

from bench.cases import FOLDER as RECIPES
from bench.goals.roofline import Limits, limits, probes
from bench.parquet_rows import write_rows
from bench.results import FOLDER
from bench.step_parts import PARTS, Clock, taken_apart
from bench.steps import trainer_of
from bench.work import Work, work_of
from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.data import Encoder, Loader, open_data
from graphrec.nn.batch import Batch

__all__ = ["Profile", "main", "profile", "table"]

CASES = ("deepfm", "dbmtl", "mmoe", "ple", "din")
PRECISIONS = ("fp32", "bf16")
COUNT = 6
"""Batches that are trained on in turn."""


@dataclass(frozen=True)
class Profile:
    """One recipe and precision: milliseconds of a step by part, by CPU time, and of the whole.

    `bound` are the milliseconds that no step can be faster than, by part.
    """

    case: str
    precision: str
    batch: int
    step: float
    wall: float
    parts: Mapping[str, float] = field(default_factory=dict)
    bound: Mapping[str, float] = field(default_factory=dict)

    @property
    def sum(self) -> float:
        """What the parts come to, over the step that was not taken apart."""
        return sum(self.parts.values()) / self.step


def profile(
    case: str, precision: str, limits: Limits, *, batch: int = 4096, windows: int = 7
) -> Profile:
    """Steps whole and taken apart, in turn; medians of CPU time."""
    overrides = [f"train.batch={batch}", f"train.precision={precision}"]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        data = Path(folder) / "rows.parquet"
        recipe = RECIPES / f"{case}.yaml"
        write_rows(compile_recipe(recipe).recipe, data, COUNT * batch)
        model = compile_recipe(recipe, overrides=[*overrides, f"data={{train: {data}}}"])
        loader, rows = _loader(model)
        batches = list(_batches(loader, batch))
        reading = statistics.median(_reading(loader, batch) for _ in range(windows))
        trainer = trainer_of(model, model.module(rows))
        given = itertools.cycle(batches)
        clock = Clock()
        whole, apart = [], []
        for window in range(windows + 1):
            spent = run(lambda: trainer._train(next(given)), COUNT)
            with taken_apart(trainer, clock):
                clock.start()
                for _ in range(COUNT):
                    trainer._train(next(given))
                clock.stop()
            if window:
                whole.append(spent)
                apart.append({name: times[1] for name, times in clock.spent.items()})
        wall, cpu = (1e3 * statistics.median(kind) / COUNT for kind in zip(*whole, strict=True))
        parts = {
            name: 1e3 * statistics.median(one.get(name, 0.0) for one in apart) / COUNT
            for name in PARTS
        }
        parts["loader"] = 1e3 * reading
        bound = _bound(work_of(trainer.module, batches[0]), limits, precision)
    return Profile(case, precision, batch, cpu + parts["loader"], wall, parts, bound)


def _loader(model: Compiled) -> tuple[Loader, Mapping[str, int]]:
    recipe = model.recipe
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    return Loader(recipe, encoder, data.train, recipe.train.batch, shuffle=True), encoder.rows


def _batches(loader: Loader, size: int) -> Iterator[Batch]:
    with closing(loader.epoch(0)) as batches:
        yield from (batch for batch in batches if batch.num_rows == size)


def _reading(loader: Loader, size: int) -> float:
    """CPU seconds of a batch in all threads of the loader."""
    return run(lambda: list(_batches(loader, size)), 1)[1] / COUNT


def _limits_by_cpu() -> Limits:
    """The limits by CPU time, spread over the threads: waiting for others is no part of them."""
    threads = torch.get_num_threads()
    times = measure(probes(), 3, 0.1)
    return limits({name: Time(time.cpu / threads, time.cpu) for name, time in times.items()})


def _bound(work: Work, found: Limits, precision: str) -> dict[str, float]:
    """Milliseconds of CPU time by part: as many threads as the limits were measured with."""
    rate = found.fp32 if precision == "fp32" else found.bf16
    tables = work.lookups / found.gather + 2 * work.lookups / found.update
    seconds = {
        "forward": work.forward / rate,
        "backward": work.backward / rate,
        "tables": tables,
        "dense optimizer": 7 * 4 * work.dense / found.copy,
    }
    return {name: 1e3 * torch.get_num_threads() * value for name, value in seconds.items()}


def table(profiles: list[Profile]) -> str:
    """A row for each recipe and precision: shares of the step, and how near to their bounds."""
    head = ["recipe", "", "CPU ms", "wall ms", *PARTS, "sum", "of the bound"]
    lines = [head, ["---"] * len(head)]
    for one in profiles:
        shares = [f"{one.parts[name] / one.step:.1%}" for name in PARTS]
        for at, name in enumerate(PARTS):
            if name in one.bound:
                shares[at] += f" ({one.bound[name] / one.parts[name]:.0%})"
        of_bound = f"{sum(one.bound.values()) / one.step:.0%}"
        whole = [f"{one.step:.2f}", f"{one.wall:.2f}"]
        name = f"{one.case} B {one.batch}"
        lines.append([name, one.precision, *whole, *shares, f"{one.sum:.3f}", of_bound])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(
        prog="bench.profile", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--print", action="store_true", help="the table alone, no files")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    about = machine(args.threads)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    profiles = []
    for case, precision in itertools.product(args.only, args.precision):
        found = _limits_by_cpu()  # beside every model: the machine is not alone
        made = profile(case, precision, found, batch=args.batch, windows=args.windows)
        print(table([made]).splitlines()[-1], flush=True)
        profiles.append(made)
    print(table(profiles))
    if not args.print:
        _save(profiles, about)


def _save(profiles: list[Profile], about: Mapping[str, object]) -> None:
    rows = [asdict(one) | {"sum": one.sum} for one in profiles]
    content = json.dumps({"about": about, "rows": rows}, indent=1)
    (FOLDER / "profile.json").write_text(content + "\n")
    lines = [
        "# Where a step's time goes",
        "",
        *(_HEADER.strip().splitlines()),
        "",
        table(profiles),
        "",
        "![shares of a step](profile.png)",
    ]
    (FOLDER / "profile.md").write_text("\n".join(lines) + "\n")
    try:
        from bench.plots import draw_profile
    except ImportError:
        print("no picture: pip install 'graphrec[bench]'")
    else:
        draw_profile(rows)


_HEADER = """
`python -m bench.profile` writes this page. CPU time of all threads: shares of the whole step, its
loader included; in brackets how near a part is to what this machine's limits allow (products at the
rate of a large matrix product, rows at that of random reads and writes, parameters at that of a
copy; above 100 % are rows that the native update writes faster than torch, whose rate is the
limit's). `sum`: all parts over the same steps not taken apart. `trainer` is what lies outside all
parts: guards, clearing of gradients, the loop.
"""


if __name__ == "__main__":
    main()
