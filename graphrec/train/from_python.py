"""`graphrec.train(recipe)`: what the command `train` does, for Python and notebooks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from graphrec.blocks.library import Library, load_library
from graphrec.compiler.memory import available
from graphrec.recipe.training import Device
from graphrec.train.device import compile_for
from graphrec.train.inference import Served, load_run
from graphrec.train.loop import train
from graphrec.views.catalog import find_recipe

__all__ = ["train_recipe"]


class _Printed:
    """Results on stdout, remarks on stderr, as on the command line."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def result(self, text: str) -> None:
        if not self.quiet:
            sys.stdout.write(text + "\n")

    def remark(self, text: str) -> None:
        if not self.quiet:
            sys.stderr.write(text + "\n")


def train_recipe(
    recipe: str | Path,
    overrides: Iterable[str] = (),
    *,
    run_dir: str | Path | None = None,
    device: Device | None = None,
    plugins: Sequence[str] = (),
    library: Library | None = None,
    allow_root: str | None = None,
    allow_env: Sequence[str] = (),
    quiet: bool = False,
) -> Served:
    """Train a recipe (a path, a shipped name, or its text) and load the run, ready to predict.

    The run's folder is `run_dir`, else `train.dir`, else runs/<name>; an unfinished run of the same
    recipe and data is gone on with. `device` is the recipe's `train.device` unless given. Raises
    RecipeError, DataError, CheckpointError or EnvironmentFault; Ctrl-C leaves a checkpoint.
    """
    path, settings = str(recipe), tuple(overrides)
    blocks = load_library(plugins) if library is None else library
    compiled = compile_for(
        path if "\n" in path else find_recipe(path),
        device=device,
        overrides=settings,
        library=blocks,
        allow_root=allow_root,
        allow_env=allow_env,
        max_memory=available(),
    )
    command = ["graphrec", "train", path, *(word for o in settings for word in ("-o", o))]
    command += [word for name in plugins for word in ("--plugin", name)]
    command += [word for name in allow_env for word in ("--allow-env", name)]
    try:
        run = train(
            compiled,
            console=_Printed(quiet),
            run_dir=run_dir,
            command=() if "\n" in path else command,
            plugins=tuple(plugins),
        )
    except SystemExit as stopped:
        if stopped.code == 130:
            raise KeyboardInterrupt from None
        raise
    return load_run(run.folder, library=blocks, device=device or compiled.recipe.train.device)
