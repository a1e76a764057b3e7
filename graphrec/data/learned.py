"""What was learned from the training data, and the files it is kept in with a run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from graphrec.data.chunk import Array
from graphrec.data.numbers import Scale
from graphrec.data.plan import plan
from graphrec.data.spelling import canonical_texts
from graphrec.ground.errors import CheckpointError, Problem
from graphrec.recipe.model import BucketFeature, DenseFeature, IdFeature, Recipe

__all__ = ["Learned", "load", "save"]

_VERSION = 2


@dataclass
class Learned:
    """Vocabularies by table (Arrow texts in the order of the rows), edges, scales by feature."""

    vocabularies: dict[str, Any] = field(default_factory=dict)
    edges: dict[str, Array] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)


def save(learned: Learned, folder: Path) -> None:
    """vocab/<table>.parquet (values in the order of the rows) and stats.json, on the disk."""
    vocab = folder / "vocab"
    vocab.mkdir(parents=True, exist_ok=True)
    for table, values in learned.vocabularies.items():
        with _file(vocab, table).open("wb") as file:
            pq.write_table(pa.table({"value": values}), file)
            file.flush()
            os.fsync(file.fileno())
    stats = {
        "version": _VERSION,
        "edges": {name: edges.tolist() for name, edges in sorted(learned.edges.items())},
        "scales": {
            name: [part.tolist() for part in scale]
            for name, scale in sorted(learned.scales.items())
        },
    }
    with (folder / "stats.json").open("w", encoding="utf-8") as text:
        text.write(json.dumps(stats, indent=1) + "\n")
        text.flush()
        os.fsync(text.fileno())


def load(recipe: Recipe, folder: Path) -> Learned:
    """What `save` wrote, checked against what the recipe needs."""
    path = folder / "stats.json"
    try:
        stats = json.loads(path.read_text(encoding="utf-8"))
        if stats["version"] not in (1, _VERSION):
            raise ValueError(f"version {stats['version']}, understood here: 1 to {_VERSION}")
        learned = Learned(
            edges={name: np.array(e, np.float64) for name, e in stats["edges"].items()},
            scales={
                name: _scale(*(np.array(part, float) for part in parts))
                for name, parts in stats["scales"].items()
            },
        )
        for f in plan(recipe).fields:
            feature = f.feature
            if isinstance(feature, IdFeature) and feature.vocab.name in ("fit", "file"):
                path = _file(folder / "vocab", str(f.table))
                if str(f.table) not in learned.vocabularies:
                    values = pq.read_table(path)["value"].combine_chunks()
                    old = stats["version"] == 1
                    learned.vocabularies[str(f.table)] = _spelled(values) if old else values
        path = folder / "stats.json"
        for f in plan(recipe).fields:
            if isinstance(f.feature, BucketFeature):
                learned.edges[f.stats]
            elif isinstance(f.feature, DenseFeature) and f.feature.transform in (
                "zscore",
                "minmax",
            ):
                learned.scales[f.stats]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as fault:
        damage = (
            f"missing: {fault}"
            if isinstance(fault, KeyError)
            else " ".join(str(fault).split())[:200]
        )
        raise CheckpointError(Problem("GR805", f"{path} can't be used: {damage}")) from None
    return learned


def _scale(shift: Array, factor: Array, mean: Array | None = None) -> Scale:
    """Version 1 had no mean: null was 0 before the transform."""
    return Scale(shift, factor, np.zeros_like(shift) if mean is None else mean)


def _spelled(values: Any) -> Any:
    """Values of version 1 in their one spelling, where they stay different."""
    spelled = canonical_texts(values)
    return spelled if len(spelled.unique()) == len(values) else values


def _file(vocab: Path, table: str) -> Path:
    return vocab / f"{quote(table, safe='')}.parquet"
