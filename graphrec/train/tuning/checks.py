"""What is looked at before the first trial, so that a search does not end where it begins."""

from __future__ import annotations

import json

from graphrec.compiler.pipeline import Compiled, check_recipe
from graphrec.data import open_data
from graphrec.ground.errors import DataError, Problem, RecipeError
from graphrec.recipe import recipe_hash
from graphrec.recipe.model import Recipe
from graphrec.recipe.tasks import selection
from graphrec.recipe.yaml_text import flow
from graphrec.train.resume import identity_of
from graphrec.train.tuning.trial import Setting

__all__ = ["check_search", "default_metric", "identity"]


def default_metric(recipe: Recipe) -> str:
    """What `train.save.best` or early stopping go by, else the first metric, or the loss."""
    stop = recipe.train.early_stop
    written = recipe.train.save.best or (stop.metric if stop else None)
    metrics = [str(call) for task in recipe.tasks.values() for call in task.metrics]
    return written or next(iter(metrics), "loss")


def check_search(setting: Setting, recipe: Recipe) -> bool:
    """Raise what is wrong with the whole of it; whether more of the metric is better."""
    if not recipe.search:
        help = "for example  search: {train.lr.dense: log(1e-4, 1e-2)}: graphrec keys search"
        raise RecipeError(
            [Problem("GR205", "the recipe has no `search:`", path="search", help=help)]
        )
    keys, higher = selection(recipe, setting.metric)
    if not keys:
        what = f"no task has the metric `{setting.metric}`"
        raise RecipeError([Problem("GR205", what, path="search", help="--metric <task>.<metric>")])
    if open_data(recipe).eval is None:
        help = "add data.eval or data.split to the recipe"
        raise DataError(Problem("GR721", "tune needs evaluation rows", path="data.eval", help=help))
    for path, call in recipe.search.items():
        for value in call.args:
            text = f"{path}={flow(value)}"
            checked = check_recipe(
                setting.path,
                overrides=(*setting.overrides, text),
                library=setting.library,
                allow_root=setting.allow_root,
            )
            if checked.errors:
                raise RecipeError(checked.errors)
    return higher


def identity(setting: Setting, compiled: Compiled) -> dict[str, str]:
    recipe = compiled.recipe
    ranges = json.dumps({path: str(call) for path, call in recipe.search.items()}, sort_keys=True)
    return {
        "recipe": recipe_hash(recipe),
        "data": identity_of(compiled, open_data(recipe))["fingerprint"],
        "search": ranges,
        "metric": setting.metric,
    }
