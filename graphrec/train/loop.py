"""`train`: from a compiled recipe to a finished run folder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphrec.compiler.pipeline import Compiled
from graphrec.data import DataSet, Encoder, Loader, open_data
from graphrec.errors import CheckpointError, DataError, Problem, RecipeError
from graphrec.nn.native.compiled import why_not
from graphrec.recipe import canonical, recipe_hash
from graphrec.recipe.model import IdFeature, Recipe
from graphrec.recipe.tasks import INSIDE, has_inside
from graphrec.train import checkpoint
from graphrec.train.balance import make_balance
from graphrec.train.optimizers import make_optimizers
from graphrec.train.progress import Console, Progress, clock, score_table
from graphrec.train.report import write_report
from graphrec.train.run import Run, command_line, open_run, read_info, versions
from graphrec.train.run_files import check_files, run_files, write_text
from graphrec.train.saving import try_saving
from graphrec.train.schedules import needs_total
from graphrec.train.signals import Signals
from graphrec.train.tensorboard import TensorBoard
from graphrec.train.trainer import Trainer, best_checkpoint
from graphrec.views.pictures import svg

__all__ = ["train"]


def train(
    compiled: Compiled,
    *,
    console: Console,
    run_dir: str | Path | None = None,
    command: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> Run:
    """Train a compiled recipe; returns its run folder.

    An unfinished run of the same recipe and data is resumed. Raises DataError, CheckpointError or
    EnvironmentFault; after SIGINT or SIGTERM saves a checkpoint and raises SystemExit(130 or 143).
    """
    recipe = compiled.recipe
    data = open_data(recipe)
    _check_selection(recipe, data, console)
    base = Path(run_dir or recipe.train.dir or Path("runs") / recipe.name)
    run = open_run(base, _identity(compiled, data), console.remark)
    try:
        newest = _newest(run, console) if run.resumed else None
        checkpoint.sweep(run.checkpoints)
        encoder = _encoder(recipe, data, run)
        _write_folder(compiled, run, _identity(compiled, data), command, plugins)
        run.rewind(newest.position if newest else None)
        trainer = _trainer(compiled, data, encoder, run)
        if newest is not None:
            _restore(trainer, newest)
        try_saving(run.checkpoints, trainer.state())
        _loop(trainer, data, console)
        _finish(trainer, console, command)
    except BaseException:
        run.discard_unused()
        raise
    finally:
        run.close()
    return run


def _identity(compiled: Compiled, data: DataSet) -> dict[str, str]:
    """What makes a run another one: its recipe, its data, and the measurements kernels follow."""
    lock = compiled.lock.read_bytes() if compiled.lock is not None else b""
    return {
        "recipe": recipe_hash(compiled.recipe),
        "fingerprint": data.fingerprint,
        "lock": hashlib.sha256(lock).hexdigest() if lock else "",
    }


def _newest(run: Run, console: Console) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from, with everything that differs from then said."""
    found = checkpoint.survey(run.checkpoints)
    damaged = found.newer()
    if damaged and found.newest is None:
        help = f"bring one back from a copy; or train anew: --run DIR, or remove {run.folder}"
        problems = [replace(p, help=help) for error in damaged for p in error.problems]
        raise CheckpointError(problems)
    for problem in (p for error in damaged for p in error.problems):
        console.remark(f"{problem.message}: going on from an older checkpoint")
    if found.newest is None:
        return None
    check_files(run.folder, found.newest.run_files)
    for difference in _differences(read_info(run.folder)):
        console.remark(f"{difference}: the last digits may differ from an unbroken run")
    return found.newest


def _differences(begun: Mapping[str, Any]) -> Iterator[str]:
    """What of this machine differs from how the run was begun, as far as sums depend on it."""
    threads, now = begun.get("threads"), torch.get_num_threads()
    if threads != now:
        yield f"the run was begun with {threads} threads and goes on with {now}"
    native = [
        f"without native kernels ({why})" if why else "with native kernels"
        for why in (begun.get("native", ""), why_not())
    ]
    if native[0] != native[1]:
        yield f"the run was begun {native[0]} and goes on {native[1]}"


def _loop(trainer: Trainer, data: DataSet, console: Console) -> None:
    position, run = trainer.position, trainer.run_folder
    console.remark(_start_line(trainer, data))
    if run.resumed:
        console.remark(f"going on from step {position.step} in {run.folder}")
    why = why_not()
    if why and trainer.device.type == "cpu" and "GRAPHREC_NATIVE" not in why:
        console.remark(f"no native kernels, torch's own do their work, slower: {why}")
    trainer.reachable = _reachable(trainer.recipe, data)
    board = TensorBoard(run.folder / "tensorboard", position.step)
    if board.missing:
        console.remark("tensorboard is not installed; metrics.jsonl has the same numbers")
    total = total_updates(trainer.recipe, trainer.loader)
    try:
        with Signals() as signals, Progress(console, total, position.step) as progress:
            trainer.run(progress, signals, board)
    finally:
        board.close()
    if signals.received is not None and not trainer.position.finished:
        console.remark(
            f"interrupted: a checkpoint of step {trainer.position.step} is in {run.folder}; "
            "the same command goes on from there"
        )
        raise SystemExit(signals.status)


def _finish(trainer: Trainer, console: Console, command: Sequence[str]) -> None:
    run, recipe, position = trainer.run_folder, trainer.recipe, trainer.position
    best = best_checkpoint(recipe, run.checkpoints)
    write_report(trainer, best, command)
    run.finish()
    lines = [
        f"trained {position.trained:,} rows in {position.step:,} steps, {clock(position.seconds)}"
    ]
    shown = best.position.scores if best is not None else position.scores
    if shown:
        name = f"best checkpoint, step {shown['step']}" if best is not None else "last checkpoint"
        lines += [f"evaluation of the {name}:", score_table(recipe, shown, trainer.reachable)]
    lines.append(f"report    {run.folder / 'report.md'}")
    lines.append(f"model     {run.folder / 'model.py'}, weights in {run.checkpoints}")
    if trainer.eval_loader is not None:
        lines.append(f"evaluate  {command_line(['graphrec', 'evaluate', str(run.folder)])}")
    console.result("\n".join(lines))


# ---- setting up ---------------------------------------------------------------------------------


def _check_selection(recipe: Recipe, data: DataSet, console: Console) -> None:
    if data.eval is not None:
        return
    if recipe.train.early_stop is not None:
        raise DataError(
            Problem(
                "GR721",
                "train.early_stop needs evaluation data",
                path="train.early_stop",
                help="add data.eval or data.split to the recipe, or -o data.eval=FILES.parquet",
            )
        )
    if recipe.train.save.best is not None:
        console.remark("no evaluation rows (data.eval): the last checkpoint counts as the best")


def _encoder(recipe: Recipe, data: DataSet, run: Run) -> Encoder:
    """What was learned from the training data: kept with the run, where it has come so far."""
    if run.resumed and (learned := read_info(run.folder).get("files")):
        check_files(run.folder, learned)
        return Encoder.load(recipe, run.folder)
    if run.resumed and checkpoint.latest(run.checkpoints):
        return Encoder.load(recipe, run.folder)
    encoder = Encoder.fit(recipe, data.train)
    encoder.save(run.folder)
    return encoder


def _write_folder(
    compiled: Compiled,
    run: Run,
    identity: dict[str, str],
    command: Sequence[str],
    plugins: Sequence[str],
) -> None:
    recipe = run.folder / "recipe.yaml"
    if not run.resumed or not recipe.exists():
        # Once: checkpoints hold its hash, and paths in it may be other ones today.
        write_text(recipe, canonical(compiled.recipe))
    if compiled.lock is not None:  # what is evaluated later runs the kernels of the training
        write_text(run.folder / compiled.lock.name, compiled.lock.read_text(encoding="utf-8"))
    write_text(run.folder / "model.py", compiled.source.text)
    write_text(run.folder / "graph.svg", svg(compiled.graph))
    run.info(
        **identity,
        name=compiled.recipe.name,
        command=command_line(command),
        seed=compiled.recipe.train.seed,
        threads=torch.get_num_threads(),
        native=why_not(),
        versions=versions(),
        plugins=list(plugins),
        vocabulary_files=[
            name
            for name, feature in compiled.recipe.features.items()
            if isinstance(feature, IdFeature) and feature.vocab.name == "file"
        ],
        files=run_files(run.folder),
        finished=False,
    )


def _trainer(compiled: Compiled, data: DataSet, encoder: Encoder, run: Run) -> Trainer:
    recipe = compiled.recipe
    seed, batch = recipe.train.seed, recipe.train.batch
    loader = Loader(recipe, encoder, data.train, batch, shuffle=True, seed=seed)
    evaluated = None
    if data.eval is not None:
        evaluated = Loader(recipe, encoder, data.eval, batch, shuffle=False, seed=seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = compiled.module(encoder.rows, run.folder / "model.py").to(device)
    balance = make_balance(recipe, module)
    learned = {} if balance is None else {"balance": balance.to(device)}
    optimizers = make_optimizers(module, recipe, _known_updates(recipe, loader), learned)
    # Weights have seeds of their own; this one is for dropout.
    torch.manual_seed(seed)
    parts = (recipe, compiled.graph, module, optimizers, loader, evaluated, run)
    trainer = Trainer(*parts, recipe_hash(recipe), device, balance)
    trainer.saver.run_files = run_files(run.folder)
    return trainer


def _restore(trainer: Trainer, found: checkpoint.Checkpoint) -> None:
    try:
        trainer.restore(found)
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            Problem("GR808", f"{found.folder} does not fit this model: {str(error)[:300]}")
        ) from error


def total_updates(recipe: Recipe, loader: Loader) -> int | None:
    """Updates of the whole run; None where only reading the data tells."""
    if recipe.train.steps is not None:
        return recipe.train.steps
    if loader.num_batches is None:
        return None
    return math.ceil(loader.num_batches / recipe.train.accumulate) * (recipe.train.epochs or 1)


def _known_updates(recipe: Recipe, loader: Loader) -> int | None:
    total = total_updates(recipe, loader)
    if total is None and needs_total(recipe.train.schedule):
        raise RecipeError(
            Problem(
                "GR239",
                f"schedule {recipe.train.schedule.kind} needs the number of updates, "
                "which these files only tell when they are read",
                path="train.schedule",
                help="say train.steps instead of epochs, or use Parquet",
            )
        )
    return total


def _start_line(trainer: Trainer, data: DataSet) -> str:
    recipe, loader = trainer.recipe, trainer.loader
    rows = f"{loader.num_rows:,} rows" if loader.num_rows is not None else "rows"
    steps = f"{recipe.train.steps:,} steps" if recipe.train.steps else ""
    epochs = f"{recipe.train.epochs or 1} x " if not steps else ""
    tasks = ", ".join(recipe.tasks)
    return (
        f"train {recipe.name} ({tasks}) on {epochs}{rows}{' for ' + steps if steps else ''} "
        f"of {data.train.name}, batch {recipe.train.batch:,}\n"
        f"{_parameters(trainer.module):,} parameters on {trainer.device.type}, "
        f"{torch.get_num_threads()} threads, {recipe.train.precision}; run folder "
        f"{trainer.run_folder.folder}"
    )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _reachable(recipe: Recipe, data: DataSet) -> dict[str, dict[str, float]]:
    """The best scores that are possible, by task and metric, where the data was generated."""
    if recipe.data.synthetic is None:
        return {}
    from graphrec.data.synthetic import SyntheticSource

    assert isinstance(data.train, SyntheticSource)
    best = {task: data.train.best(task, inside=False) for task in recipe.tasks}
    spaces = {n: data.train.best(n) for n, task in recipe.tasks.items() if has_inside(task)}
    return best | {name + INSIDE: scores for name, scores in spaces.items()}
