"""`EmbeddingOutputs`: all that was looked up for a batch, by names of columns and histories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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

    def concat(self, names: Iterable[str] | None = None) -> Tensor:
        """The columns side by side, [B, sum of widths]; without names all that are no history."""
        return self._join(self._places, self._plain(self._places, names), raw=False)

    def stack(self, names: Iterable[str] | None = None) -> Tensor:
        """The columns as fields, [B, F, D]; their widths must be equal."""
        fields = self._plain(self._places, names)
        places = {field: self._place(self._places, field) for field in fields}
        widths = {field: place.stop - place.start for field, place in places.items()}
        if len(set(widths.values())) != 1:
            shown = ", ".join(f"{field}: {width}" for field, width in widths.items())
            raise ValueError(f"fields need equal widths, got {shown}")
        return self.concat(fields).reshape(-1, len(fields), widths[fields[0]])

    def sum(self, names: Iterable[str] | None = None) -> Tensor:
        """The sum of the columns, [B, D]; their widths must be equal."""
        return self.stack(names).sum(1)

    def values(self, names: Iterable[str] | None = None) -> Tensor:
        """The raw numbers of dense columns, [B, sum of widths]."""
        return self._join(self._raw, self._plain(self._raw, names), raw=True)

    def sequence(self, history: str, names: Iterable[str] | None = None) -> Jagged:
        """A history's columns (or those of `names`) side by side, values [T, sum of widths]."""
        columns = self._of_history(history)
        return Jagged(self.concat(columns if names is None else names), self._lengths[columns[0]])

    def steps(self, history: str) -> Tensor:
        """Number of steps of a history, [B, 1] float."""
        return self._lengths[self._of_history(history)[0]].to(torch.float32).unsqueeze(1)

    def _plain(self, places: Mapping[str, Place], names: Iterable[str] | None) -> tuple[str, ...]:
        if names is not None:
            return tuple(names)
        return tuple(sorted(name for name in places if name not in self._lengths))

    def _of_history(self, history: str) -> tuple[str, ...]:
        names = tuple(sorted(name for name in self._lengths if name.startswith(f"{history}.")))
        if not names:
            known = dict.fromkeys(name.partition(".")[0] for name in self._lengths)
            raise ValueError(f"no history `{history}`; known here: {', '.join(known) or 'none'}")
        return names

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
