"""The models of the comparisons: a recipe, the same model by hand, and batches for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.models.dbmtl import DBMTL
from bench.models.deepfm import DeepFM
from bench.models.mmoe import MMoE
from bench.models.ple import PLE
from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.nn.batch import Batch
from graphrec.recipe.model import DenseFeature, IdFeature

__all__ = ["CASES", "HAND", "Data", "batches", "columns", "compiled"]

FOLDER = Path(__file__).resolve().parent / "recipes"
HAND: dict[str, type[nn.Module]] = {"deepfm": DeepFM, "dbmtl": DBMTL, "mmoe": MMoE, "ple": PLE}
CASES = tuple(HAND)


@dataclass(frozen=True)
class Data:
    """One batch, as a generated module and as a hand-written one takes it."""

    batch: Batch
    ids: Tensor
    numbers: Tensor
    labels: tuple[Tensor, ...]


def compiled(name: str, overrides: Sequence[str] = ()) -> Compiled:
    """The compiled recipe of a case, or of a file."""
    path = FOLDER / f"{name}.yaml" if name in HAND else Path(name)
    return compile_recipe(path, overrides=overrides)


def columns(model: Compiled) -> tuple[dict[str, int], list[str]]:
    """Rows of the tables by id column, and names of the dense columns, both sorted."""
    features = sorted(model.recipe.features.items())
    ids = {name: _rows(f) for name, f in features if isinstance(f, IdFeature)}
    dense = [name for name, f in features if isinstance(f, DenseFeature)]
    return ids, dense


def batches(model: Compiled, size: int, count: int = 8, seed: int = 0) -> list[Data]:
    """Random rows: every id as likely as any other, the hardest case for a table."""
    random = torch.Generator().manual_seed(seed)
    rows, dense = columns(model)
    found = []
    for _ in range(count):
        ids = torch.stack([torch.randint(0, n, (size,), generator=random) for n in rows.values()])
        numbers = torch.rand(size, len(dense), generator=random)
        tasks = sorted(model.recipe.tasks)
        labels = {t: torch.randint(0, 2, (size,), generator=random).float() for t in tasks}
        features = dict(zip(rows, ids.unbind(), strict=True))
        features |= {n: numbers[:, i : i + 1].contiguous() for i, n in enumerate(dense)}
        batch = Batch(features, labels)  # type: ignore[arg-type]
        found.append(Data(batch, ids, numbers, tuple(labels.values())))
    return found


def _rows(feature: IdFeature) -> int:
    """Values of a vocabulary of known size, and the row of what is unseen."""
    return int(feature.vocab.args[0]) + 1
