"""The training loop: batches, updates, evaluations, checkpoints; resumable at every update.

What happens after an update is always in this order: a line of metrics, the evaluation that is due,
early stopping, the checkpoint, an interruption. So a checkpoint at step k means that all of step k
is done, and a run that goes on from it is the unbroken run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.data import Items, Loader, SeenValues
from graphrec.data.loader import with_last
from graphrec.graph import Graph
from graphrec.nn.batch import Batch
from graphrec.recipe.model import Recipe
from graphrec.train import counters, nan_guard
from graphrec.train.balance import Balance
from graphrec.train.changing import Changing
from graphrec.train.evaluation import Evaluator, eval_record
from graphrec.train.losses import Losses, TaskLosses, check_learns
from graphrec.train.manifest import Checkpoint, Position
from graphrec.train.optimizers import Optimizers
from graphrec.train.progress import Progress, evaluation_title, score_table, status
from graphrec.train.recompute import recompute_nodes
from graphrec.train.run import Run
from graphrec.train.saving import Saver, State
from graphrec.train.shared_rows import SharedRows
from graphrec.train.signals import Signals
from graphrec.train.tensorboard import TensorBoard
from graphrec.train.watched import Watched
from graphrec.train.window import Window

__all__ = ["Trainer"]

_SAVE_EPOCHS_APART = 60.0
"""Seconds: epochs end with a checkpoint, but short ones do not spend their time on saving."""


class Trainer:
    """Everything that changes while a recipe trains."""

    def __init__(
        self,
        recipe: Recipe,
        graph: Graph,
        module: nn.Module,
        optimizers: Optimizers,
        loader: Loader,
        eval_loader: Loader | None,
        run: Run,
        recipe_hash: str,
        device: torch.device,
        balance: Balance | None = None,
        items: Items | None = None,
    ) -> None:
        self.recipe, self.graph, self.module = recipe, graph, module
        self.optimizers, self.loader, self.eval_loader = optimizers, loader, eval_loader
        self.run_folder, self.device = run, device
        save = recipe.train.save
        self.saver = Saver(run.checkpoints, recipe_hash, save.keep, save.minutes)
        if recipe.train.memory == "low":
            recompute_nodes(module)
        self.forward = torch.compile(module) if recipe.train.compile else module
        self.losses, self.balance = TaskLosses(recipe), balance
        self.window = Window(recipe, self.losses)
        self.evaluator = Evaluator(recipe, device, items)
        self.position = Position()
        self.reachable: Mapping[str, Mapping[str, float]] = {}
        self._bf16 = recipe.train.precision == "bf16"
        self.gradient_norm = 0.0
        self.shared_rows: SharedRows | None = None
        self.seen: SeenValues | None = None
        self.watched = Watched(recipe)
        self._before = 0.0

    # ---- the loop -------------------------------------------------------------------------------

    def run(self, progress: Progress, signals: Signals, board: TensorBoard) -> None:
        """Train to the end, or until a signal; then `position.finished` is still false."""
        self.progress, self.signals, self.board = progress, signals, board
        self._started = time.perf_counter()
        self._before = self.position.seconds
        self.module.train()
        self._look_for_shared_rows()
        try:
            if not self.position.evaluated:
                self._catch_up()
            while not self.position.finished and signals.received is None:
                self._epoch()
        finally:
            self.saver.settle()

    def _look_for_shared_rows(self) -> None:
        """Begin to compare the training rows with the first evaluation rows, in a first epoch."""
        # a retriever may well see a query again: its items tell rows apart
        rows_tell = self.recipe.retrieval is None
        if self.eval_loader is not None and self.position.epoch == 0 and rows_tell:
            with closing(self.eval_loader.epoch(0)) as batches:
                first = next(batches, None)
            self.shared_rows = None if first is None else SharedRows(first)

    def _catch_up(self) -> None:
        """The evaluation during which the run was interrupted."""
        self._evaluate()
        if self.position.evaluated:
            self.position.finished = self.position.finished or self._done()
            self.saver.save(self.state(), self.position, wait=True)

    def _epoch(self) -> None:
        position, resumed = self.position, self.position.row
        self.loader.counts = counters.Counts()
        self.window.start(self.loader)
        with closing(self.loader.epoch(position.epoch, resumed)) as batches:
            for batch, last in with_last(batches):
                if self.shared_rows is not None and position.epoch == 0:
                    self.shared_rows.add(batch)
                updated = self._train(batch.to(self.device))
                position.row += batch.num_rows
                position.trained += batch.num_rows
                if last:
                    updated = self.optimizers.flush() or updated
                    counters.close_epoch(position.counts, self.loader.counts, resumed)
                    position.epoch, position.row = position.epoch + 1, 0
                if updated and self._after_update(last):
                    return

    def _train(self, batch: Batch) -> bool:
        self.optimizers.zero_grad()
        predictions, losses = self._forward(batch)
        check_learns(losses)
        if self.balance is not None:
            if not math.isfinite(float(losses.total.detach())):  # before weights are made of it
                self._stop_not_finite(batch, losses)
            losses = self.balance(losses)
        total = float(losses.total.detach())
        if not math.isfinite(total):
            self._stop_not_finite(batch, losses)
        losses.total.backward()  # type: ignore[no-untyped-call]
        ready = self.optimizers.pending + 1 >= self.recipe.train.accumulate
        if ready:
            self._check_gradients(batch, losses)
        self.window.add(total, losses, predictions, batch)
        return self.optimizers.step()

    def _forward(self, batch: Batch) -> tuple[dict[str, Tensor], Losses]:
        with self._autocast():
            predictions = self.forward(batch)
            self.losses.step = self.position.step
            return predictions, self.losses(predictions, batch)

    def _check_gradients(self, batch: Batch, losses: Losses) -> None:
        norm = nan_guard.gradient_norm(self._learned)
        self.gradient_norm = norm / (self.optimizers.pending + 1)
        if not norm < nan_guard.TOO_LARGE:  # NaN is not
            largest = nan_guard.largest_gradient(self._learned)
            if not largest < nan_guard.TOO_LARGE:
                self._stop_not_finite(batch, losses)

    @cached_property
    def _learned(self) -> list[nn.Parameter]:
        """All that has gradients; found once, going through a module takes long."""
        balanced = [] if self.balance is None else [*self.balance.parameters()]
        return [*self.module.parameters(), *balanced]

    def _after_update(self, last: bool) -> bool:
        """All that belongs to an update, in this order; whether to stop."""
        position, train = self.position, self.recipe.train
        position.step += 1
        position.seconds = self._seconds()
        done = self._done()
        if last or done or position.step % train.log_every == 0:
            self._log()
        elif self.progress.due:
            loss, aucs, speed, share = self.window.peek(self.loader)
            self.progress.show(position.step, status(loss, aucs, speed, share))
        improved = False
        every = train.eval_every
        if last or done or (every and position.step % every == 0):
            improved = self._evaluate()
        if position.evaluated:
            position.finished = position.finished or done
        stop = position.finished or self.signals.received is not None
        due = self.saver.due or (last and self.saver.since > _SAVE_EPOCHS_APART)
        due = due or bool(train.save.every and position.step % train.save.every == 0)
        if due or improved or stop:
            self.saver.save(self.state(), position, wait=stop)
        return stop

    def _done(self) -> bool:
        """Whether the recipe's number of epochs or steps is reached."""
        steps = self.recipe.train.steps
        if steps is not None:
            return self.position.step >= steps
        return self.position.epoch >= (self.recipe.train.epochs or 1)

    # ---- parts ----------------------------------------------------------------------------------

    def _log(self) -> None:
        position = self.position
        numbers = self.window.close(self.loader)
        record = {
            "kind": "train",
            "step": position.step,
            "epoch": position.epoch,
            "rows": position.trained,
            "seconds": round(position.seconds, 3),
            **numbers,
            "lr": self.recipe.train.lr.dense * self.optimizers.rate,
            "lr_tables": self.recipe.train.sparse_rate * self.optimizers.table_rate,
            "gradient_norm": self.gradient_norm,
        }
        self._record(record)
        if self.progress.due:
            aucs = {n: v for n, v in numbers.items() if n.endswith(".auc")}
            speed, share = numbers["rows_per_s"] or 0.0, numbers["loader_share"] or 0.0
            self.progress.show(position.step, status(numbers["loss"], aucs, speed, share))

    def _evaluate(self) -> bool:
        """Evaluate, if there is data for it; whether it is the best so far (for `save.best`)."""
        position = self.position
        if self.eval_loader is None:
            return False
        position.evaluated = False
        if self.seen is not None:
            self.seen.complete = position.epoch > 0 or self._done()
        loader = self.eval_loader
        loader.counts, waited = counters.Counts(), loader.wait_seconds
        measured = self._measure(loader)
        if measured is None:
            return False
        position.evaluated = True
        record = eval_record(measured, position, loader.wait_seconds - waited)
        self._record(record)
        position.scores = record
        table = score_table(self.recipe, record, self.reachable)
        self.progress.say(f"{evaluation_title(record)}\n{table}")
        improved = self.watched.look(record, position, self.progress.say)
        position.seconds = self._seconds()
        self.window.start(self.loader)
        return improved

    def _measure(self, loader: Loader) -> dict[str, Any] | None:
        """One pass over the evaluation rows; None if a signal ended it."""
        with closing(loader.epoch(0)) as batches:
            return self.evaluator.run(
                self.module, self.module, batches, lambda: self.signals.received is not None
            )

    def _record(self, record: dict[str, Any]) -> None:
        self.run_folder.record(record)
        self.board.record(record)

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def _autocast(self) -> Any:
        if not self._bf16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _stop_not_finite(self, batch: Batch, losses: Any) -> None:
        folder, step = self.run_folder.folder, self.position.step + 1
        raise nan_guard.not_finite(
            self.module,
            self.graph,
            batch,
            losses,
            step,
            folder,
            lambda: self._forward(batch)[1].total,
        )

    # ---- checkpoints ----------------------------------------------------------------------------

    def state(self) -> State:
        """What a checkpoint of this moment holds; it shares memory with what is trained."""
        return self.module.state_dict(), self._changing().state()

    def restore(self, start: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.module.load_state_dict(start.model())
        self._changing().load(start.optim())
        self.position = start.position

    def _changing(self) -> Changing:
        return Changing(self.optimizers, self.window, self.balance, self.seen, self.device)
