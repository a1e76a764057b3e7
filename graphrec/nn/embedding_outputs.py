"""`EmbeddingOutputs`: all that was looked up for a batch, handed out by column names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphrec.nn.batch import Jagged
from graphrec.nn.gather import Part

__all__ = ["EmbeddingOutputs", "Place"]


class Place(NamedTuple):
    """Where a column lies: columns start:stop of one source tensor [rows, width]."""

    source: str
    start: int
    stop: int


class EmbeddingOutputs:
    """The embeddings of one batch.

    Columns lie side by side in a few source tensors, in name order, so that names which are
    neighbours come back as a view. Every answer is kept: asking twice costs nothing, and gradients
    of several readers meet once.
    """

    def __init__(
        self,
        sources: Mapping[str, Tensor],
        places: Mapping[str, Place],
        raw: Mapping[str, Place],
        lengths: Mapping[str, Tensor],
        parts: Mapping[Any, Part] | None = None,
    ) -> None:
        self.parts = parts or {}  # what was read, by `Group.key`, for others that read the same
        self._sources, self._places, self._raw, self._lengths = sources, places, raw, lengths
        self._kept: dict[tuple[bool, tuple[str, ...]], Tensor] = {}

    def concat(self, names: Iterable[str]) -> Tensor:
        """The columns side by side, [B, sum of widths]."""
        return self._join(self._places, tuple(names), raw=False)

    def stack(self, names: Iterable[str]) -> Tensor:
        """The columns as fields, [B, F, D]; their widths must be equal."""
        names = tuple(names)
        widths = {self._place(self._places, name).stop - self._places[name].start for name in names}
        if len(widths) != 1:
            shown = ", ".join(f"{n}: {self._places[n].stop - self._places[n].start}" for n in names)
            raise ValueError(f"fields need equal widths, got {shown}")
        return self.concat(names).reshape(-1, len(names), widths.pop())

    def values(self, names: Iterable[str]) -> Tensor:
        """The raw numbers of dense columns, [B, sum of widths]."""
        return self._join(self._raw, tuple(names), raw=True)

    def sequence(self, names: Iterable[str]) -> Jagged:
        """The columns of one history side by side at every step, values [T, sum of widths]."""
        names = tuple(names)
        return Jagged(self.concat(names), self._steps(names))

    def length(self, names: Iterable[str]) -> Tensor:
        """Number of steps of a history, given by its columns, [B] float."""
        return self._steps(tuple(names)).to(torch.float32)

    def _steps(self, names: Sequence[str]) -> Tensor:
        if not names or names[0] not in self._lengths:
            raise ValueError(f"{', '.join(names) or 'no column'}: not columns of a history")
        return self._lengths[names[0]]

    def _place(self, places: Mapping[str, Place], name: str) -> Place:
        if name not in places:
            raise KeyError(f"column `{name}` was not looked up; known here: {', '.join(places)}")
        return places[name]

    def _join(self, places: Mapping[str, Place], names: tuple[str, ...], *, raw: bool) -> Tensor:
        kept = self._kept.get((raw, names))
        if kept is None:
            runs: list[Place] = []
            for name in names:
                place = self._place(places, name)
                if runs and runs[-1].source == place.source and runs[-1].stop == place.start:
                    runs[-1] = Place(place.source, runs[-1].start, place.stop)
                else:
                    runs.append(place)
            pieces = [self._piece(run) for run in runs]
            kept = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
            self._kept[raw, names] = kept
        return kept

    def _piece(self, run: Place) -> Tensor:
        source = self._sources[run.source]
        whole = run.start == 0 and run.stop == source.shape[1]
        return source if whole else source[:, run.start : run.stop]
