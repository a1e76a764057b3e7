"""`EmbeddingOutputs`: all that was looked up for a batch, by names of columns and histories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphrec.nn.batch import Jagged
from graphrec.nn.gather import Part

__all__ = ["Columns", "EmbeddingOutputs", "Place"]


class Place(NamedTuple):
    """Where a column lies: columns start:stop of one source tensor [rows, width]."""

    source: str
    start: int
    stop: int


class Columns:
    """Where every column lies, and what its readers ask for, worked out once for all batches."""

    def __init__(
        self, places: Mapping[str, Place], raw: Mapping[str, Place], histories: Iterable[str]
    ) -> None:
        self.places, self.raw, self.histories = places, raw, frozenset(histories)
        self._plain = {False: self._named(places), True: self._named(raw)}
        self._runs: dict[tuple[bool, tuple[str, ...]], tuple[Place, ...]] = {}

    def plain(self, *, raw: bool) -> tuple[str, ...]:
        """All columns that are no history's."""
        return self._plain[raw]

    def history(self, history: str) -> tuple[str, ...]:
        """The columns of a history."""
        names = tuple(sorted(name for name in self.histories if name.startswith(f"{history}.")))
        if not names:
            known = sorted({name.partition(".")[0] for name in self.histories})
            raise ValueError(f"no history `{history}`; known here: {', '.join(known) or 'none'}")
        return names

    def runs(self, names: tuple[str, ...], *, raw: bool) -> tuple[Place, ...]:
        """The fewest pieces of sources that are these columns side by side."""
        known = self._runs.get((raw, names))
        if known is not None:
            return known
        places = self.raw if raw else self.places
        runs: list[Place] = []
        for name in names:
            if name not in places:
                known_here = ", ".join(places)
                raise KeyError(f"column `{name}` was not looked up; known here: {known_here}")
            place = places[name]
            if runs and runs[-1].source == place.source and runs[-1].stop == place.start:
                runs[-1] = Place(place.source, runs[-1].start, place.stop)
            else:
                runs.append(place)
        if not torch.compiler.is_compiling():  # a trace must not change what it reads
            self._runs[raw, names] = tuple(runs)
        return tuple(runs)

    def width(self, fields: tuple[str, ...]) -> int:
        """The width that all these columns have; ValueError if they differ."""
        places = [self.runs((field,), raw=False)[0] for field in fields]
        widths = [place.stop - place.start for place in places]
        if len(set(widths)) != 1:
            pairs = zip(fields, widths, strict=True)
            shown = ", ".join(f"{field}: {width}" for field, width in pairs)
            raise ValueError(f"fields need equal widths, got {shown}")
        return widths[0]

    def _named(self, places: Mapping[str, Place]) -> tuple[str, ...]:
        return tuple(sorted(name for name in places if name not in self.histories))


class EmbeddingOutputs:
    """The embeddings of one batch.

    Columns lie side by side in a few source tensors, in name order, so that names which are
    neighbours come back as a view. Every answer is kept: asking twice costs nothing, and gradients
    of several readers meet once.
    """

    def __init__(
        self,
        sources: Mapping[str, Tensor],
        columns: Columns,
        lengths: Mapping[str, Tensor],
        parts: Mapping[Any, Part] | None = None,
    ) -> None:
        self.parts = parts or {}  # what was read, by `Group.key`, for others that read the same
        self._sources, self._columns, self._lengths = sources, columns, lengths
        self._kept: dict[tuple[bool, tuple[str, ...]], Tensor] = {}

    def concat(self, names: Iterable[str] | None = None) -> Tensor:
        """The columns side by side, [B, sum of widths]; without names all that are no history."""
        return self._join(self._named(names), raw=False)

    def stack(self, names: Iterable[str] | None = None) -> Tensor:
        """The columns as fields, [B, F, D]; their widths must be equal."""
        fields = self._named(names)
        width = self._columns.width(fields)
        return self._join(fields, raw=False).reshape(-1, len(fields), width)

    def sum(self, names: Iterable[str] | None = None) -> Tensor:
        """The sum of the columns, [B, D]; their widths must be equal."""
        return self.stack(names).sum(1)

    def values(self, names: Iterable[str] | None = None) -> Tensor:
        """The raw numbers of dense columns, [B, sum of widths]."""
        return self._join(self._named(names, raw=True), raw=True)

    def sequence(self, history: str, names: Iterable[str] | None = None) -> Jagged:
        """A history's columns (or those of `names`) side by side, values [T, sum of widths]."""
        columns = self._columns.history(history)
        return Jagged(self.concat(columns if names is None else names), self._lengths[columns[0]])

    def steps(self, history: str) -> Tensor:
        """Number of steps of a history, [B, 1] float."""
        return self._lengths[self._columns.history(history)[0]].to(torch.float32).unsqueeze(1)

    def _named(self, names: Iterable[str] | None, *, raw: bool = False) -> tuple[str, ...]:
        return self._columns.plain(raw=raw) if names is None else tuple(names)

    def _join(self, names: tuple[str, ...], *, raw: bool) -> Tensor:
        kept = self._kept.get((raw, names))
        if kept is None:
            pieces = [self._piece(run) for run in self._columns.runs(names, raw=raw)]
            kept = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
            self._kept[raw, names] = kept
        return kept

    def _piece(self, run: Place) -> Tensor:
        source = self._sources[run.source]
        whole = run.start == 0 and run.stop == source.shape[1]
        return source if whole else source[:, run.start : run.stop]
