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

from graphrec.blocks.library import BUILTIN, Library
from graphrec.compiler.pipeline import Compiled
from graphrec.data import Encoder
from graphrec.data.raw_cells import BadCell
from graphrec.data.row_batch import batch_of
from graphrec.data.row_spec import row_features
from graphrec.errors import DataError, Problem, nearest
from graphrec.graph import Graph
from graphrec.nn import Batch, prepare
from graphrec.recipe.model import Recipe
from graphrec.recipe.training import Device
from graphrec.train.evaluate_run import Trained
from graphrec.train.evaluate_run import load_run as load_trained

__all__ = ["Rows", "Served", "load_run"]

Rows: TypeAlias = Sequence[Mapping[str, Any]] | Any
"""Rows as the run's data has them: a map per row, or an Arrow table or record batch."""

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

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.module: nn.Module = prepare(trained.module)
        keys = _keys_by_side(trained.compiled.graph)
        whole = trained.encoder.only(keys["request"] | keys["candidates"])
        self._encoders: dict[str | None, Encoder] = {None: whole}
        self._encoders |= {side: whole.only(found) for side, found in keys.items()}
        sides = {column: side for side, found in keys.items() for column in found}
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
        return encoder.encode(_table(rows, encoder.plan.columns)).to(self.trained.device)

    def predict(self, rows: Rows) -> dict[str, np.ndarray[Any, Any]]:
        """The predictions for whole rows, an array of as many rows for each key of `forward`."""
        return self._run(self.module, self.batch(rows))

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
        call: Callable[..., Any] = getattr(self.module, method)
        if isinstance(request, Mapping) and _are_maps(candidates):
            with suppress(BadCell):
                return self.score_arrays(self.reader.score(request, candidates))
        asked = _table([request] if isinstance(request, Mapping) else request, ())
        if asked.num_rows != 1:
            raise ValueError(
                f"a request is one row, got {asked.num_rows}: score requests one by one"
                f" (the columns of a request: {', '.join(self.request_columns)})"
            )
        given = self._with_request(asked, candidates)
        return self._run(call, self.batch(asked, "request"), self.batch(given, "candidates"))

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

    def _with_request(self, asked: Any, candidates: Rows) -> Any:
        """The candidates with what they read of the request: its values count, not their own.

        A cross of user and item is of the candidate, and reads a column of the request.
        """
        columns = self._encoders["candidates"].plan.columns
        given = _table(candidates, columns)
        for column in columns:
            own = column in given.column_names
            if column in asked.column_names and (column in self.request_columns or not own):
                said = asked.column(column).take(pa.array([0] * given.num_rows, pa.int64()))
                given = given.drop_columns([column]) if own else given
                given = given.append_column(column, said)
        return given

    @staticmethod
    def _run(call: Callable[..., Any], *batches: Batch) -> dict[str, np.ndarray[Any, Any]]:
        with torch.inference_mode():
            found = call(*batches)
        return {
            key: value.float().cpu().numpy()
            for key, value in found.items()
            if isinstance(value, Tensor) and value.dim()
        }


def load_run(
    run_dir: str | Path,
    checkpoint: str | int | None = None,
    *,
    library: Library = BUILTIN,
    device: Device = "auto",
) -> Served:
    """The trained model of a run folder, ready to predict; `auto` is CUDA where there is some.

    `checkpoint` is `best`, `last` or a step (default: the best if the recipe asks for one, else the
    last). Raises CheckpointError for a damaged run folder, EnvironmentFault for a device that is
    not there.
    """
    trained = load_trained(run_dir, checkpoint, library=library, purpose="inference", device=device)
    return Served(trained)


def _keys_by_side(graph: Graph) -> dict[str, frozenset[str]]:
    columns = {c.column: c.side for c in (*graph.lookups, *graph.first_order)}
    return {
        side: frozenset(column for column, found in columns.items() if found == side)
        for side in ("request", "candidates")
    }


def _are_maps(rows: Any) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(rows, list | tuple) and all(isinstance(row, Mapping) for row in rows)


def _table(rows: Rows, columns: Sequence[str]) -> pa.Table:
    """The rows as a table; of no rows at all, one with these columns.

    What one row has of `columns` every row must have, if only as None: a key that is left out may
    be misspelt, and is no null.
    """
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    single = isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable)
    maps = [] if single else list(rows)
    odd = rows if single else next((row for row in maps if not isinstance(row, Mapping)), None)
    if odd is not None or single:
        raise TypeError(
            f"rows are a list with a map per row, or an Arrow table; got {type(odd).__name__}"
            " (columns become a table with pyarrow.table)"
        )
    if not maps:
        return pa.table({column: pa.nulls(0) for column in columns})
    names = list(dict.fromkeys(name for row in maps for name in row))
    _check_keys(maps, {column for column in columns if column in names})
    return pa.table({name: _column(name, [row.get(name) for row in maps]) for name in names})


def _check_keys(maps: Sequence[Mapping[str, Any]], wanted: set[str]) -> None:
    for number, row in enumerate(maps):
        missing = sorted(wanted - row.keys())
        if missing:
            other = sorted(str(key) for key in row.keys() - wanted)
            near = nearest(missing[0], other)
            known = f"did you mean it by `{near}`? " if near else ""
            found = Problem(
                "GR703",
                f"row {number} of {len(maps)} has no `{missing[0]}`",
                path=f"data.{missing[0]}",
                help=f"{known}write None where there is no value",
            )
            raise DataError(found)


def _column(name: str, values: list[Any]) -> Any:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        help = "values of one kind in all rows of a column; ids beyond 64 bits as text"
        found = Problem(
            "GR706", f"column `{name}` of the rows: {error}", path=f"data.{name}", help=help
        )
        raise DataError(found) from None
