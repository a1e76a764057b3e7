"""One golden case: its description and arrays, and how close results have to be to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Case", "Found", "compare", "load"]

NEAR = {"out": 1e-5, "loss": 1e-5, "after": 1e-5, "grad": 1e-4}
"""Largest error by part, relative to the scale that each part has."""
PARETO = 1e-4
"""The same for Pareto weights: the reference solves for them iteratively."""
SMALL = 1e-6
"""Arrays below this are compared as if they were this large."""


@dataclass(frozen=True)
class Case:
    """What a case says, and its arrays by key."""

    said: Mapping[str, Any]
    arrays: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        return str(self.said["case"])

    @property
    def graph(self) -> Mapping[str, Any]:
        return self.said.get("graph", {})

    @property
    def training(self) -> bool:
        return bool(self.said["mode"] == "train")

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The arrays below a prefix, by the rest of their keys."""
        start = f"{prefix}/"
        return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}

    def input(self, name: str) -> Tensor:
        return self.arrays[f"in/{name}"]

    def near(self, part: str, key: str = "") -> float:
        """The tolerance of a part: loosened where the reference itself is noisy."""
        noise = self.said.get("noise", {}).get(part, 0.0)
        noise = noise.get(key, 0.0) if isinstance(noise, Mapping) else noise
        return max(NEAR[part], 5 * float(noise))


@dataclass
class Found:
    """What graphrec computes for a case, under the names of the case."""

    out: dict[str, Tensor] = field(default_factory=dict)
    loss: dict[str, Tensor] = field(default_factory=dict)
    after: dict[str, Tensor] = field(default_factory=dict)
    grad: dict[str, Tensor] = field(default_factory=dict)
    padded: dict[str, Tensor] = field(default_factory=dict)
    """Entries [B, T] of a gradient that are real steps; a Jagged has no gradient of padding."""


def load(path: Path) -> Case:
    """The case of a json file and the npz file beside it; ValueError if they disagree."""
    said = json.loads(path.read_text(encoding="utf-8"))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        arrays = {key: torch.from_numpy(stored[key]) for key in stored.files}
    if said.get("format") != 1:
        raise ValueError(f"format {said.get('format')} is not known")
    wrong = set(arrays) ^ set(said["arrays"])
    if wrong:
        raise ValueError(f"arrays of json and npz differ: {sorted(wrong)}")
    return Case(said, arrays)


def compare(case: Case, found: Found) -> list[str]:
    """What differs by more than it may, one text each; nothing if all agrees."""
    problems: list[str] = []
    for part in ("out", "loss", "after"):
        mine, gold = getattr(found, part), case.part(part)
        problems += _keys(part, mine, gold)
        for key in sorted(mine.keys() & gold.keys()):
            limit = PARETO if _is_pareto(case, part, key) else case.near(part, key)
            scale = max(_largest(gold[key]), _loss_scale(case, part), SMALL)
            problems += _close(f"{part}/{key}", mine[key], gold[key], limit * scale, scale)
    return problems + _gradients(case, found)


def _gradients(case: Case, found: Found) -> list[str]:
    gold, problems = case.part("grad"), []
    top = max([_largest(value) for value in gold.values()], default=1.0)
    zero, unknown = case.said.get("zero_gradient", []), case.said.get("nan_gradient", [])
    unreached = case.said.get("no_gradient", [])
    problems += _keys(
        "grad", found.grad.keys() - {*unknown, *unreached, *zero}, gold.keys() - {*zero}
    )
    for key in sorted({*found.grad} & {*unknown, *unreached}):
        value = found.grad[key]
        if not bool(value.isfinite().all()):
            problems.append(f"grad/{key}: not finite")
        if key in unreached and _largest(value) > 1e-5 * top:
            problems.append(f"grad/{key}: {_largest(value):.1e}, but nothing reaches it there")
    for key in sorted(found.grad.keys() & gold.keys()):
        mine, theirs = found.grad[key], gold[key]
        if mine.shape == theirs.shape and key in found.padded:
            mine, theirs = mine[found.padded[key]], theirs[found.padded[key]]
        scale = max(_largest(gold[key]), 1e-3 * top, 1e-12)
        limit = 1e-5 * top if key in zero else case.near("grad", key) * scale
        problems += _close(f"grad/{key}", mine, theirs, limit, scale)
    return problems


def _keys(part: str, mine: Any, gold: Any) -> list[str]:
    """Names that only one side has."""
    missing, more = sorted({*gold} - {*mine}), sorted({*mine} - {*gold})
    told = [f"{part}: missing {', '.join(missing)}"] if missing else []
    return [*told, f"{part}: not in the case: {', '.join(more)}"] if more else told


def _close(name: str, mine: Tensor, gold: Tensor, limit: float, scale: float) -> list[str]:
    if mine.shape != gold.shape:
        return [f"{name}: shape {[*mine.shape]}, not {[*gold.shape]}"]
    if not gold.numel():
        return []
    error = float((mine.detach().double() - gold.double()).abs().max())
    # Written so that NaN fails.
    return (
        []
        if error <= limit
        else [f"{name}: off by {error / scale:.1e}, allowed {limit / scale:.1e}"]
    )


def _largest(value: Tensor) -> float:
    return float(value.abs().max()) if value.numel() else 0.0


def _loss_scale(case: Case, part: str) -> float:
    """The loss of a block is a signed sum: it is held against the sum of its absolute terms."""
    if part != "loss" or case.said["level"] != "block":
        return 0.0
    terms = [(v * case.input(f"cot.{k}")).abs().sum() for k, v in case.part("out").items()]
    return float(sum(terms))


def _is_pareto(case: Case, part: str, key: str) -> bool:
    weights = key == "pareto_weights" or case.graph.get("kind") == "pareto_weights"
    return part == "out" and weights
