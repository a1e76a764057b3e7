"""Columns that grow row by row: in memory up to a limit, beyond it in an unlinked file."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from graphrec.train.exact import Array

__all__ = ["LIMIT", "Rows"]

LIMIT = 1 << 18
"""Rows held in memory by one store, and read at a time from its file."""

Columns = dict[str, Array]


class Rows:
    """Equally long columns, appended batch by batch; what exceeds `limit` rows lies on disk."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._parts: list[Columns] = []
        self._files: dict[str, IO[bytes]] = {}
        self._types: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]] = {}
        self._held = self._stored = 0
        weakref.finalize(self, _close, self._files)

    def __len__(self) -> int:
        return self._held + self._stored

    def append(self, **columns: Array) -> None:
        """Add rows; every call has the same columns with the same dtypes."""
        self._parts.append(columns)
        self._held += len(next(iter(columns.values())))
        if self._held > self.limit:
            self._spill()

    def chunks(self) -> Iterator[Columns]:
        """All rows in their order, at most about `limit` at a time."""
        for start in range(0, self._stored, self.limit):
            yield self._read(start, min(self.limit, self._stored - start))
        if self._parts:
            yield _joined(self._parts)

    def all(self) -> Columns:
        """All rows at once, in memory."""
        return _joined(list(self.chunks()))

    def at(self, places: Array) -> Columns:
        """The rows at these places [N], gathered chunk by chunk."""
        order, first, picked = np.argsort(places, kind="stable"), 0, list[Columns]()
        for chunk in self.chunks():
            size = len(next(iter(chunk.values())))
            low, high = np.searchsorted(places[order], [first, first + size])
            picked.append({n: v[places[order[low:high]] - first] for n, v in chunk.items()})
            first += size
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return {name: values[back] for name, values in _joined(picked).items()}

    def split(self, part_of: Callable[[Columns], Array], count: int) -> Iterator[Columns]:
        """The rows part by part, where `part_of` (columns -> 0..count) tells; `count` leaves out.

        The rows are written once more, in the order of their parts; empty parts do not come.
        """
        sorted_rows, sizes = Rows(limit=0), list[Array]()
        for chunk in self.chunks():
            part = part_of(chunk).astype(np.uint16 if count < 1 << 16 else np.int64)
            order = np.argsort(part, kind="stable")
            sizes.append(np.bincount(part, minlength=count + 1)[:count])
            order = order[: int(sizes[-1].sum())]
            sorted_rows.append(**{name: values[order] for name, values in chunk.items()})
        if not sizes:
            return
        of_chunks = np.stack(sizes)
        starts = (np.cumsum(of_chunks) - of_chunks.ravel()).reshape(of_chunks.shape)
        for number in range(count):
            pieces = zip(starts[:, number].tolist(), of_chunks[:, number].tolist(), strict=True)
            read = [sorted_rows._read(start, size) for start, size in pieces if size]
            if read:
                yield _joined(read)

    @property
    def spilled(self) -> bool:
        return self._stored > 0

    def _spill(self) -> None:
        for name, values in _joined(self._parts).items():
            if name not in self._files:
                self._files[name] = tempfile.TemporaryFile(prefix="graphrec-rows-")  # noqa: SIM115
                self._types[name] = (values.dtype, values.shape[1:])
            self._files[name].seek(0, 2)
            self._files[name].write(np.ascontiguousarray(values).data)
        self._stored += self._held
        self._held, self._parts = 0, []

    def _read(self, start: int, size: int) -> Columns:
        columns = {}
        for name, (dtype, shape) in self._types.items():
            width = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            self._files[name].seek(start * width)
            content = self._files[name].read(size * width)
            columns[name] = np.frombuffer(content, dtype=dtype).reshape(size, *shape)
        return columns


def _close(files: dict[str, IO[bytes]]) -> None:
    for file in files.values():
        file.close()


def _joined(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    names = parts[0] if parts else {}
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
