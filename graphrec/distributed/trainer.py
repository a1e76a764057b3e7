"""The training loop on every rank: the same updates and decisions; rank 0 writes them down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from graphrec.distributed.engine import Engine, Share
from graphrec.distributed.evaluation import evaluate_rows, store_rows
from graphrec.distributed.loader import Portion, RankLoader
from graphrec.distributed.ranks import Consequence, Ranks
from graphrec.distributed.replicas import Replicas
from graphrec.distributed.saving import Parts, RankSaver, load_shards, plain
from graphrec.nn.batch import Batch
from graphrec.train import counters, nan_guard
from graphrec.train.changing import part_of
from graphrec.train.checkpoint import Checkpoint
from graphrec.train.losses import Losses, check_learns
from graphrec.train.progress import Progress
from graphrec.train.saving import State
from graphrec.train.signals import Signals
from graphrec.train.tensorboard import TensorBoard
from graphrec.train.trainer import Trainer

__all__ = ["RankTrainer"]


class _Agreed(Signals):
    """The signal that all ranks have heard of; each hears of it in the same update."""


class RankTrainer(Trainer):
    """A `Trainer` whose module is one of many; `start` gives it its engine."""

    loader: RankLoader
    eval_loader: RankLoader | None
    lead: Callable[[str, Any], None] | None = None

    def start(self, ranks: Ranks, engine: Engine, replicas: Replicas) -> None:
        """Take the ranks' engine; before `run`."""
        self.ranks, self.engine, self.replicas = ranks, engine, replicas
        self.saver: RankSaver = RankSaver(self.saver, ranks, engine.shards)
        self._heard = _Agreed()

    def run(self, progress: Progress, signals: Signals, board: TensorBoard) -> None:
        """Train to the end, or until a signal that one of the ranks was sent."""
        self._own = signals
        if self.lead is not None:
            self.lead("train", None)
        try:
            super().run(progress, self._heard, board)
        finally:
            if signals.received is None:
                signals.received = self._heard.received

    def _look_for_shared_rows(self) -> None:
        """Not here: a rank sees its own rows only, and reads no others for that."""

    # ---- an epoch -------------------------------------------------------------------------------

    def _epoch(self) -> None:
        position, resumed = self.position, self.position.row
        self.loader.counts = counters.Counts()
        self.window.start(self.loader)
        with closing(self.loader.portions(position.epoch, resumed)) as portions:
            shares = self._shares(portions)
            while self.engine.train(shares):
                share = self._share
                position.row += share.rows
                position.trained += share.rows
                if share.last:
                    counters.close_epoch(position.counts, self.loader.gathered(), resumed)
                    position.epoch, position.row = position.epoch + 1, 0
                if self._after_update(share.last):
                    self.engine.drain()
                    return

    def _shares(self, portions: Iterator[Portion]) -> Iterator[Share]:
        """Portions with their ids, and the sums of their row weights on the way from all ranks."""
        held: Share | None = None
        for portion in portions:
            if held is not None:
                yield held
            held = self.engine.share(portion)
            held.norms = self.losses.norms(portion.batch)
            held.waiting = dist.all_reduce(held.norms, async_op=True)
        if held is not None:
            held.last = True
            yield held

    # ---- an update, as the pipeline calls it ----------------------------------------------------

    def before_backward(self) -> None:
        """The tables are updated within the backward pass: say now how fast."""
        self.optimizers.zero_grad()
        self.replicas.zero_grad()
        self.engine.set_factor(self.optimizers.table_factor)

    def loss(self, predictions: dict[str, Tensor], share: Share) -> Tensor:
        """What this rank differentiates: the mean over all ranks of it is the batch's loss."""
        size, rows = self.ranks.size, share.batch.num_rows
        own = self.losses(predictions, share.batch, share.ready())
        # A penalty is of parameters, or a mean over rows: each rank adds its rows' share of it.
        parts = {
            key: value * (size if key in own.mass else size * rows / share.rows)
            for key, value in own.parts.items()
        }
        total = torch.stack(list(parts.values())).sum() if parts else torch.zeros(())
        losses = Losses(total, parts, own.mass, own.missing)
        check_learns(losses)
        if self.balance is not None:
            losses = self.balance(losses)
        self._share, self._losses = share, losses
        self._tell(losses, predictions, share)
        return losses.total

    def after_backward(self) -> None:
        """Everything that belongs to an update but the tables, which have had theirs."""
        losses = self._whole()
        total = float(losses.total)
        largest = nan_guard.largest_gradient(self._learned)
        if not math.isfinite(total) or not largest < nan_guard.TOO_LARGE:
            self._stop_here_or_there()
        if self.ranks.first:
            self.window.add(total, losses, *self._everything())
        self.replicas.step(self.optimizers.table_factor, self.optimizers.updates + 1)
        self.optimizers.step()

    def _stop_here_or_there(self) -> NoReturn:
        """The rank whose rows made the first NaN says where it came from; rank 0, if none did."""
        bad = [not bool(row.isfinite().all()) for row in self._numbers]
        rank = bad.index(True) if any(bad) else 0
        if rank != self.ranks.rank:
            raise Consequence(f"rank {rank} tells it")
        folder, step = self.run_folder.folder, self.position.step + 1
        # No replay: the lookups of this batch are done, and only all ranks together repeat them.
        batch = self._share.batch
        raise nan_guard.not_finite(self.module, self.graph, batch, self._losses, step, folder)

    def _tell(self, losses: Losses, predictions: Mapping[str, Tensor], share: Share) -> None:
        """Start sending what the others need: numbers to all, predictions to rank 0."""
        facts = [float(self._own.received or 0), *self.saver.own_clock()]
        numbers = [
            *torch.tensor(facts, dtype=torch.float64),
            losses.total.detach(),
            *losses.parts.values(),
        ]
        mine = torch.stack([number.detach().double().cpu() for number in numbers])
        self._numbers = [torch.empty_like(mine) for _ in range(self.ranks.size)]
        self._work = dist.all_gather(self._numbers, mine, async_op=True)
        self._scores = _Scores(self.ranks, predictions, share)

    def _whole(self) -> Losses:
        """The losses of the whole batch, and whether anybody was sent a signal."""
        self._work.wait()
        numbers = torch.stack(self._numbers)
        if signal := int(numbers[:, 0].max()):
            self._heard.received = signal
        self.saver.clock = float(numbers[0, 1]), bool(numbers[0, 2])
        means = numbers[:, 3:].mean(0)
        own = self._losses
        parts = dict(zip(own.parts, means[1:], strict=True))
        mass = {key: value.detach() for key, value in own.mass.items()}
        return Losses(means[0], parts, mass, own.missing, own.balanced)

    def _everything(self) -> tuple[dict[str, Tensor], Batch]:
        """Predictions and labels of the whole batch, on rank 0."""
        return self._scores.whole()

    # ---- evaluation -----------------------------------------------------------------------------

    def _measure(self, loader: Any) -> dict[str, Any] | None:
        portions = loader.portions(0)
        stored = store_rows(self.engine, portions, lambda: self.anyone(self._own.received))
        if stored is None:
            return None
        loader.counts = loader.gathered()
        batch = self.recipe.train.batch
        return evaluate_rows(self.ranks, stored, self.evaluator, self.module, batch)

    # ---- checkpoints ----------------------------------------------------------------------------

    def state(self) -> State:
        """What rank 0 saves: all but the tables that ranks share; random numbers of every rank."""
        model, state = super().state()
        state = dict(state)
        for rank, numbers in enumerate(self.ranks.gather(state["random/cpu"])):
            if rank:
                state[f"random/cpu/{rank}"] = numbers
        return model, state

    def restore(self, start: Checkpoint) -> None:
        """Go on from a checkpoint of any number of processes."""
        if self.lead is not None:
            self.lead("restore", start)
        parts = Parts(start, self.ranks)
        load_shards(parts, self.engine.shards)
        tensors = plain(parts, self.engine.tables.by_name.values())
        model = self.module.state_dict()
        self.module.load_state_dict({key: tensors[key] for key in model})
        self.optimizers.load_state_dict(part_of(tensors, "optim/"))
        if self.ranks.first:
            self.window.load(part_of(tensors, "window/"))
        if self.balance is not None:
            self.balance.load_state_dict(part_of(tensors, "balance/"))
        own = f"random/cpu/{self.ranks.rank}" if self.ranks.rank else "random/cpu"
        if own in tensors:
            torch.set_rng_state(tensors[own])
        self.position = start.position

    def anyone(self, signal: int | None) -> bool:
        """Whether any rank was sent a signal; all of them know of it then."""
        strongest = torch.tensor(float(signal or 0))
        dist.all_reduce(strongest, op=dist.ReduceOp.MAX)
        if int(strongest):
            self._heard.received = int(strongest)
        return bool(strongest)


class _Scores:
    """Predictions and labels of a batch on their way to rank 0."""

    def __init__(self, ranks: Ranks, predictions: Mapping[str, Tensor], share: Share) -> None:
        batch = share.batch
        self.rows = batch.num_rows
        self.predictions = {k: v.detach() for k, v in predictions.items() if v.dim()}
        self.labels = dict(batch.labels)
        columns = [v.reshape(self.rows, -1).float().cpu() for v in self._all()]
        stride = max(k.stride() for k in share.inputs.values()) if share.inputs else self.rows
        mine = torch.full((stride, 1 + sum(c.shape[1] for c in columns)), -1.0)
        mine[: self.rows] = torch.cat([torch.ones(self.rows, 1), *columns], dim=1)
        self.parts = [torch.empty_like(mine) for _ in range(ranks.size)] if ranks.first else None
        self.work = dist.gather(mine, self.parts, dst=0, async_op=True)

    def _all(self) -> list[Tensor]:
        return [*self.predictions.values(), *self.labels.values()]

    def whole(self) -> tuple[dict[str, Tensor], Batch]:
        """All rows, in the order of the ranks."""
        self.work.wait()
        assert self.parts is not None
        table = torch.cat(self.parts)
        table = table[table[:, 0] == 1][:, 1:]
        gathered, start = [], 0
        for like in self._all():
            width = like[0].numel() if len(like) else max(1, math.prod(like.shape[1:]))
            values = table[:, start : start + width].reshape(len(table), *like.shape[1:])
            gathered.append(values.to(like.dtype))
            start += width
        predictions = dict(zip(self.predictions, gathered, strict=False))
        labels = dict(zip(self.labels, gathered[len(predictions) :], strict=True))
        return predictions, Batch({"row": torch.zeros(len(table))}, labels)
