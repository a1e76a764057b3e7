"""The planted model of generated data: what the labels depend on, and by how much.

A label's score is a weighted sum of parts, each of mean 0 and variance 1: a value per id (and
the mean over several), a number per pair of ids (low rank: ids fall into four tastes), smooth
functions of numbers, and the share of a history that has the target's taste. All of it is a
function of columns that a model sees: the probability drawn from is the best that any can say.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from graphrec.data.chunk import Array

__all__ = ["TASTES", "Drawn", "Planted", "mean_of_steps", "seed_of"]

TASTES = 4
"""Kinds of users and items; value v of an id has taste v mod 4."""

_FADE = 30  # rank at which the effect of an id starts to fade: rare ids can't be learned
_MOST = 5  # parts of a kind that count: many weak effects would drown in the noise of the labels
_KINDS = {"id": 1.4, "many": 0.5, "pair": 0.4, "number": 0.8, "steps": 0.9, "history": 0.5}


@dataclass
class Drawn:
    """The values behind some generated rows.

    `ids` [B] (-1 is null), `many` flat values with offsets, `steps` the same with the id they are
    values of, `numbers` [B] standardised (0 is null), `matches` [B]: share of a history that has
    the target's taste.
    """

    ids: dict[str, Array] = field(default_factory=dict)
    many: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    steps: dict[str, tuple[str, Array, Array]] = field(default_factory=dict)
    numbers: dict[str, Array] = field(default_factory=dict)
    matches: dict[str, Array] = field(default_factory=dict)


class Planted:
    """Scores [B] of one label (`key` names it), standardised on a sample.

    `domains` gives the size of every id's domain, `pairs` the ids that interact.
    """

    def __init__(
        self, key: str, domains: Mapping[str, int], pairs: list[tuple[str, str]], sample: Drawn
    ) -> None:
        self._key = key
        self._tables = {name: _effects(f"{key}/{name}", size) for name, size in domains.items()}
        self._pairs = {
            pair: np.random.default_rng(seed_of(key, *pair)).normal(size=(TASTES, TASTES))
            for pair in pairs
        }
        self._waves = {
            name: np.random.default_rng(seed_of(key, name)).uniform((0.6, -1.0), (1.6, 1.0))
            for name in sample.numbers
        }
        self._scales: dict[str, tuple[float, float]] = {}
        parts = self._parts(sample)
        shares = _shares(parts, domains)
        for name, part in parts.items():
            spread = float(part.std())
            factor = shares[name] / spread if spread > 1e-6 else 0.0
            self._scales[name] = (float(part.mean()), factor)
        total = self(sample)
        self._spread = float(total.std()) or 1.0

    def __call__(self, drawn: Drawn) -> Array:
        """Scores [B] of mean 0; divide by `spread` for variance 1."""
        total: Array = np.zeros(1)
        for name, part in self._parts(drawn).items():
            mean, factor = self._scales[name]
            total = total + (part - mean) * factor
        return total

    def standard(self, drawn: Drawn) -> Array:
        """Scores [B] of mean 0 and variance 1."""
        return self(drawn) / self._spread

    def _parts(self, drawn: Drawn) -> dict[str, Array]:
        parts: dict[str, Array] = {}
        for name, ids in drawn.ids.items():
            table = self._tables[name]
            parts[f"id {name}"] = np.where(ids >= 0, table.take(ids), 0.0)
        for name, (values, offsets) in drawn.many.items():
            parts[f"many {name}"] = mean_of_steps(self._tables[name].take(values), offsets)
        for name, (base, values, offsets) in drawn.steps.items():
            parts[f"steps {name}"] = mean_of_steps(self._tables[base].take(values), offsets)
        for (one, other), matrix in self._pairs.items():
            a, b = drawn.ids[one], drawn.ids[other]
            known = (a >= 0) & (b >= 0)
            part = matrix[a % TASTES, b % TASTES] * _fade(a) * _fade(b)
            parts[f"pair {one} {other}"] = np.where(known, part, 0.0)
        for name, numbers in drawn.numbers.items():
            slope, bend = self._waves[name]
            parts[f"number {name}"] = np.tanh(slope * numbers) + bend * np.tanh(numbers**2 - 1)
        for name, match in drawn.matches.items():
            parts[f"history {name}"] = match
        return parts


def mean_of_steps(values: Array, offsets: Array) -> Array:
    """Mean over the steps of each row [B]; 0 for none."""
    summed = np.append(0.0, np.cumsum(values))
    means: Array = (summed[offsets[1:]] - summed[offsets[:-1]]) / np.maximum(np.diff(offsets), 1)
    return means


def seed_of(*words: object) -> int:
    """A seed that depends on the words alone."""
    return zlib.crc32("\0".join(map(str, words)).encode())


def _effects(key: str, size: int) -> Array:
    values = np.random.default_rng(seed_of(key)).normal(size=size)
    return values * _fade(np.arange(size))


def _fade(values: Array) -> Array:
    return 1.0 / (1.0 + np.maximum(values, 0) / _FADE)


def _shares(parts: Mapping[str, Array], domains: Mapping[str, int]) -> dict[str, float]:
    """Standard deviation of each part; within a kind the first ones count most."""
    groups: dict[str, list[str]] = {}
    for name in parts:
        groups.setdefault(name.partition(" ")[0], []).append(name)
    shares: dict[str, float] = {}
    for kind, names in groups.items():
        # Small domains first: what depends on few values can be learned from few rows.
        names.sort(key=lambda name: (domains.get(name.partition(" ")[2], 0), name))
        weights = np.array([1.0 / (1.0 + i) if i < _MOST else 0.0 for i in range(len(names))])
        weights *= _KINDS[kind] / np.sqrt((weights**2).sum())
        shares.update(zip(names, weights.tolist(), strict=True))
    return shares
