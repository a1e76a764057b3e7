"""Columns that grow row by row: in memory up to a limit, beyond it in an unlinked file."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from graphrec.train.exact import Array

__all__ = ["LIMIT", "Rows"]

LIMIT = 4_000_000
"""Rows held in memory by one store, and read at a time from its file."""


class Rows:
    """Equally long columns, appended batch by batch; what exceeds `limit` rows lies on disk."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._parts: list[dict[str, Array]] = []
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

    def chunks(self) -> Iterator[dict[str, Array]]:
        """All rows in their order, at most about `limit` at a time."""
        for start in range(0, self._stored, self.limit):
            size = min(self.limit, self._stored - start)
            yield {name: self._read(name, start, size) for name in self._files}
        if self._parts:
            yield _joined(self._parts)

    def all(self) -> dict[str, Array]:
        """All rows at once, in memory."""
        return _joined(list(self.chunks()))

    def select(self, keep: Callable[[dict[str, Array]], Array]) -> dict[str, Array]:
        """The rows for which `keep` (columns -> bool) holds, gathered chunk by chunk."""
        picked = []
        for chunk in self.chunks():
            mask = keep(chunk)
            picked.append({name: values[mask] for name, values in chunk.items()})
        return _joined(picked)

    @property
    def spilled(self) -> bool:
        return self._stored > 0

    def _spill(self) -> None:
        for name, values in _joined(self._parts).items():
            if name not in self._files:
                self._files[name] = tempfile.TemporaryFile(prefix="graphrec-rows-")  # noqa: SIM115
                self._types[name] = (values.dtype, values.shape[1:])
            self._files[name].seek(0, 2)
            self._files[name].write(np.ascontiguousarray(values).tobytes())
        self._stored += self._held
        self._held, self._parts = 0, []

    def _read(self, name: str, start: int, size: int) -> Array:
        dtype, shape = self._types[name]
        width = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._files[name].seek(start * width)
        return np.frombuffer(self._files[name].read(size * width), dtype=dtype).reshape(
            size, *shape
        )


def _close(files: dict[str, IO[bytes]]) -> None:
    for file in files.values():
        file.close()


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    if len(parts) == 1:
        return parts[0]
    names = parts[0] if parts else {}
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
