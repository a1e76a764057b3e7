"""Where a module runs: the device asked for, or CUDA where there is some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.compiler.pipeline import Compiled, check_recipe, compile_recipe
from graphrec.ground.errors import EnvironmentFault, Problem, RecipeError
from graphrec.recipe.training import Device

if TYPE_CHECKING:
    import torch

__all__ = ["compile_for", "find_device"]


def find_device(name: str, *, cuda: bool | None = None) -> torch.device:
    """The device of that kind; EnvironmentFault (GR607) where it is not there.

    `cuda` says whether there is a CUDA device (default: as torch finds it).
    """
    import torch

    there = torch.cuda.is_available() if cuda is None else cuda
    if name == "auto":
        return torch.device("cuda" if there else "cpu")
    if name == "cuda" and not there:
        why = "no CUDA device is here"
        if torch.version.cuda is None and torch.version.hip is None:
            why = f"torch {torch.__version__} is built without CUDA"
        help = "--device cpu (or train.device: auto), or a machine with one: graphrec doctor"
        raise EnvironmentFault(Problem("GR607", f"device cuda: {why}", path="device", help=help))
    return torch.device(name)


def compile_for(
    path: str | Path, *, device: Device | None = None, cuda: bool | None = None, **settings: Any
) -> Compiled:
    """The recipe compiled for the device that it will run on, which is there (else GR607).

    `device` is the one asked for (default: the recipe's `train.device`), `settings` are those of
    `compile_recipe`. A mistake in the recipe is told before torch looks for devices.
    """
    checked = check_recipe(path, device=device, **settings)
    recipe = checked.reading.recipe
    # What a kernel lacks on one device says nothing of the other.
    if recipe is None or any(problem.code != "GR601" for problem in checked.errors):
        raise RecipeError(checked.problems)
    kind = find_device(device or recipe.train.device, cuda=cuda).type
    if checked.device != kind:
        return compile_recipe(path, device="cuda" if kind == "cuda" else "cpu", **settings)
    return checked.compiled()
