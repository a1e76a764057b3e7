"""bench, verify: the kernels of a recipe on this machine, timed and compared with torch."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    UsageError,
    library_of,
    memory_of,
    positive,
    recipe_options,
    recipe_path,
    share_the_cores,
)
from graphrec.cli.console import Console, write_file

if TYPE_CHECKING:
    from graphrec.compiler.kernel_lock import Lock
    from graphrec.compiler.pipeline import Compiled
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
    compiled, target = _settled(args)
    share_the_cores()
    from graphrec.verify.kernels import bench

    console.remark(
        f"timing the kernels of {compiled.graph.name} at batch {target.measured.batch},"
        f" {target.precision}, on {target.device}: a few seconds a node"
    )
    found = bench(compiled, target, args.repeats, console.remark)
    written = _write(path, lock, found, target.device)
    if console.json:
        console.data({**found.as_json(), "lock": written})
    else:
        console.problems(found.problems)
        console.result(found.as_text())
    if written:
        console.remark(f"wrote {written}: {_told(len(found.entries), target)}")
        _remark_unread(args, console)
    return 2 if found.problems else 0


def _told(entries: int, target: Target) -> str:
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
    written = read_recipe(path, allow_root=args.allow_root).train.batch
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
    from graphrec.errors import RecipeError

    lock, problems = read_lock(path) if path else (Lock(), [])
    if problems:
        raise RecipeError(problems)
    return lock


def _write(path: Path | None, lock: Lock, found: Bench, device: str) -> str | None:
    if path is None or not found.entries:
        return None
    write_file(str(path), lock.updated(device, found.machine, found.entries).text())
    return str(path)


def _verify(args: argparse.Namespace, console: Console) -> int:
    compiled, target = _settled(args)
    from graphrec.verify.kernels import verify

    found = verify(compiled, target, console.remark)
    if console.json:
        console.data(found.as_json())
    else:
        console.problems(found.problems)
        console.result(found.as_text())
    return 2 if found.problems else 0


def _settled(args: argparse.Namespace) -> tuple[Compiled, Target]:
    """The recipe compiled without measurements, for the device asked for."""
    from graphrec.compiler.pipeline import compile_recipe, recipe_target
    from graphrec.recipe import read_recipe

    path, overrides = recipe_path(args.recipe), list(args.overrides)
    if getattr(args, "batch", None):
        overrides.append(f"train.batch={args.batch}")
    recipe = read_recipe(path, overrides, allow_root=args.allow_root)
    target = recipe_target(recipe, _device(args))
    compiled = compile_recipe(
        path,
        overrides=overrides,
        library=library_of(args),
        target=target,
        allow_root=args.allow_root,
        max_memory=memory_of(args),
    )
    return compiled, target


def _device(args: argparse.Namespace) -> str:
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device here", args.usage)
    if args.device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(args.device)


def _device_option(parser: Parser) -> None:
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="where to run (default: cuda if there is one)"
    )


def _say_more(parser: Parser, text: str) -> None:
    parser.description = f"{parser.description}\n\n{text}"


def _bench_options(parser: Parser) -> None:
    _say_more(
        parser,
        "Every block and the tables run alone, on random inputs: forward, and forward with backward"
        "\n(tables: with the update). Each kernel is compared with torch before it is timed. `auto`"
        "\nis the fastest if that is 1.03x of torch or more, in training by forward with backward."
        "\nExit status: 0, or 2 if a kernel differs from torch (GR606; it is not timed).",
    )
    recipe_options(parser)
    _device_option(parser)
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


def _verify_options(parser: Parser) -> None:
    _say_more(
        parser,
        "Against torch in float64, on round and odd batches, histories full, mixed and empty. What"
        "\ncan't run on this machine is listed with the reason; Triton kernels run on the CPU in"
        "\nTriton's interpreter with TRITON_INTERPRET=1 GRAPHREC_KERNELS=triton in the environment."
        "\nExit status: 0 if all that ran agree, 2 if a kernel differs (GR606).",
    )
    recipe_options(parser)
    _device_option(parser)
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "bench",
        "time every kernel of a recipe at its own shapes; `auto` chooses by kernels.lock",
        _bench,
        _bench_options,
        (
            "graphrec bench my_recipe.yaml",
            "graphrec bench deepfm --batch 512 --no-lock --format json",
        ),
    ),
    Command(
        "verify",
        "compare every kernel of a recipe with torch: outputs and gradients",
        _verify,
        _verify_options,
        (
            "graphrec verify my_recipe.yaml",
            "TRITON_INTERPRET=1 GRAPHREC_KERNELS=triton graphrec verify my_recipe.yaml",
        ),
    ),
)
