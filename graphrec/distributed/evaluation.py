"""Evaluation: every rank scores its rows, then rank 0 measures all of them as one process does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from graphrec.data.chunk import Array
from graphrec.distributed.engine import Engine
from graphrec.distributed.loader import Portion
from graphrec.distributed.ranks import Ranks
from graphrec.nn.batch import Batch, Jagged
from graphrec.train.evaluation import Evaluator
from graphrec.train.train_rows import Rows

__all__ = ["Stored", "evaluate_rows", "store_rows"]

_KINDS = ("predictions", "labels", "weights", "columns")


class Stored:
    """The scored rows of this rank; beyond some millions they lie on disk."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.scalars: dict[str, float] = {}
        self.begun = time.perf_counter()

    def add(self, predictions: dict[str, Tensor], batch: Batch) -> None:
        """Keep what metrics and losses read; penalties are the same for every batch."""
        columns: dict[str, Array] = {}
        for name, value in predictions.items():
            if value.dim():
                columns[f"predictions/{name}"] = value.float().cpu().numpy()
            else:
                self.scalars[name] = float(value)
        for kind, tensors in (("labels", batch.labels), ("weights", batch.weights)):
            columns.update({f"{kind}/{name}": v.cpu().numpy() for name, v in tensors.items()})
        columns.update({f"columns/{name}": np.asarray(v) for name, v in batch.columns.items()})
        columns["row"] = np.zeros(batch.num_rows, np.int8)
        self.rows.append(**columns)


def store_rows(
    engine: Engine, portions: Iterator[Portion], stopped: Callable[[], bool]
) -> Stored | None:
    """Score this rank's rows; None when a signal came to any rank."""
    stored = Stored()
    for portion in portions:
        if stopped():
            return None
        predictions = engine.predict(engine.share(portion))
        if portion.batch.num_rows:
            stored.add(predictions, portion.batch)
        elif not stored.scalars:
            stored.scalars.update({k: float(v) for k, v in predictions.items() if not v.dim()})
    return stored


def evaluate_rows(
    ranks: Ranks, stored: Stored, evaluator: Evaluator, module: nn.Module, batch_rows: int
) -> dict[str, Any]:
    """The record's numbers, of the rows of all ranks in the order of the data, on every rank."""
    record: dict[str, Any] | None = None
    if ranks.first:
        chunks = _cut(_received(ranks, stored.rows), batch_rows)
        at: dict[str, Tensor] = {}
        scalars = {name: torch.tensor(value) for name, value in stored.scalars.items()}

        def batches() -> Iterator[Batch]:
            for chunk in chunks:
                parts: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
                for name, values in chunk.items():
                    kind, _, key = name.partition("/")
                    if kind in parts:
                        parts[kind][key] = values if kind == "columns" else _tensor(values)
                at.clear()
                at.update(parts["predictions"] | scalars)
                rows: dict[str, Tensor | Jagged] = {"row": torch.zeros(len(chunk["row"]))}
                yield Batch(rows, parts["labels"], parts["weights"], parts["columns"])

        device, evaluator.device = evaluator.device, torch.device("cpu")
        record = evaluator.run(module, lambda batch: dict(at), batches())
        evaluator.device = device
        assert record is not None
        record["seconds"] = round(time.perf_counter() - stored.begun, 3)
    else:
        for chunk in stored.rows.chunks():
            dist.send_object_list([chunk], dst=0, group=ranks.patient)
        dist.send_object_list([None], dst=0, group=ranks.patient)
    numbers: dict[str, Any] = ranks.broadcast(record)
    return numbers


def _received(ranks: Ranks, own: Rows) -> Iterator[dict[str, Array]]:
    """The rows of rank 0, 1, ...; each sends as much as is asked for."""
    yield from own.chunks()
    for rank in range(1, ranks.size):
        while True:
            box: list[Any] = [None]
            dist.recv_object_list(box, src=rank, group=ranks.patient)
            if box[0] is None:
                break
            yield box[0]


def _cut(chunks: Iterator[dict[str, Array]], batch: int) -> Iterator[dict[str, Array]]:
    """The same rows in batches of that size."""
    waiting: list[dict[str, Array]] = []
    rows = 0
    for chunk in chunks:
        if len(chunk["row"]):
            waiting.append(chunk)
            rows += len(chunk["row"])
        while rows >= batch:
            first, waiting = _split(waiting, batch)
            rows -= batch
            yield first
    if rows:
        yield _split(waiting, rows)[0]


def _split(
    chunks: list[dict[str, Array]], rows: int
) -> tuple[dict[str, Array], list[dict[str, Array]]]:
    taken: list[dict[str, Array]] = []
    rest = list(chunks)
    while rows:
        first = rest.pop(0)
        size = len(first["row"])
        if size > rows:
            rest.insert(0, {name: values[rows:] for name, values in first.items()})
            first = {name: values[:rows] for name, values in first.items()}
        taken.append(first)
        rows -= len(first["row"])
    if len(taken) == 1:
        return taken[0], rest
    return {name: np.concatenate([t[name] for t in taken]) for name in taken[0]}, rest


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))
