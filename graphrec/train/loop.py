"""`train`: from a compiled recipe to a finished run folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from graphrec.compiler.pipeline import Compiled
from graphrec.data import DataSet, Encoder, Items, Loader, Negatives, open_data
from graphrec.ground.errors import (
    CheckpointError,
    DataError,
    Interrupted,
    Problem,
    RecipeError,
    machine_fault,
)
from graphrec.nn.native.compiled import why_not
from graphrec.recipe import recipe_hash
from graphrec.recipe.model import Recipe
from graphrec.recipe.tasks import INSIDE, has_inside
from graphrec.train import checkpoint
from graphrec.train.balance import make_balance
from graphrec.train.device import find_device
from graphrec.train.optimizers import make_optimizers
from graphrec.train.process import keep_freed_memory
from graphrec.train.progress import Console, Progress, clock, score_table
from graphrec.train.remarks import as_json, remarks_text, training_remarks
from graphrec.train.report import write_report
from graphrec.train.resume import identity_of, learned_encoder, newest_checkpoint, write_folder
from graphrec.train.run import Run, command_line, open_run
from graphrec.train.run_files import run_files
from graphrec.train.saving import try_saving
from graphrec.train.schedules import needs_total
from graphrec.train.signals import Signals
from graphrec.train.teachers import load_teachers
from graphrec.train.tensorboard import TensorBoard
from graphrec.train.trainer import Trainer
from graphrec.train.watched import best_checkpoint

__all__ = ["OneProcess", "known_updates", "train"]


class OneProcess:
    """How the parts of a run come about; `graphrec.distributed` has this for many processes."""

    def open_run(self, base: Path, identity: dict[str, str], console: Console) -> Run:
        """The run folder."""
        return open_run(base, identity, console.remark)

    def fit(self, recipe: Recipe, data: DataSet) -> Encoder:
        """What the training rows teach."""
        return Encoder.fit(recipe, data.train, data.items)

    def trainer(
        self,
        compiled: Compiled,
        data: DataSet,
        encoder: Encoder,
        run: Run,
        device: torch.device,
    ) -> Trainer:
        """What trains; everything it reads is in the run folder."""
        return _trainer(compiled, data, encoder, run, device)

    def try_saving(self, trainer: Trainer) -> None:
        """Learn before training whether checkpoints can be written."""
        try_saving(trainer.saver.parent, trainer.state())


def train(
    compiled: Compiled,
    *,
    console: Console,
    run_dir: str | Path | None = None,
    command: Sequence[str] = (),
    plugins: Sequence[str] = (),
    processes: OneProcess | None = None,
) -> Run:
    """Train a compiled recipe; returns its run folder.

    It runs on the device that it was compiled for (see `compile_for`). An unfinished run of the
    same recipe and data is resumed, whatever its device was. Raises DataError, CheckpointError or
    EnvironmentFault (also for a full disk or memory that ran out); after SIGINT, SIGTERM or SIGHUP
    saves a checkpoint and raises SystemExit(130, 143 or 129).
    """
    recipe, device = compiled.recipe, find_device(compiled.device)
    keep_freed_memory()
    data = open_data(recipe)
    _check_selection(recipe, data, console)
    base = Path(run_dir or recipe.train.dir or Path("runs") / recipe.name)
    here = processes or OneProcess()
    identity = identity_of(compiled, data)
    run = here.open_run(base, identity, console)
    try:
        newest = newest_checkpoint(run, device, console.remark) if run.resumed else None
        checkpoint.sweep(run.checkpoints)
        encoder = learned_encoder(recipe, data, run, here.fit)
        write_folder(compiled, run, identity, command, plugins)
        run.rewind(newest.position if newest else None)
        trainer = here.trainer(compiled, data, encoder, run, device)
        if newest is not None:
            _restore(trainer, newest)
        here.try_saving(trainer)
        _loop(trainer, data, console)
        _finish(trainer, console, command)
    except BaseException as error:
        run.discard_unused()
        fault = machine_fault(error, "; the same command goes on from the last checkpoint")
        if fault is None:
            raise
        raise fault from error
    finally:
        run.close()
    return run


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
        raise Interrupted(signals.status)


def _finish(trainer: Trainer, console: Console, command: Sequence[str]) -> None:
    run, recipe, position = trainer.run_folder, trainer.recipe, trainer.position
    best = best_checkpoint(recipe, run.checkpoints)
    remarks = training_remarks(trainer)
    write_report(trainer, best, command, remarks)
    run.finish(remarks=as_json(remarks))
    lines = [
        f"trained {position.trained:,} rows in {position.step:,} steps, {clock(position.seconds)}"
    ]
    shown = best.position.scores if best is not None else position.scores
    if shown:
        name = f"best checkpoint, step {shown['step']}" if best is not None else "last checkpoint"
        lines += [f"evaluation of the {name}:", score_table(recipe, shown, trainer.reachable)]
    lines.append(f"report    {run.folder / 'report.html'}, and as text in report.md")
    lines.append(f"model     {run.folder / 'model.py'}, weights in {run.checkpoints}")
    if trainer.eval_loader is not None:
        lines.append(f"evaluate  {command_line(['graphrec', 'evaluate', str(run.folder)])}")
    console.result("\n".join(lines))
    if remarks:
        console.remark(remarks_text(remarks))


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


def _trainer(
    compiled: Compiled,
    data: DataSet,
    encoder: Encoder,
    run: Run,
    device: torch.device,
) -> Trainer:
    recipe = compiled.recipe
    seed, batch = recipe.train.seed, recipe.train.batch
    seen = encoder.seen_values()
    learning, known = (encoder.with_seen(seen, learns=learns) for learns in (True, False))
    items = None if data.items is None else Items(encoder, data.items)
    negatives = None if items is None else Negatives(encoder, items, data.train, seed)
    loader = Loader(
        recipe, learning, data.train, batch, shuffle=True, seed=seed, negatives=negatives
    )
    evaluated = None
    if data.eval is not None:
        evaluated = Loader(recipe, known, data.eval, batch, shuffle=False, seed=seed)
    module = compiled.module(encoder.rows, run.folder / "model.py").to(device)
    balance = make_balance(recipe, module)
    learned = {} if balance is None else {"balance": balance.to(device)}
    optimizers = make_optimizers(module, recipe, known_updates(recipe, loader), learned)
    # Weights have seeds of their own; this one is for dropout.
    torch.manual_seed(seed)
    parts = (recipe, compiled.graph, module, optimizers, loader, evaluated, run)
    trainer = Trainer(*parts, recipe_hash(recipe), device, balance, items)
    trainer.saver.run_files = run_files(run.folder)
    trainer.seen = seen
    trainer.losses.teachers = load_teachers(recipe, encoder, device)
    return trainer


def _restore(trainer: Trainer, start: checkpoint.Checkpoint) -> None:
    try:
        trainer.restore(start)
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            Problem("GR808", f"{start.folder} does not fit this model: {str(error)[:300]}")
        ) from error


def total_updates(recipe: Recipe, loader: Loader) -> int | None:
    """Updates of the whole run; None where only reading the data tells."""
    if recipe.train.steps is not None:
        return recipe.train.steps
    if loader.num_batches is None:
        return None
    return math.ceil(loader.num_batches / recipe.train.accumulate) * (recipe.train.epochs or 1)


def known_updates(recipe: Recipe, loader: Loader) -> int | None:
    total = total_updates(recipe, loader)
    needing = [s for s in (recipe.train.schedule, recipe.train.of_tables) if needs_total(s)]
    if total is None and needing:
        raise RecipeError(
            Problem(
                "GR239",
                f"schedule {needing[0].kind} needs the number of updates, "
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
    learned = ", ".join(recipe.tasks or recipe.losses)
    name = f"{recipe.name} ({learned})" if learned else recipe.name
    return (
        f"train {name} on {epochs}{rows}{' for ' + steps if steps else ''} "
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
