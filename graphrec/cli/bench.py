"""bench: every kernel of a recipe timed on this machine, at its own shapes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    UsageError,
    allowed_of,
    device_option,
    positive,
    recipe_options,
    recipe_path,
    settings_of,
)
from graphrec.cli.console import Console
from graphrec.ground.text import write_text

if TYPE_CHECKING:
    from graphrec.compiler.kernel_lock import Lock
    from graphrec.compiler.target import Target
    from graphrec.verify.kernels import Bench

__all__ = ["COMMANDS"]


def _bench(args: argparse.Namespace, console: Console) -> int:
    from graphrec.verify.kernels.jobs import interpreted

    if interpreted():
        what = "times in Triton's interpreter mean nothing: unset TRITON_INTERPRET"
        raise UsageError(what, args.usage)
    path = _lock_path(args)
    lock = _known(path)
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.verify.kernels import bench, unmeasured

    settings = settings_of(args)
    if args.batch:
        settings["overrides"] = [*args.overrides, f"train.batch={args.batch}"]
    compiled, target = unmeasured(**settings)

    console.remark(
        f"timing the kernels of {compiled.graph.name} at batch {target.measured.batch},"
        f" {target.precision}, on {target.device}: a few seconds a node"
    )
    times = bench(compiled, target, args.repeats, console.remark)
    written = _write(path, lock, times, target.device)
    if console.json:
        console.data({**times.as_json(), "lock": written})
    else:
        console.problems(times.problems)
        console.result(times.as_text())
    if written:
        console.remark(f"wrote {written}: {_summary(len(times.entries), target)}")
        _remark_unread(args, console)
    return 2 if times.problems else 0


def _summary(entries: int, target: Target) -> str:
    many = "entry" if entries == 1 else "entries"
    return f"{entries} {many} for batch {target.measured.batch} on {target.device}"


def _remark_unread(args: argparse.Namespace, console: Console) -> None:
    """Times that `auto` will not look at: of another batch, in another file."""
    from graphrec.compiler.kernel_lock import lock_path
    from graphrec.recipe import read_recipe

    path = recipe_path(args.recipe)
    usual = lock_path(path)
    if args.lock is not None and Path(args.lock).resolve() != usual.resolve():
        console.remark(f"`auto` reads {usual}, not this file")
    written = read_recipe(path, **allowed_of(args)).train.batch
    if args.batch not in (None, written):
        console.remark(
            f"the recipe says train.batch {written}: with that `auto` finds none of these times;"
            f" give -o train.batch={args.batch}, or bench without --batch"
        )


def _lock_path(args: argparse.Namespace) -> Path | None:
    from graphrec.compiler.kernel_lock import lock_path

    if args.no_lock:
        return None
    path = lock_path(recipe_path(args.recipe)) if args.lock is None else Path(args.lock)
    # Told before minutes of timing, not after them.
    if not path.name or not os.access(path.parent, os.W_OK):
        what = f"can't write `{args.lock or path}`: --lock FILE in a folder you may write to"
        raise UsageError(f"{what}, or --no-lock", args.usage)
    return path


def _known(path: Path | None) -> Lock:
    """What is measured already; a damaged file is told before anything is timed."""
    from graphrec.compiler.kernel_lock import Lock, read_lock
    from graphrec.ground.errors import RecipeError

    lock, problems = read_lock(path) if path else (Lock(), [])
    if problems:
        raise RecipeError(problems)
    return lock


def _write(path: Path | None, lock: Lock, times: Bench, device: str) -> str | None:
    if path is None or not times.entries:
        return None
    write_text(path, lock.updated(device, times.machine, times.entries).text())
    return str(path)


def _options(parser: Parser) -> None:
    parser.description = f"{parser.description}\n\n" + (
        "Every block and the tables run alone, on random inputs: forward, and forward with backward"
        "\n(tables: with the update). Each kernel is compared with torch before it is timed. `auto`"
        "\nis the fastest if that is 1.03x of torch or more, in training by forward with backward."
        "\nExit status: 0, or 2 if a kernel differs from torch (GR606; it is not timed)."
    )
    recipe_options(parser)
    device_option(parser)
    parser.add_argument(
        "--batch", metavar="N", type=positive, help="rows of a batch (default: train.batch)"
    )
    parser.add_argument(
        "--repeats",
        metavar="N",
        type=positive,
        default=7,
        help="windows of 40 ms for every time; the median counts (default: 7)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--lock",
        metavar="PATH",
        help="file of the times (default: kernels.lock beside the recipe; where the recipe is a"
        " shipped one, in the working directory)",
    )
    where.add_argument("--no-lock", action="store_true", help="print times, write no file")
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "bench",
        "time every kernel of a recipe at its own shapes; `auto` chooses by kernels.lock",
        _bench,
        _options,
        (
            "graphrec bench my_recipe.yaml",
            "graphrec bench deepfm --batch 512 --no-lock --format json",
        ),
    ),
)
