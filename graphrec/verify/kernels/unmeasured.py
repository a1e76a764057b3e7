"""What bench and verify run: a recipe compiled as if nothing were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphrec.compiler.pipeline import Compiled, compile_recipe, recipe_target
from graphrec.compiler.target import Target
from graphrec.recipe import read_recipe
from graphrec.recipe.training import Device
from graphrec.train.device import find_device

__all__ = ["unmeasured"]


def unmeasured(
    path: str | Path, *, device: Device | None, overrides: list[str], **settings: Any
) -> tuple[Compiled, Target]:
    """The recipe compiled without its kernels.lock, and the target it was compiled for.

    `device` (default: the recipe's `train.device`) must be here, else EnvironmentFault (GR607);
    `settings` are those of `compile_recipe`.
    """
    allowed = {name: settings[name] for name in ("allow_root", "allow_env") if name in settings}
    recipe = read_recipe(path, overrides, **allowed)
    on = find_device(device or recipe.train.device)
    target = recipe_target(recipe, on.type)
    return compile_recipe(path, overrides=overrides, target=target, **settings), target
