"""What smaller weights cost: the metrics of the run on its evaluation rows, and with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from graphrec.blocks.library import Library
from graphrec.export.program import Model, load_model
from graphrec.ground.errors import DataError
from graphrec.train.evaluation import Evaluator

if TYPE_CHECKING:
    from graphrec.export.order import Order

__all__ = ["Change", "changes"]

_BATCH = 4096  # rows of a forward, as in scoring.py


@dataclass(frozen=True)
class Change:
    """A metric of a task before and after, on so many evaluation rows."""

    metric: str
    before: float
    after: float
    rows: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def changes(order: Order, model: Model, library: Library) -> tuple[Change, ...]:
    """The metrics of all tasks; nothing where the run has no evaluation rows (give `data`)."""
    plain = load_model(order.run, order.checkpoint, library=library)
    try:
        before = _metrics(order, plain)
    except DataError:
        if order.data:
            raise
        return ()
    after = _metrics(order, model)
    return tuple(
        Change(name, float(value), float(after[name]), before["rows"])
        for name, value in before.items()
        if "." in name and value is not None and after.get(name) is not None
    )


def _metrics(order: Order, model: Model) -> Mapping[str, Any]:
    trained = model.trained
    loader = trained.loader(order.data or None, _BATCH, shuffle=False)
    with torch.inference_mode():
        numbers = Evaluator(trained.recipe, torch.device("cpu")).run(
            model.module, model.module, loader.epoch(0)
        )
    assert numbers is not None, "nothing stops this evaluation"
    return numbers
