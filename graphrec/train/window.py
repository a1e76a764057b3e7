"""What the training lines show: mean losses and speed since the last line, and decayed metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from graphrec.data import Loader
from graphrec.nn.batch import Batch
from graphrec.recipe.calls import Call
from graphrec.recipe.model import Recipe
from graphrec.recipe.tasks import has_two_outcomes, key
from graphrec.train.decayed import Decayed, DecayedAuc, DecayedXauc, make_decayed
from graphrec.train.evaluation import LabelledRows, LossMeans
from graphrec.train.losses import Losses, TaskLosses

__all__ = ["Window"]

_UPDATES, _ROWS = 10, 5_000
"""The AUC shown is of so many updates, or of so many rows where these are more."""
_KEPT = 0.98
"""Of the running loss, from update to update."""


class Window:
    """Numbers between two lines of metrics.jsonl; its state belongs to a checkpoint."""

    def __init__(self, recipe: Recipe, losses: TaskLosses) -> None:
        self.recipe = recipe
        self.means = LossMeans(losses)
        self.decayed: dict[str, tuple[str, Call, Decayed | DecayedAuc | DecayedXauc]] = {}
        for name, task in recipe.tasks.items():
            if task.label is not None:
                for call in _shown(recipe, name):
                    metric = make_decayed(call, recipe.measures.metrics, logits=True)
                    self.decayed[key(name, call.name)] = (name, call, metric)
        self._rows = 0
        self._since = self._waited = 0.0
        self._running = self._mass = 0.0

    def start(self, loader: Loader) -> None:
        """Begin to measure time anew (after an evaluation, at the start of an epoch)."""
        self._rows, self._since = 0, time.perf_counter()
        self._waited = loader.wait_seconds

    def add(
        self, total: float, losses: Losses, predictions: Mapping[str, Tensor], batch: Batch
    ) -> None:
        """Count one batch."""
        self.means.add(losses)
        self._running = _KEPT * self._running + (1 - _KEPT) * total
        self._mass = _KEPT * self._mass + (1 - _KEPT)
        self._rows += batch.num_rows
        labelled = {
            name: LabelledRows(self.recipe, name, predictions, batch)
            for name in {task for task, _, _ in self.decayed.values()}
        }
        for name, call, metric in self.decayed.values():
            metric.update(labelled[name].read_by(call), labelled[name].label)

    def peek(self, loader: Loader) -> tuple[float | None, dict[str, float | None], float, float]:
        """Running loss, decayed AUCs, rows per second and the loader's share, for the bar."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        share = min((loader.wait_seconds - self._waited) / seconds, 1.0)
        aucs = {n: metric.value for n, (*_, metric) in self.decayed.items() if n.endswith(".auc")}
        loss = self._running / self._mass if self._mass else None
        return loss, aucs, self._rows / seconds, share

    def close(self, loader: Loader) -> dict[str, float | None]:
        """The numbers of a line, after which the next window begins."""
        _, _, speed, share = self.peek(loader)
        values = self.means.values()
        self.means.sums = {}
        self.start(loader)
        return {
            "loss": values.pop("loss"),
            "rows_per_s": round(speed, 1),
            "loader_share": round(share, 4),
            **values,
            **{name: metric.value for name, (*_, metric) in self.decayed.items()},
        }

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        sums = self.means.sums.items()
        state = {f"means/{n}": torch.tensor(pair, dtype=torch.float64) for n, pair in sums}
        state["running"] = torch.tensor([self._running, self._mass], dtype=torch.float64)
        for name, (*_, metric) in self.decayed.items():
            state.update({f"decayed/{name}/{part}": v for part, v in metric.state().items()})
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        running = state["running"].reshape(-1).tolist()  # format 1 had the value alone
        self._running, self._mass = running if len(running) == 2 else (running[0], 1.0)
        self.means.sums = {
            name.removeprefix("means/"): (float(value[0]), float(value[1]))
            for name, value in state.items()
            if name.startswith("means/")
        }
        for name, (*_, metric) in self.decayed.items():
            prefix = f"decayed/{name}/"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            metric.load(own)


def _shown(recipe: Recipe, name: str) -> tuple[Call, ...]:
    """What the recipe asks for; else the AUC of tasks with two outcomes."""
    task = recipe.tasks[name]
    if task.train_metrics:
        return task.train_metrics
    # Of the last updates alone: a decaying one is for long that of the first, untrained ones.
    updates = max(_UPDATES, -(-_ROWS // recipe.train.batch))
    auc = Call("auc", (), {"step": min(updates, recipe.train.log_every), "rate": 0.0})
    return (auc,) if has_two_outcomes(recipe, name) else ()
