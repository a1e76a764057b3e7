"""Raw rows -> predictions, chunk by chunk: encoded and scored by a few threads, handed on in order.

Every thread encodes a chunk and runs the module on it with one thread of torch's: two chunks at a
time use two cores better than one chunk on both of them, as encoding is no torch operation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from graphrec.data import Counts, Encoder
from graphrec.data.source import Raw
from graphrec.export.outputs import RowOutput, row_outputs
from graphrec.nn import prepare
from graphrec.train.evaluate_run import Trained

__all__ = ["Scored", "Scorer"]

_BATCH = 4096
"""Rows of a forward: what lies between two layers of a usual model then stays in the cache."""

Array = np.ndarray[Any, Any]


@dataclass
class Scored:
    """The rows of a chunk that were not quarantined, with their predictions and what was counted.

    `kept` are columns of the data, as Arrow arrays; `predictions` float32 [B] or [B, ...].
    """

    rows: int
    kept: dict[str, Any]
    predictions: dict[str, Array]
    counts: Counts


class Scorer:
    """A trained run that scores raw chunks of files; `outputs` are its predictions in their order.

    The run must be compiled for inference and is prepared here.
    """

    def __init__(self, trained: Trained, keep: Sequence[str] = ()) -> None:
        self.outputs: tuple[RowOutput, ...] = row_outputs(trained.compiled.graph)
        self.keep = tuple(keep)
        self._module = prepare(trained.module)
        self._device = trained.device
        graph = trained.compiled.graph
        read = {lookup.column for lookup in (*graph.lookups, *graph.first_order)}
        self.encoder: Encoder = trained.with_seen(trained.encoder.only(read, served=False))

    def chunks(self, raws: Iterable[Raw], threads: int) -> Generator[Scored, None, None]:
        """The predictions of all chunks, in their order; at most `threads` + 1 are held."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        waiting: deque[Future[Scored]] = deque()
        try:
            with ThreadPoolExecutor(threads) as pool, closing(_iterator(raws)) as source:
                try:
                    for raw in source:
                        waiting.append(pool.submit(self.score, raw))
                        if len(waiting) > threads:
                            yield waiting.popleft().result()
                    while waiting:
                        yield waiting.popleft().result()
                finally:
                    for future in waiting:
                        future.cancel()
        finally:
            torch.set_num_threads(before)

    def score(self, raw: Raw) -> Scored:
        """The predictions of one chunk. Raises DataError for bad cells, unless quarantined."""
        chunk, counts, index = self.encoder.encode_kept(raw)
        counts.trained = chunk.num_rows
        parts: dict[str, list[Array]] = {output.name: [] for output in self.outputs}
        with torch.inference_mode():
            for start in range(0, chunk.num_rows, _BATCH):
                part = chunk.slice(start, min(start + _BATCH, chunk.num_rows))
                self._add(parts, self._module(part.batch().to(self._device)))
        kept = {name: raw.table.column(name) for name in self.keep}
        if index is not None:
            kept = {name: values.take(index) for name, values in kept.items()}
        predictions = {
            output.name: np.concatenate(parts[output.name])
            if parts[output.name]
            else np.empty((0, *output.dims), np.float32)
            for output in self.outputs
        }
        return Scored(chunk.num_rows, kept, predictions, counts)

    def _add(self, parts: Mapping[str, list[Array]], result: Mapping[str, Any]) -> None:
        for output in self.outputs:
            parts[output.name].append(result[output.name].float().cpu().numpy())


def _iterator(raws: Iterable[Raw]) -> Generator[Raw, None, None]:
    """A generator, whatever was given: it can be closed."""
    yield from raws
