"""`evaluate`: the record of a run folder's checkpoint on its own, or on other, evaluation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.blocks.library import BUILTIN, Library
from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.compiler.target import Purpose
from graphrec.data import Encoder, Items, Loader, Remark, Source, open_data, open_files, open_items
from graphrec.ground.errors import CheckpointError, DataError, Problem, RecipeError
from graphrec.recipe.model import Recipe
from graphrec.recipe.training import Device
from graphrec.train import checkpoint
from graphrec.train.checkpoint import Checkpoint
from graphrec.train.device import find_device
from graphrec.train.evaluation import Evaluator, eval_record
from graphrec.train.remarks import evaluation_remarks
from graphrec.train.run import read_info
from graphrec.train.run_files import check_files
from graphrec.train.watched import best_checkpoint

__all__ = ["Trained", "choose_checkpoint", "evaluate", "evaluate_with_remarks", "load_run"]


@dataclass(frozen=True)
class Trained:
    """A run folder's model with the weights of a checkpoint, and what encodes rows for it."""

    compiled: Compiled
    module: nn.Module
    encoder: Encoder
    checkpoint: Checkpoint
    device: torch.device

    @property
    def recipe(self) -> Recipe:
        return self.compiled.recipe

    def items(self, globs: str | None = None) -> Items | None:
        """What a retriever searches: the recipe's items, or those of other files."""
        if self.recipe.retrieval is None:
            return None
        return Items(self.encoder, open_items(self.recipe, globs=globs))

    def evaluation_rows(self) -> Source | None:
        """The run's evaluation data, if it has any."""
        return open_data(self.recipe).eval

    def loader(self, data: str | Sequence[str] | None, batch: int, *, shuffle: bool) -> Loader:
        """Batches of these files, or of the run's evaluation data."""
        source, seed = _source(self.recipe, data), self.recipe.train.seed
        encoder = self.with_seen(self.encoder)
        return Loader(self.recipe, encoder, source, batch, shuffle=shuffle, seed=seed)

    def with_seen(self, encoder: Encoder) -> Encoder:
        """The encoder, which counts values of hashed features that were never trained."""
        seen = encoder.seen_values()
        seen.load({table: marks.numpy() for table, marks in self.checkpoint.seen().items()})
        return encoder.with_seen(seen, learns=False)


def load_run(
    run_dir: str | Path,
    wanted: str | int | None = None,
    *,
    library: Library = BUILTIN,
    purpose: Purpose = "train",
    overrides: Sequence[str] = (),
    device: Device = "auto",
) -> Trained:
    """The model of a run folder, in evaluation; `auto` is CUDA where there is some.

    `wanted` is `best`, `last` or a step (default: the best if the recipe asks for one, else the
    last). `overrides` must leave the weights as they are (`export.nodes=[...]`). Raises
    CheckpointError for a damaged run folder, EnvironmentFault for a device that is not there. Where
    the model was trained does not matter.
    """
    folder = Path(run_dir)
    info, on = read_info(folder), find_device(device)
    newest = checkpoint.latest(folder / "checkpoints")
    if newest is not None:
        _check_belongs(newest, folder, info)  # before the recipe is read: it is one of its files
    # Vocabularies that came from files are in the run folder now: the files are not needed.
    fitted = [f"features.{name}.vocab=fit" for name in info.get("vocabulary_files", ())]
    try:
        compiled = compile_recipe(
            folder / "recipe.yaml",
            overrides=[*fitted, *overrides],
            library=library,
            purpose=purpose,
            device="cuda" if on.type == "cuda" else "cpu",
        )
    except RecipeError as error:
        raise _with_plugins(error, info.get("plugins", ())) from None
    if purpose == "inference" and compiled.recipe.retrieval is not None:
        what = f"{folder} holds a retriever: it has vectors to search, and no predictions"
        help = "graphrec index RUN, then graphrec search RUN --data FILES"
        raise RecipeError([Problem("GR241", what, help=help)])
    chosen = choose_checkpoint(compiled.recipe, folder, wanted)
    _check_belongs(chosen, folder, info)
    encoder = Encoder.load(compiled.recipe, folder)
    module = _with_weights(compiled.module(encoder.rows), chosen, purpose)
    return Trained(compiled, module.to(on).eval(), encoder, chosen, on)


def _with_weights(module: nn.Module, start: Checkpoint, purpose: Purpose) -> nn.Module:
    """The module with the tensors of a checkpoint; those that only training needs may be left."""
    try:
        module.load_state_dict(_needed(start.model(), module, purpose))
    except RuntimeError as error:
        raise CheckpointError(
            Problem("GR808", f"{start.folder} does not fit the model: {str(error)[:300]}")
        ) from error
    return module


def _check_belongs(saved: Checkpoint, folder: Path, info: Mapping[str, Any]) -> None:
    """A CheckpointError unless a checkpoint and the files it lists are of this run's recipe."""
    if saved.recipe != info["recipe"]:
        raise CheckpointError(
            Problem("GR808", f"{saved.folder} is of another recipe than {folder}")
        )
    check_files(folder, saved.run_files)


def _with_plugins(error: RecipeError, plugins: Sequence[str]) -> RecipeError:
    """The error of a run's recipe; for blocks nobody knows it tells of the plugins it had."""
    options = " ".join(f"--plugin {name}" for name in plugins)
    help = f"the run was trained with {options}: give that again (Python: plugins={[*plugins]})"
    return RecipeError(
        replace(problem, help=help) if plugins and problem.code == "GR305" else problem
        for problem in error.problems
    )


def _needed(weights: dict[str, Tensor], module: nn.Module, purpose: Purpose) -> dict[str, Tensor]:
    """The weights without those of parts that only training has, where those are not compiled."""
    if purpose != "inference":
        return weights
    parts = {name for name, _ in module.named_children()}
    return {key: value for key, value in weights.items() if key.partition(".")[0] in parts}


def evaluate(
    run_dir: str | Path,
    data: str | Sequence[str] | None = None,
    wanted: str | int | None = None,
    *,
    library: Library = BUILTIN,
    device: Device = "auto",
) -> dict[str, Any]:
    """One evaluation record, as in metrics.jsonl.

    `data` are globs of files (default: the run's evaluation data), the rest is as in `load_run`.
    Raises CheckpointError for a damaged run folder and DataError for data that does not fit.
    """
    return evaluate_with_remarks(run_dir, data, wanted, library=library, device=device)[0]


def evaluate_with_remarks(
    run_dir: str | Path,
    data: str | Sequence[str] | None = None,
    wanted: str | int | None = None,
    *,
    library: Library = BUILTIN,
    device: Device = "auto",
) -> tuple[dict[str, Any], list[Remark]]:
    """As `evaluate`, and what a careful person should hear of rows and scores."""
    run = load_run(run_dir, wanted, library=library, device=device)
    loader = run.loader(data, run.recipe.train.batch, shuffle=False)
    evaluator = Evaluator(run.recipe, run.device, run.items())
    with closing(loader.epoch(0)) as batches:
        numbers = evaluator.run(run.module, run.module, batches)
    assert numbers is not None, "nothing stops this evaluation"
    record = eval_record(numbers, run.checkpoint.position, loader.wait_seconds)
    return record, evaluation_remarks(run.recipe, loader.counts, record, evaluator.calibration)


def choose_checkpoint(recipe: Recipe, folder: Path, wanted: str | int | None) -> Checkpoint:
    """The checkpoint that `best`, `last`, a step, or nothing in particular stands for."""
    parent = folder / "checkpoints"
    if wanted in (None, "best"):
        best = best_checkpoint(recipe, parent)
        if best is not None:
            return best
        if wanted == "best":
            raise CheckpointError(
                Problem(
                    "GR801",
                    f"{folder} has no best checkpoint: the recipe does not say train.save.best",
                    help="--checkpoint last",
                )
            )
    if wanted in (None, "last"):
        candidates = checkpoint.survey(parent)
        for error in candidates.newer():  # never an older one in its place without a word
            raise error
        if candidates.newest is None:
            raise CheckpointError(Problem("GR801", f"no checkpoint in {parent}"))
        return candidates.newest
    if not str(wanted).isdecimal():
        raise CheckpointError(
            Problem("GR801", f"no checkpoint `{wanted}`", help="best, last, or a step: 1234")
        )
    return checkpoint.load(parent / f"step-{int(wanted):08d}")


def _source(recipe: Recipe, data: str | Sequence[str] | None) -> Source:
    if data is not None:
        globs = (data,) if isinstance(data, str) else tuple(data)
        return open_files(recipe, globs)
    source = open_data(recipe).eval
    if source is None:
        raise DataError(
            Problem(
                "GR721", "the run has no evaluation data", help="give some: --data FILES.parquet"
            )
        )
    return source
