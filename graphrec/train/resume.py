"""What a run folder begins with, and what of it is gone on from: nothing of it is learned twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from graphrec.compiler.pipeline import Compiled
from graphrec.data import DataSet, Encoder
from graphrec.ground.errors import CheckpointError
from graphrec.ground.text import write_text
from graphrec.nn.native.compiled import why_not
from graphrec.recipe import canonical, recipe_hash
from graphrec.recipe.model import IdFeature, Recipe
from graphrec.train import checkpoint
from graphrec.train.checkpoint import Checkpoint
from graphrec.train.run import Run, command_line, read_info, versions
from graphrec.train.run_files import check_files, run_files
from graphrec.views.pictures import svg

__all__ = ["identity_of", "learned_encoder", "newest_checkpoint", "write_folder"]


def identity_of(compiled: Compiled, data: DataSet) -> dict[str, str]:
    """What makes a run another one: its recipe, its data, and the measurements kernels follow."""
    lock = compiled.lock.read_bytes() if compiled.lock is not None else b""
    return {
        "recipe": recipe_hash(compiled.recipe),
        "fingerprint": data.fingerprint,
        "lock": hashlib.sha256(lock).hexdigest() if lock else "",
    }


def newest_checkpoint(
    run: Run, device: torch.device, say: Callable[[str], None]
) -> Checkpoint | None:
    """The checkpoint to go on from, with everything that differs from then said."""
    saved = checkpoint.survey(run.checkpoints)
    damaged = saved.newer()
    if damaged and saved.newest is None:
        help = f"bring one back from a copy; or train anew: --run DIR, or remove {run.folder}"
        problems = [replace(p, help=help) for error in damaged for p in error.problems]
        raise CheckpointError(problems)
    for problem in (p for error in damaged for p in error.problems):
        say(f"{problem.message}: going on from an older checkpoint")
    if saved.newest is None:
        return None
    check_files(run.folder, saved.newest.run_files)
    for difference in _differences(read_info(run.folder), device):
        say(f"{difference}: the last digits may differ from an unbroken run")
    return saved.newest


def _differences(begun: Mapping[str, Any], device: torch.device) -> Iterator[str]:
    """What of this machine differs from how the run was begun, as far as sums depend on it."""
    threads, now = begun.get("threads"), torch.get_num_threads()
    if threads != now:
        yield f"the run was begun with {threads} threads and goes on with {now}"
    before = begun.get("device", device.type)  # runs of format 1 did not say
    if before != device.type:
        yield f"the run was begun on {before} and goes on with {device.type}"
    native = [
        f"without native kernels ({why})" if why else "with native kernels"
        for why in (begun.get("native", ""), why_not())
    ]
    if native[0] != native[1]:
        yield f"the run was begun {native[0]} and goes on {native[1]}"


def learned_encoder(
    recipe: Recipe, data: DataSet, run: Run, fit: Callable[[Recipe, DataSet], Encoder]
) -> Encoder:
    """What was learned from the training data: kept with the run, if it has come so far."""
    if run.resumed:
        facts = read_info(run.folder).get("files")
        check_files(run.folder, facts or {})
        if facts or checkpoint.latest(run.checkpoints):  # format 1: with the first checkpoint
            return Encoder.load(recipe, run.folder)
    encoder = fit(recipe, data)
    encoder.save(run.folder)
    return encoder


def write_folder(
    compiled: Compiled,
    run: Run,
    identity: dict[str, str],
    command: Sequence[str],
    plugins: Sequence[str],
) -> None:
    """The files of a run folder that are there before training begins."""
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
        device=compiled.device,
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
