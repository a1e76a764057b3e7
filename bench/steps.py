"""Training steps: of generated modules, with graphrec's losses and optimizers, and by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.cases import HAND, Data, columns
from bench.models.pieces import SparseTables, Tables, TBETables
from graphrec.compiler.pipeline import Compiled
from graphrec.nn.embedding import Embeddings
from graphrec.train.losses import TaskLosses
from graphrec.train.optimizers import Optimizers, make_optimizers
from graphrec.train.trainer import Trainer

__all__ = [
    "Candidate",
    "by_hand",
    "check_equal",
    "generated",
    "missing",
    "precision",
    "trained",
    "trainer_of",
]

DENSE_LR, DENSE_EPS = 1e-3, 1e-6
TABLES: dict[str, type[Tables]] = {"TBE": TBETables, "sparse": SparseTables}


class Candidate:
    """A model that trains: `step()` takes the next batch, `logits()` are those of the first."""

    def __init__(
        self,
        module: nn.Module,
        data: Sequence[Data],
        train: Callable[[Data], object],
        logits: Callable[[Data], tuple[Tensor, ...]],
        optimizers: Optimizers | None = None,
    ) -> None:
        self.module, self.data, self.optimizers = module, data, optimizers
        self._train, self._logits = train, logits
        self._next: Iterator[Data] = itertools.cycle(data)

    def step(self) -> None:
        """Train on the next batch."""
        self._train(next(self._next))

    @torch.no_grad()
    def logits(self) -> tuple[Tensor, ...]:
        """Outputs for the first batch, float32."""
        return tuple(found.float() for found in self._logits(self.data[0]))


def generated(
    model: Compiled, data: Sequence[Data], *, tables: str = "auto", bf16: bool = False
) -> Candidate:
    """The generated module; `tables` is the kernel of its embeddings."""
    module = model.module()
    _choose(module, tables)
    losses, optimizers = TaskLosses(model.recipe), make_optimizers(module, model.recipe)

    def train(one: Data) -> None:
        optimizers.zero_grad()
        with precision(bf16):
            total = losses(module(one.batch), one.batch).total
        total.backward()
        optimizers.step()

    def logits(one: Data) -> tuple[Tensor, ...]:
        with precision(bf16):
            found = module(one.batch)
        return tuple(found[name] for name in sorted(found) if name.startswith("logits"))

    return Candidate(module, data, train, logits, optimizers)


def trained(model: Compiled, data: Sequence[Data], *, tables: str = "auto") -> Candidate:
    """The generated module under graphrec's whole training loop: guards and metrics too."""
    module = model.module()
    _choose(module, tables)
    trainer = trainer_of(model, module)
    return Candidate(module, data, lambda one: trainer._train(one.batch), lambda one: ())


def trainer_of(model: Compiled, module: nn.Module) -> Trainer:
    """What trains the module, without what a step does not touch: loader and run folder."""
    optimizers = make_optimizers(module.train(), model.recipe)
    folder = SimpleNamespace(checkpoints=Path("no run"), folder=Path("no run"))
    parts = (model.recipe, model.graph, module, optimizers, None, None, folder, "")
    return Trainer(*parts, torch.device("cpu"))  # type: ignore[arg-type]


def by_hand(
    name: str,
    model: Compiled,
    data: Sequence[Data],
    *,
    tables: str = "TBE",
    bf16: bool = False,
    weights: nn.Module | None = None,
) -> Candidate:
    """The model of bench/models, with the generated module's `weights` if they are given."""
    module = HAND[name](*columns(model), TABLES[tables])
    if weights is not None:
        module.load(weights.state_dict())
    dense = [p for n, p in module.named_parameters() if not n.startswith("tables.")]
    optimizer = torch.optim.Adam(dense, lr=DENSE_LR, eps=DENSE_EPS, fused=True)

    def logits(one: Data) -> tuple[Tensor, ...]:
        with precision(bf16):
            found: tuple[Tensor, ...] = module(one.ids, one.numbers)
        return found

    def train(one: Data) -> None:
        optimizer.zero_grad()
        pairs = zip(logits(one), one.labels, strict=True)
        losses = [F.binary_cross_entropy_with_logits(z.float(), y) for z, y in pairs]
        torch.stack(losses).sum().backward()
        optimizer.step()
        module.tables.step()

    return Candidate(module, data, train, logits)


def check_equal(ours: Candidate, theirs: Candidate) -> tuple[float, float]:
    """Differences of outputs, root mean square, before and after one step; ValueError if large.

    One step, and a hundredth of the way that the outputs went: Adagrad's first update of a row is
    the sign of its gradient, so a difference in the last digit of one near 0 becomes one of a whole
    learning rate, and every further step makes it about a hundred times larger.
    """
    before = theirs.logits()
    first = _gap(ours.logits(), before)
    if not first <= 1e-5:
        raise ValueError(f"outputs differ by {first:.1e} before training")
    ours.step()
    theirs.step()
    after = theirs.logits()
    second, way = _gap(ours.logits(), after), _gap(before, after)
    if not second <= way / 100:
        raise ValueError(
            f"outputs differ by {second:.1e} after training, which moved them {way:.1e}"
        )
    return first, second


def _gap(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    return max(float((a - b).square().mean().sqrt()) for a, b in zip(some, others, strict=True))


def missing(tables: str) -> str:
    """Why this machine can't have these hand-written tables; empty if it can."""
    try:
        TABLES[tables]([2], [4])
    except (ImportError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _choose(module: nn.Module, tables: str) -> None:
    """Set the kernel of the tables; FBGEMM has none for the narrow ones of first-order terms."""
    for part in module.modules():
        if isinstance(part, Embeddings):
            narrow = tables == "fbgemm" and any(pack.dim % 4 for pack in part.table_groups)
            part.kernel = "auto" if narrow else tables


def precision(bf16: bool) -> AbstractContextManager[object]:
    """Autocast to bfloat16, or nothing."""
    return torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext()
