"""A trained run, ready to predict: rows in, predictions out, one request with many candidates.

run = graphrec.load_run("runs/shop")
run.score({"user_id": 7, "hour": 20, "clicked__item_id": [3, 5], ...},
          [{"item_id": 11, "price": 9.5, ...}, {"item_id": 12, ...}])["probs_click"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeGuard

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from graphrec.blocks.library import BUILTIN, Library, load_library
from graphrec.compiler.pipeline import Compiled
from graphrec.data import Encoder, Rows, as_table
from graphrec.data.raw_cells import BadCell
from graphrec.data.row_batch import batch_of
from graphrec.data.row_spec import row_features
from graphrec.graph import Graph
from graphrec.nn import Batch, prepare
from graphrec.recipe.model import Recipe
from graphrec.recipe.training import Device
from graphrec.train.evaluate_run import Trained, evaluate
from graphrec.train.evaluate_run import load_run as load_trained

__all__ = ["Rows", "Served", "load_run"]

Scores: TypeAlias = dict[str, np.ndarray[Any, Any]]

_Side = Literal["request", "candidates"]


class Served:
    """The model of a run, compiled for inference, and the encoder that makes batches for it.

    `module` is a torch module in evaluation mode; `module(batch)` predicts rows, and
    `module.score(request, candidates)` one request (a batch of its single row) with its candidates.
    `predict` and `score` do the same from raw rows, which need neither labels nor other columns
    than `request_columns` and `candidate_columns`; `reader` reads them where they are maps. Threads
    can share it.
    """

    def __init__(self, trained: Trained, folder: Path, library: Library = BUILTIN) -> None:
        self.trained, self.folder, self.library = trained, folder, library
        self.module: nn.Module = prepare(trained.module)
        keys = _keys_by_side(trained.compiled.graph)
        whole = trained.encoder.only(keys["request"] | keys["candidates"])
        self._encoders: dict[str | None, Encoder] = {None: whole}
        self._encoders |= {side: whole.only(columns) for side, columns in keys.items()}
        sides = {column: side for side, columns in keys.items() for column in columns}
        self.reader = row_features(whole, sides)

    def __repr__(self) -> str:
        return f"graphrec.Served({self.trained.checkpoint.folder})"

    @property
    def compiled(self) -> Compiled:
        """The recipe of the run, its graph and the generated source."""
        return self.trained.compiled

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.trained.recipe

    @property
    def request_columns(self) -> tuple[str, ...]:
        """Columns of data that a request needs."""
        return self._encoders["request"].plan.columns

    @property
    def candidate_columns(self) -> tuple[str, ...]:
        """Columns of data that a candidate needs, less those that the request gives."""
        mine = self._encoders["candidates"].plan.columns
        return tuple(column for column in mine if column not in self.request_columns)

    def batch(self, rows: Rows, side: _Side | None = None) -> Batch:
        """The rows as the module reads them: all columns, or those of one side.

        Raises DataError for missing columns and bad cells.
        """
        if side not in self._encoders:
            raise ValueError(f"no side {side!r}: request, candidates, or None for whole rows")
        if _are_maps(rows):
            with suppress(BadCell):  # found again, and told in full, on the way through Arrow
                return self._batch(self.reader(rows, side), side)
        encoder = self._encoders[side]
        return encoder.encode(rows).to(self.trained.device)

    def encode(self, rows: Rows, *, labels: bool = False) -> Batch:
        """The rows as the module reads them, or with `labels` as an evaluation does."""
        encoder = self.trained.encoder if labels else self._encoders[None]
        return encoder.encode(rows).to(self.trained.device)

    def predict(self, rows: Rows) -> Any:
        """The predictions for whole rows, an array of as many rows for each key of `forward`.

        For a pandas.DataFrame they are one too, with its index; an output of several numbers has a
        column for each, `probs_0`, `probs_1`.
        """
        arrays = self._run(self.module, self.batch(rows))
        if not hasattr(rows, "iloc"):
            return arrays
        columns = {n: part for name, values in arrays.items() for n, part in _flat(name, values)}
        frame: Any = rows
        return type(frame)(columns, index=frame.index)

    def evaluate(self, data: str | Sequence[str] | None = None) -> dict[str, Any]:
        """One evaluation record, as in metrics.jsonl, of the checkpoint that was loaded.

        `data` are globs of files (default: the run's evaluation data). Raises DataError.
        """
        return evaluate(
            self.folder,
            data,
            self.trained.checkpoint.position.step,
            library=self.library,
            device="cuda" if self.trained.device.type == "cuda" else "cpu",
        )

    def score(
        self, request: Mapping[str, Any] | Rows, candidates: Rows
    ) -> dict[str, np.ndarray[Any, Any]]:
        """The predictions for the candidates of one request, in their order.

        As `predict` for rows that repeat the request beside each candidate, but what depends on the
        request alone is computed once. Raises DataError for missing columns and bad cells, and
        ValueError for a recipe whose features are all of one side.
        """
        method = self.compiled.source.score
        if not method:
            raise ValueError(
                f"recipe {self.recipe.name} can't score candidates: some features need"
                " `side: user` or `side: context`, and others none or `side: item`; use predict"
            )
        if isinstance(request, Mapping) and _are_maps(candidates):
            with suppress(BadCell):
                return self.score_arrays(self.reader.score(request, candidates))
        table = as_table([request] if isinstance(request, Mapping) else request)
        if table.num_rows != 1:
            raise ValueError(
                f"a request is one row, got {table.num_rows}: score requests one by one"
                f" (the columns of a request: {', '.join(self.request_columns)})"
            )
        given = self._with_request(table, candidates)
        call: Callable[..., Any] = getattr(self.module, method)
        return self._run(call, self.batch(table, "request"), self.batch(given, "candidates"))

    def predict_arrays(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Scores:
        """`predict` for what `reader(rows)` gave."""
        return self._run(self.module, self._batch(arrays, None))

    def score_arrays(self, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Scores:
        """`score` for what `reader.score(request, candidates)` gave."""
        call: Callable[..., Any] = getattr(self.module, self.compiled.source.score)
        return self._run(call, self._batch(arrays, "request"), self._batch(arrays, "candidates"))

    def _batch(self, arrays: Mapping[str, np.ndarray[Any, Any]], side: _Side | None) -> Batch:
        entries = [e for e in self.reader.entries if side in (None, e["side"])]
        return batch_of(entries, arrays).to(self.trained.device)

    def _with_request(self, request: Any, candidates: Rows) -> Any:
        """The candidates with what they read of the request: its values count, not their own.

        A cross of user and item is of the candidate, and reads a column of the request.
        """
        columns = self._encoders["candidates"].plan.columns
        given = as_table(candidates, columns)
        for column in columns:
            own = column in given.column_names
            if column in request.column_names and (column in self.request_columns or not own):
                repeated = request.column(column).take(pa.array([0] * given.num_rows, pa.int64()))
                given = given.drop_columns([column]) if own else given
                given = given.append_column(column, repeated)
        return given

    @staticmethod
    def _run(call: Callable[..., Any], *batches: Batch) -> dict[str, np.ndarray[Any, Any]]:
        with torch.inference_mode():
            outputs = call(*batches)
        return {
            key: value.float().cpu().numpy()
            for key, value in outputs.items()
            if isinstance(value, Tensor) and value.dim()
        }


def load_run(
    run_dir: str | Path,
    checkpoint: str | int | None = None,
    *,
    plugins: Iterable[str] = (),
    library: Library | None = None,
    device: Device = "auto",
) -> Served:
    """The trained model of a run folder, ready to predict; `auto` is CUDA where there is some.

    `checkpoint` is `best`, `last` or a step (default: the best if the recipe asks for one, else the
    last). A run with blocks of your own needs their `plugins` (modules) or a `library`. Raises
    CheckpointError for a damaged run folder, EnvironmentFault for a device that is not there.
    """
    blocks = load_library(plugins) if library is None else library
    trained = load_trained(run_dir, checkpoint, library=blocks, purpose="inference", device=device)
    return Served(trained, Path(run_dir), blocks)


def _flat(name: str, values: np.ndarray[Any, Any]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Columns of a data frame for one output."""
    if values.ndim == 1:
        return [(name, values)]
    return [(f"{name}_{i}", part) for i, part in enumerate(values.reshape(len(values), -1).T)]


def _keys_by_side(graph: Graph) -> dict[str, frozenset[str]]:
    columns = {c.column: c.side for c in (*graph.lookups, *graph.first_order)}
    return {
        side: frozenset(column for column, whose in columns.items() if whose == side)
        for side in ("request", "candidates")
    }


def _are_maps(rows: Any) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    if not isinstance(rows, list | tuple):
        return False
    return set(map(type, rows)) == {dict} or all(isinstance(row, Mapping) for row in rows)
