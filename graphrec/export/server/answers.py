"""What answers requests: a trained run, or a bundle of files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphrec.blocks.library import BUILTIN, Library
from graphrec.data.row_reader import Features
from graphrec.ground.errors import CheckpointError, Problem
from graphrec.train.inference import load_run

__all__ = ["Engine", "load_engine", "newest_step"]

Scores = dict[str, np.ndarray[Any, Any]]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """A model that is ready: scores of rows, and of a request's candidates where it has sides.

    Both raise BadCell for a value that can't be used. Threads may share it.
    """

    name: str
    step: int
    features: Features
    predict: Callable[[Sequence[Row]], Scores]
    score: Callable[[Row, Sequence[Row]], Scores] | None


def load_engine(
    path: str, checkpoint: str | int | None = None, library: Library = BUILTIN
) -> Engine:
    """The engine of a run folder, or of a bundle. Raises CheckpointError for anything else."""
    folder = Path(path)
    if folder.suffix in (".pt2", ".onnx"):
        folder = (
            folder.parent if (folder.parent / "signature.json").exists() else folder.with_suffix("")
        )
    if (folder / "signature.json").exists():
        return _of_bundle(folder)
    run = load_run(path, checkpoint, library=library, device="cpu")
    reader = run.reader

    def predict(rows: Sequence[Row]) -> Scores:
        return run.predict_arrays(reader(rows))

    def score(request: Row, candidates: Sequence[Row]) -> Scores:
        return run.score_arrays(reader.score(request, candidates))

    sides = bool(run.compiled.source.score)
    step = run.trained.checkpoint.position.step
    return Engine(run.recipe.name, step, reader, predict, score if sides else None)


def newest_step(path: str) -> int | None:
    """The step of a run's checkpoint that is served by default; None for a bundle."""
    from graphrec.recipe import read_recipe
    from graphrec.train.evaluate_run import choose_checkpoint

    folder = Path(path)
    if not (folder / "recipe.yaml").exists():
        return None
    return choose_checkpoint(read_recipe(folder / "recipe.yaml"), folder, None).position.step


def _of_bundle(folder: Path) -> Engine:
    try:
        signature = json.loads((folder / "signature.json").read_text(encoding="utf-8"))
        features = Features.load(folder)
        calls = {
            name: _call(folder / entry["file"], signature["format"], entry)
            for name, entry in signature["entry_points"].items()
        }
    except (OSError, ValueError, KeyError) as error:
        problem = Problem("GR823", f"{folder} is no whole bundle: {error}", help="export it again")
        raise CheckpointError(problem) from None

    def predict(rows: Sequence[Row]) -> Scores:
        return calls["forward"](features(rows))

    def score(request: Row, candidates: Sequence[Row]) -> Scores:
        return calls["score"](features.score(request, candidates))

    sides = score if "score" in calls else None
    return Engine(signature["name"], signature["step"], features, predict, sides)


def _call(file: Path, form: str, entry: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Scores]:
    inputs = [port["name"] for port in entry["inputs"]]
    names = [output["name"] for output in entry["outputs"]]
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file))
        known = {port.name for port in session.get_inputs()}

        def run(arrays: Mapping[str, Any]) -> Scores:
            given = {name: arrays[name] for name in inputs if name in known}
            return dict(zip(names, session.run(names, given), strict=True))

        return run
    if form == "aoti":
        from torch._inductor import aoti_load_package

        program: Any = aoti_load_package(str(file))
    else:
        program = torch.export.load(file).module()

    def run_torch(arrays: Mapping[str, Any]) -> Scores:
        with torch.no_grad():
            values = program(*(torch.from_numpy(arrays[name]) for name in inputs))
        return {name: value.numpy() for name, value in zip(names, values, strict=True)}

    return run_torch
