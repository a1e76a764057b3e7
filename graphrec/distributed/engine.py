"""A generated module on many ranks: its tables sharded by torchrec, the rest of it under DDP.

`Step` is what torchrec sees: the collections look up what `inputs` holds for them, then `Model`
runs the generated module, whose `Embeddings` find there what they would have read themselves. That
shape lets `TrainPipelineSparseDist` exchange the ids of the next batch while this one computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.types import ShardingEnv

from graphrec.distributed.loader import Portion
from graphrec.distributed.planning import (
    Cluster,
    Plan,
    attach_optimizers,
    make_plan,
    sharders,
)
from graphrec.distributed.ranks import Ranks
from graphrec.distributed.sharded_step import Model, Pipeline, Share, Step, Tables
from graphrec.distributed.shards import Shard, draw, shards_of
from graphrec.distributed.torchrec_library import quiet
from graphrec.recipe.training import Optimizer

__all__ = ["Engine", "Share", "Tables"]

SLOTS: Mapping[str, tuple[str, ...]] = {
    "adagrad": ("sum",),
    "rowwise_adagrad": ("sum",),
    "sgd": (),
    "adam": ("exp_avg", "exp_avg_sq"),
}
"""Names, in a checkpoint, of what FBGEMM keeps of every row."""


class Engine:
    """The sharded model of one rank: `train` steps through shares, `predict` looks one up.

    `before` and `after` are called around every backward pass: the fused optimizers of the tables
    work inside it, at the rates that `set_factor` gave.
    """

    def __init__(
        self,
        module: nn.Module,
        tables: Tables,
        ranks: Ranks,
        batch: int,
        *,
        wishes: Mapping[str, str],
        lengths: Mapping[str, float],
        optimizer: Optimizer,
        rates: Mapping[str, float],
        losses: Callable[[dict[str, Tensor], Share], Tensor],
        before: Callable[[], None],
        after: Callable[[], None],
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        extra: nn.Module | None = None,
    ) -> None:
        self.module, self.tables, self.ranks = module, tables, ranks
        self.before, self.after = before, after
        self._model = Model(module, tables, extra, losses, context)
        sharded = tables.modules()
        attach_optimizers(sharded, tables.by_name, rates, optimizer)
        step = Step(sharded, self._model)
        cluster = Cluster(ranks.size, ranks.device.type, ranks.local_size)
        self.plan: Plan = ranks.once(
            lambda: make_plan(
                step, tables.collections, cluster, batch, wishes, lengths, optimizer.name
            )
        )
        for name, parameter in sharded.named_parameters():
            if self.plan.ways()[name.removesuffix(".weight").split(".")[-1]][0] == "data_parallel":
                _without_optimizer(parameter)
        with quiet():
            self.dmp = DistributedModelParallel(
                step,
                env=ShardingEnv.from_process_group(dist.group.WORLD),
                device=ranks.device,
                plan=self.plan.sharding,
                sharders=sharders(),
            )
        self.shards: list[Shard] = list(shards_of(self.dmp, tables.by_name, SLOTS[optimizer.name]))
        mine = sum(part.rank == ranks.rank for part in self.plan.parts)
        assert len(self.shards) == mine, "every part of the plan is found, and nothing else"
        for shard in self.shards:
            draw(shard, tables.seeds[shard.table.owner])
        self._groups = [(group, group["lr"]) for group in self.dmp.fused_optimizer.param_groups]
        self._pipeline = Pipeline(self.dmp, self, ranks.device)

    # ---- batches --------------------------------------------------------------------------------

    def share(self, portion: Portion) -> Share:
        """A portion with the ids that its collections look up."""
        inputs = {c.name: c.input(portion.batch, portion.stride) for c in self.tables.collections}
        return Share(portion.batch, portion.rows, inputs)

    def train(self, shares: Iterator[Share]) -> bool:
        """One update with the next share; False when there is none."""
        self.dmp.train()
        try:
            with quiet():
                self._pipeline.progress(shares)
        except StopIteration:
            return False
        return True

    @property
    def predictions(self) -> dict[str, Tensor]:
        """Those of the share that is computed now, or was last."""
        return self._model.predictions

    def predict(self, share: Share) -> dict[str, Tensor]:
        """Predictions for one share, without gradients; between two epochs or updates."""
        self.dmp.eval()
        with torch.no_grad(), quiet():
            self._pipeline.run_alone(share.to(self.ranks.device))
        return self._model.predictions

    def drain(self) -> None:
        """Forget the shares that are on their way: the run ends before they are trained."""
        self._pipeline.reset()

    # ---- what the pipeline takes for its optimizer ----------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.before()

    def step(self) -> None:
        self.after()

    def set_factor(self, factor: float) -> None:
        """Scale the tables' rates for the updates to come."""
        for group, rate in self._groups:
            group["lr"] = rate * factor
        self.dmp.fused_optimizer.step()  # FBGEMM takes the rate; the update itself is in backward


def _without_optimizer(parameter: nn.Parameter) -> None:
    """A replicated table is not updated in backward, where its gradient is not yet everybody's."""
    for name in ("_in_backward_optimizers", "_optimizer_classes", "_optimizer_kwargs"):
        if hasattr(parameter, name):
            delattr(parameter, name)
