"""Knowledge distillation from trained runs: terms of the loss that pull a task to a teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from graphrec.data import Encoder
from graphrec.data.same_encoding import encoding_differences
from graphrec.ground.errors import CheckpointError, Problem
from graphrec.nn import Batch, Hint, prepare
from graphrec.recipe.model import Recipe
from graphrec.recipe.model import Teacher as Declared
from graphrec.recipe.tasks import form_of, is_lognormal, suffix
from graphrec.recipe.training import Device
from graphrec.train.evaluate_run import Trained, load_run

__all__ = ["Teacher", "load_teachers"]


class Teacher:
    """`teacher(predictions, batch)`: how far a task is from what a trained model says of the batch.

    The model runs in evaluation, without gradients, on the batch as the student's encoder made it.
    """

    def __init__(self, module: nn.Module, own: str, its: str, hint: Hint) -> None:
        self._module, self._own, self._its, self._hint = module, own, its, hint

    def __call__(self, predictions: Mapping[str, Tensor], batch: Batch) -> Tensor:
        with torch.no_grad():
            taught = self._module(batch)[self._its]
        student = predictions[self._own]
        loss: Tensor = self._hint(_columns(student), _columns(taught))
        return loss


def load_teachers(recipe: Recipe, encoder: Encoder, device: torch.device) -> dict[str, Teacher]:
    """The teachers of a recipe by term; CheckpointError where one reads rows otherwise."""
    teachers = {}
    for name, term in recipe.losses.items():
        if term.teacher is not None:
            teachers[name] = _teacher(recipe, name, term.teacher, encoder, device)
    return teachers


def _teacher(
    recipe: Recipe, name: str, declared: Declared, encoder: Encoder, device: torch.device
) -> Teacher:
    on: Device = "cuda" if device.type == "cuda" else "cpu"
    trained = load_run(Path(declared.run), purpose="inference", device=on)
    keys = {lookup.column for lookup in trained.compiled.graph.lookups}
    keys |= {lookup.column for lookup in trained.compiled.graph.first_order}
    different = encoding_differences(encoder, trained.encoder, keys)
    if different:
        raise _unfit(
            recipe,
            name,
            f"{declared.run} reads rows otherwise: {', '.join(different[:5])}",
            "train both on the same data, with the same features; widths (`dim`) may differ",
        )
    task = declared.task or next(iter(recipe.tasks))
    its = _its_task(recipe, name, declared, trained, task)
    own_key, its_key = _key(recipe, task), _key(trained.recipe, its)
    fits = form_of(recipe, task) == form_of(trained.recipe, its)
    if not fits or recipe.tasks[task].classes != trained.recipe.tasks[its].classes:
        what = f"task `{task}` and the teacher's `{its}` are predicted otherwise"
        raise _unfit(recipe, name, what, "teach a task of the same kind and classes")
    hint = Hint(declared.kind, declared.temperature)
    return Teacher(prepare(trained.module).requires_grad_(False), own_key, its_key, hint)


def _its_task(recipe: Recipe, name: str, declared: Declared, trained: Trained, task: str) -> str:
    known = [output.task for output in trained.compiled.graph.outputs]
    wanted = declared.from_task or task
    if wanted in known:
        return wanted
    if declared.from_task is None and len(known) == 1:
        return known[0]
    help = f"from_task: one of {', '.join(known)}"
    raise _unfit(recipe, name, f"the teacher has no task `{wanted}`", help)


def _key(recipe: Recipe, task: str) -> str:
    regression = form_of(recipe, task) == "regression" and not is_lognormal(recipe, task)
    return ("y" if regression else "logits") + suffix(recipe, task)


def _columns(x: Tensor) -> Tensor:
    return x.unsqueeze(1) if x.dim() == 1 else x


def _unfit(recipe: Recipe, name: str, message: str, help: str) -> CheckpointError:
    path = f"losses.{name}.teacher"
    span = recipe.origin.key(path) if recipe.origin else None
    return CheckpointError(Problem("GR811", message, span, path, help))
