"""200 training steps of one small recipe with different kernels: the losses step by step."""

from __future__ import annotations

from pathlib import Path

import torch

from graphrec.compiler.pipeline import compile_recipe
from graphrec.nn.batch import Batch, Jagged
from graphrec.train.losses import TaskLosses
from graphrec.train.optimizers import make_optimizers

__all__ = ["losses"]

RECIPE = """
graphrec: 1
name: curve
features:
  - {type: id, names: {user: 30, item: 20}, dim: 8}
  - {type: sequence, name: seen, of: [item], max_len: 6}
groups: {pair: {query: [item], keys: seen}}
graph:
  near:    {block: din, in: pair, hidden: [8], activation: sigmoid}
  experts: {block: mmoe, in: [all, near], gates: tasks, experts: 2, hidden: [16, 8]}
  tower:   {block: mlp, in: experts, each: tasks, hidden: [8, 4], activation: tanh}
tasks: {buy: {label: b, in: tower}, click: {label: c, in: tower}}
train: {lr: {dense: 0.01, sparse: 0.05}}
"""


def losses(folder: Path, *overrides: str, steps: int = 200, rows: int = 12) -> torch.Tensor:
    """The loss of every step; equal seeds draw equal weights and batches."""
    path = folder / "curve.yaml"
    path.write_text(RECIPE)
    compiled = compile_recipe(path, overrides=overrides)
    module = compiled.module()
    optimizers = make_optimizers(module, compiled.recipe)
    total = TaskLosses(compiled.recipe)
    random = torch.Generator().manual_seed(3)
    found = []
    for _ in range(steps):
        batch = _batch(rows, random)
        optimizers.zero_grad()
        loss = total(module(batch), batch).total
        loss.backward()
        optimizers.step()
        found.append(loss.detach())
    return torch.stack(found)


def _batch(rows: int, random: torch.Generator) -> Batch:
    user, item = (torch.randint(0, n, (rows,), generator=random) for n in (30, 20))
    lengths = torch.randint(0, 7, (rows,), generator=random)
    seen = torch.randint(0, 20, (int(lengths.sum()),), generator=random)
    features = {"user": user, "item": item, "seen.item": Jagged(seen, lengths)}
    click = ((user + item) % 3 == 0).float()
    return Batch(features, {"click": click, "buy": click * (item % 2)})
