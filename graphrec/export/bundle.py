"""`graphrec export`: a folder with everything another program needs, proven before it is there.

model.pt2 | model.onnx     scores of whole rows
score.pt2 | score.onnx     scores of the candidates of a request, where features have sides
signature.json             inputs, outputs, what was proven
features.py values.py cells.py features.json tables/   raw values -> inputs, with numpy alone
client.py                  an example to start from
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from graphrec.blocks.library import BUILTIN, Library
from graphrec.data import raw_cells, raw_values, row_reader
from graphrec.data.vocabularies import ListedRows
from graphrec.export.compared import Change, changes
from graphrec.export.formats import Format, FormatName, check_format
from graphrec.export.order import Order
from graphrec.export.program import EntryPoint, Model, load_model
from graphrec.export.proof import Proof, Reference, Scores, prove
from graphrec.ground.errors import DataError, Problem
from graphrec.ground.version import __version__
from graphrec.nn.packed_linear import PackedLinear
from graphrec.recipe import recipe_hash
from graphrec.train.inference import load_run

__all__ = ["Exported", "export_run"]

_LOAD = {
    "pt2": 'torch.export.load(FOLDER / entry["file"]).module()',
    "aoti": 'torch._inductor.aoti_load_package(str(FOLDER / entry["file"]))',
}


@dataclass(frozen=True)
class Exported:
    """What was written, and what is to be known of it."""

    folder: Path
    files: tuple[Path, ...]
    proof: Proof
    replaced: tuple[str, ...]
    changes: tuple[Change, ...]
    bytes: int


def export_run(order: Order, library: Library = BUILTIN) -> Exported:
    """Export a run and prove the result; nothing is left behind where that fails.

    Raises CheckpointError (GR820) for numbers that differ, EnvironmentFault (GR821) for what this
    machine lacks, DataError (GR822) for a folder that holds something else.
    """
    form = check_format(order.form)
    folder, alone = _places(order, form)
    model = load_model(
        order.run,
        order.checkpoint,
        precision=order.precision,
        tables=order.tables,
        library=library,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        programs = {name: entry.export() for name, entry in model.entry_points.items()}
        for name, entry in model.entry_points.items():
            form.write(entry, programs[name], work / _file(name, form))
        _write_reader(model, work)
        _write_client(order.form, work)
        (work / "signature.json").write_text(_text(_signature(order, model, form)))
        proof = prove(work, model, form, _reference(order, model, programs, library), order.rows)
        changed = changes(order, model, library) if _differs(order) else ()
        (work / "signature.json").write_text(_text(_signature(order, model, form, proof, changed)))
        work.chmod(0o755)
        files = _publish(work, folder, alone, form)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Exported(folder, files, proof, model.replaced, changed, size)


def _differs(order: Order) -> bool:
    return order.precision != "fp32" or order.tables != "as trained"


def _reference(
    order: Order, model: Model, programs: Mapping[str, ExportedProgram], library: Library
) -> Reference:
    """What the file is compared with: the run, or the program it was written from.

    Other weights than the run's give other numbers: how far they are off is told by `changes`.
    """
    if not _differs(order):
        run = load_run(order.run, order.checkpoint, library=library, device="cpu")

        def unpack() -> None:  # large products then are those of exported programs
            for part in run.module.modules():
                if isinstance(part, PackedLinear):
                    part.unpack()

        return Reference(run.predict, run.score, unpack)
    calls = {name: program.module() for name, program in programs.items()}
    entries = model.entry_points

    def predict(table: Any) -> Scores:
        arrays = model.features(table.to_pylist())
        return entries["forward"].run(calls["forward"], arrays)

    def score(request: Any, candidates: Any) -> Scores:
        arrays = model.features.score(request.to_pylist()[0], candidates.to_pylist())
        return entries["score"].run(calls["score"], arrays)

    return Reference(predict, score)


# ---- the files ----------------------------------------------------------------------------------


def _file(entry: str, form: Format) -> str:
    return f"{'model' if entry == 'forward' else entry}.{form.suffix}"


def _write_reader(model: Model, folder: Path) -> None:
    spec = {**model.spec, "tables": {}}
    (folder / "tables").mkdir()
    for number, (name, table) in enumerate(model.spec["tables"].items()):
        spec["tables"][name] = dict(table)
        vocabulary = model.trained.encoder.vocabularies.get(name)
        if isinstance(vocabulary, ListedRows):
            file = f"tables/{number:03d}.npz"
            np.savez(folder / file, allow_pickle=False, **vocabulary.arrays())
            spec["tables"][name]["file"] = file
    (folder / "features.json").write_text(_text(spec), encoding="utf-8")
    shipped = {row_reader: "features", raw_values: "values", raw_cells: "cells"}
    for module, name in shipped.items():
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        for other, shorter in shipped.items():
            source = source.replace(f"from {other.__name__} import", f"from {shorter} import")
        (folder / f"{name}.py").write_text(source, encoding="utf-8")


def _write_client(form: FormatName, folder: Path) -> None:
    name = "client_onnx.py.in" if form == "onnx" else "client_torch.py.in"
    files = resources.files("graphrec.export") / "bundle_files"
    text = files.joinpath(name).read_text(encoding="utf-8").replace("LOAD", _LOAD.get(form, ""))
    (folder / "client.py").write_text(text, encoding="utf-8")


def _signature(
    order: Order,
    model: Model,
    form: Format,
    proof: Proof | None = None,
    changed: tuple[Change, ...] = (),
) -> dict[str, Any]:
    recipe = model.trained.recipe
    return {
        "bundle": 1,
        "graphrec": __version__,
        "name": recipe.name,
        "recipe": recipe_hash(recipe),
        "step": model.trained.checkpoint.position.step,
        "format": order.form,
        "runs_on": form.runs_on,
        "torch": torch.__version__,
        "precision": order.precision,
        "tables": order.tables,
        "replaced_kernels": list(model.replaced),
        "entry_points": {
            name: _entry_point(entry, _file(name, form))
            for name, entry in model.entry_points.items()
        },
        "proof": proof.as_json() if proof else None,
        "changes": [change.as_json() for change in changed],
    }


def _entry_point(entry: EntryPoint, file: str) -> dict[str, Any]:
    outputs = [
        {
            "name": output.name,
            "dtype": "float32",
            "shape": ["batch", *output.dims],
            "task": output.task,
            "kind": output.kind,
        }
        for output in entry.outputs
    ]
    inputs = [port.as_json() for port in entry.ports]
    return {"file": file, "inputs": inputs, "outputs": outputs}


# ---- where they go ------------------------------------------------------------------------------


def _places(order: Order, form: Format) -> tuple[Path, Path | None]:
    """The folder, and the file of the model alone where one was asked for."""
    path = Path(order.output)
    if path.suffix in (".pt2", ".onnx"):
        if path.suffix != f".{form.suffix}":
            what = f"{path.name} is no name for --format {order.form}"
            raise DataError(Problem("GR822", what, help=f"{path.stem}.{form.suffix}"))
        if path.is_dir():
            raise DataError(Problem("GR822", f"{path} is a folder", help="give another name"))
        folder, alone = path.with_suffix(""), path
    else:
        folder, alone = path, None
    if folder.exists() and not _is_bundle(folder):
        what = f"{folder} is there, and is no bundle of an earlier export"
        raise DataError(Problem("GR822", what, help="give another name, or remove it"))
    return folder, alone


def _is_bundle(folder: Path) -> bool:
    if folder.is_dir() and not any(folder.iterdir()):
        return True
    try:
        return "bundle" in json.loads((folder / "signature.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _publish(work: Path, folder: Path, alone: Path | None, form: Format) -> tuple[Path, ...]:
    """Give the proven folder its name; an earlier bundle makes room."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        folder.rename(aside / folder.name)
        work.rename(folder)
        shutil.rmtree(aside)
    else:
        work.rename(folder)
    if alone is not None:
        beside = alone.with_name(f".{alone.name}.new")
        beside.unlink(missing_ok=True)
        try:
            os.link(folder / _file("forward", form), beside)
        except OSError:  # a disk without links
            shutil.copyfile(folder / _file("forward", form), beside)
        beside.replace(alone)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return (*([alone] if alone else []), *files)


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
