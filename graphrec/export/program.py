"""A trained run as programs of torch.export: for whole rows, and for a request's candidates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from graphrec.blocks.library import BUILTIN, Library
from graphrec.data.row_reader import Features
from graphrec.data.row_spec import row_spec, row_tables
from graphrec.export.edge import Edge, Port, SignatureModule
from graphrec.export.outputs import RowOutput, row_outputs
from graphrec.export.proof_rows import proof_rows
from graphrec.nn import Embeddings, prepare
from graphrec.train.evaluate_run import Trained, load_run

__all__ = ["EntryPoint", "Model", "Precision", "TableType", "load_model"]

Precision = Literal["fp32", "bf16"]
TableType = Literal["as trained", "int8"]
Arrays = Mapping[str, np.ndarray[Any, Any]]

_EXAMPLE_ROWS = 23  # no size that a model has elsewhere: the exporter must not tie them together


@dataclass(frozen=True)
class EntryPoint:
    """A way to call the model: `forward` for whole rows, `score` for a request's candidates."""

    name: str
    module: SignatureModule
    edges: tuple[Edge, ...]
    outputs: tuple[RowOutput, ...]
    example: tuple[Tensor, ...]

    @property
    def ports(self) -> list[Port]:
        return [port for edge in self.edges for port in edge.ports]

    def export(self) -> ExportedProgram:
        """The program, for batches and lists of any size."""
        shapes = tuple(shape for edge in self.edges for shape in edge.dynamic_shapes())
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch's own passes, nothing for a user to mend
            program = torch.export.export(
                self.module, self.example, dynamic_shapes=(shapes,), strict=False
            )
        return _slim(program)

    def run(self, call: Callable[..., Any], arrays: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """What a callable of tensors gives for a row reader's arrays."""
        tensors = [tensor for edge in self.edges for tensor in edge.tensors(arrays)]
        with torch.no_grad():
            values = call(*tensors)
        return {
            output.name: value.numpy() for output, value in zip(self.outputs, values, strict=True)
        }


@dataclass(frozen=True)
class Model:
    """A run that is ready to be exported: its entry points, and the reader of its raw rows.

    `spec` and `features` describe the reader; `replaced` lists the nodes whose kernels are no
    operators of torch, as `tower: triton`.
    """

    trained: Trained
    spec: dict[str, Any]
    features: Features
    entry_points: dict[str, EntryPoint]
    replaced: tuple[str, ...]

    @property
    def module(self) -> nn.Module:
        return self.entry_points["forward"].module.module


def load_model(
    run: str | Path,
    checkpoint: str | int | None = None,
    *,
    precision: Precision = "fp32",
    tables: TableType = "as trained",
    library: Library = BUILTIN,
) -> Model:
    """The run with operators of torch alone, on the CPU; its weights as they are to be exported."""
    plain = load_run(
        run,
        checkpoint,
        library=library,
        purpose="inference",
        device="cpu",
        overrides=["kernels.default=torch"],
    )
    graph = plain.compiled.graph
    sides = {column.column: column.side for column in (*graph.lookups, *graph.first_order)}
    sides = {name: "request" if side == "request" else "candidates" for name, side in sides.items()}
    encoder = plain.encoder.only(sides)
    spec = row_spec(encoder, sides)
    features = Features(spec, row_tables(encoder, spec))
    module = _converted(plain.module, precision, tables)
    rows = proof_rows(encoder, _EXAMPLE_ROWS)
    outputs = row_outputs(graph)

    def entry_point(name: str, method: str, edges: tuple[Edge, ...], arrays: Arrays) -> EntryPoint:
        flat = SignatureModule(module, edges, outputs, method).eval()
        example = tuple(tensor for edge in edges for tensor in edge.tensors(arrays))
        return EntryPoint(name, flat, edges, outputs, example)

    whole = (Edge.of(spec["entries"]),)
    entry_points = {"forward": entry_point("forward", "forward", whole, features(rows))}
    if method := plain.compiled.source.score:
        both = tuple(
            Edge.of([e for e in spec["entries"] if e["side"] == side], side == "request")
            for side in ("request", "candidates")
        )
        request = max(
            rows, key=lambda row: sum(isinstance(v, list) and len(v) for v in row.values())
        )
        entry_points["score"] = entry_point("score", method, both, features.score(request, rows))
    return Model(plain, spec, features, entry_points, _replaced(run, library))


def _converted(module: nn.Module, precision: Precision, tables: TableType) -> nn.Module:
    """The module with its weights as they are to be written, in place.

    As a run predicts: with norms folded in, the numbers are its own and not merely near them.
    """
    prepare(module, torch.bfloat16 if precision == "bf16" else None)
    if tables == "int8":
        for part in module.modules():
            if isinstance(part, Embeddings):
                part.store_as_bytes()
    return module


def _slim(program: ExportedProgram) -> ExportedProgram:
    """The program without the numbers of weights that nothing reads: those that were folded."""
    signature = program.graph_signature
    owners = signature.inputs_to_parameters | signature.inputs_to_buffers
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name in owners and not node.users:
            weight = program.state_dict.get(owners[node.name])
            if weight is not None:
                none = weight.new_empty(0)
                given = nn.Parameter(none, False) if isinstance(weight, nn.Parameter) else none
                program.state_dict[owners[node.name]] = given
    return program


def _replaced(run: str | Path, library: Library) -> tuple[str, ...]:
    """Nodes whose kernel of the recipe is left behind."""
    from graphrec.compiler.pipeline import check_recipe

    graph = check_recipe(Path(run) / "recipe.yaml", library=library, purpose="inference").graph
    kernels = [] if graph is None else [(n.name, n.kernel) for n in graph.nodes if n.kernel]
    return tuple(
        f"{name}: {kernel.layer}"
        for name, kernel in kernels
        if kernel.layer not in ("auto", "torch")
    )
