"""graphrec: a declarative model-graph compiler for recommender ranking and multi-task models.

    import graphrec

    model = graphrec.load("deepfm.yaml")
    print(model.source)
    module = model.module()

Names are loaded when they are first used: importing graphrec costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphrec.ground.version import __version__

if TYPE_CHECKING:
    from graphrec.api import (
        BUILTIN,
        Activation,
        Batch,
        Block,
        Checked,
        CheckpointError,
        Compiled,
        DataError,
        EnvironmentFault,
        Graph,
        GraphrecError,
        Kernel,
        Library,
        Loss,
        Metric,
        Model,
        Names,
        Number,
        Problem,
        RecipeError,
        Served,
        Shape,
        ShapeError,
        Target,
        Widths,
        batches,
        check_recipe,
        compile_recipe,
        fit,
        load,
        load_run,
    )


__all__ = [
    "Activation",
    "BUILTIN",
    "Batch",
    "Block",
    "Checked",
    "CheckpointError",
    "Compiled",
    "DataError",
    "EnvironmentFault",
    "Graph",
    "GraphrecError",
    "Kernel",
    "Library",
    "Loss",
    "Metric",
    "Model",
    "Names",
    "Number",
    "Problem",
    "RecipeError",
    "Served",
    "Shape",
    "ShapeError",
    "Target",
    "Widths",
    "__version__",
    "batches",
    "check_recipe",
    "compile_recipe",
    "fit",
    "load",
    "load_run",
    "train",
]

_HOME = {
    "api": ("Model", "fit", "load"),
    "blocks.base": ("Block", "Kernel", "Names", "Widths"),
    "compiler.pipeline": ("Checked", "Compiled", "check_recipe", "compile_recipe"),
    "ground.errors": (
        "CheckpointError",
        "DataError",
        "EnvironmentFault",
        "GraphrecError",
        "Problem",
        "RecipeError",
    ),
    "data.loops": ("batches",),
    "graph": ("Graph",),
    "nn.batch": ("Batch",),
    "blocks.library": ("BUILTIN", "Library"),
    "ground.activation_table": ("Activation", "Number"),
    "recipe.loss_table": ("Loss",),
    "recipe.metric_table": ("Metric",),
    "train.inference": ("Served", "load_run"),
    "ground.shapes": ("Shape", "ShapeError"),
    "compiler.target": ("Target",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_MODULE_OF["train"] = "train"


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'graphrec' has no attribute {name!r}")
    if name == "train":  # a room that can be called
        return import_module("graphrec.train")
    value = getattr(import_module(f"graphrec.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
