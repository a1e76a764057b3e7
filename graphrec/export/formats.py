"""One entry point of a model as a file: a torch.export program, an AOTInductor package, ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch.export import ExportedProgram

from graphrec.export.program import EntryPoint
from graphrec.ground.errors import EnvironmentFault, Problem

__all__ = ["FORMATS", "Format", "FormatName", "check_format"]

FormatName = Literal["pt2", "aoti", "onnx"]


@dataclass(frozen=True)
class Format:
    """How a file is called and written, how far its numbers may be off, and what runs it."""

    suffix: str
    tolerance: float
    runs_on: str
    write: Callable[[EntryPoint, ExportedProgram, Path], None]
    needs: tuple[str, ...] = ()


def check_format(name: FormatName) -> Format:
    """The format; EnvironmentFault (GR821) where this machine can't write or try it."""
    form = FORMATS[name]
    missing = [module for module in form.needs if find_spec(module) is None]
    if missing:
        what = f"--format {name} needs {', '.join(missing)}, which is not installed"
        raise EnvironmentFault(Problem("GR821", what, help="pip install 'graphrec[onnx]'"))
    if name == "aoti":
        from torch._inductor.cpp_builder import get_cpp_compiler

        try:
            get_cpp_compiler()
        except Exception as error:  # torch's own kinds of "no compiler"
            what = f"--format aoti needs a C++ compiler: {error}"
            raise EnvironmentFault(Problem("GR821", what, help="install g++")) from None
    return form


def _write_pt2(entry: EntryPoint, program: ExportedProgram, path: Path) -> None:
    torch.export.save(program, path)


def _write_aoti(entry: EntryPoint, program: ExportedProgram, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    # Frozen weights are laid out for oneDNN when the file is written: products of large batches
    # are four times as fast. Only without gradients are they frozen. As many threads as there are
    # where the file runs, not as there were here.
    settings = {"freezing": True, "cpp.dynamic_threads": True}
    with _silent(), torch.no_grad():
        aoti_compile_and_package(program, package_path=str(path), inductor_configs=settings)


def _write_onnx(entry: EntryPoint, program: ExportedProgram, path: Path) -> None:
    from graphrec.export.onnx_ops import DECOMPOSITIONS

    with _silent():
        plain = program.run_decompositions(DECOMPOSITIONS)
        exported = torch.onnx.export(
            plain,
            (),
            input_names=[port.name for port in entry.ports],
            output_names=[output.name for output in entry.outputs],
            dynamo=True,
            verbose=False,
        )
    assert exported is not None, "no file was named, so the program is returned"
    exported.save(path)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the remarks of torch's compilers, which are about themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


FORMATS: Mapping[FormatName, Format] = {
    "pt2": Format("pt2", 1e-6, "torch", _write_pt2),
    "aoti": Format("pt2", 1e-5, "torch", _write_aoti),
    "onnx": Format(
        "onnx", 1e-5, "onnxruntime", _write_onnx, needs=("onnx", "onnxscript", "onnxruntime")
    ),
}
