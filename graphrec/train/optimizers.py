"""The optimizers of a run: one for dense parameters, one for tables, one schedule over both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from graphrec.nn.embedding import Embeddings
from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.nn.piecewise import PiecewiseModule
from graphrec.recipe.model import Recipe
from graphrec.recipe.training import Train
from graphrec.train.dense_optimizers import (
    DenseOptimizer,
    Group,
)
from graphrec.train.dense_state import load_optimizer_state, optimizer_state
from graphrec.train.parameter_groups import Settings, node_of, node_settings
from graphrec.train.schedules import factor, needs_total
from graphrec.train.table_optimizers import Change, RowOptimizer, update_rows

__all__ = ["Optimizers", "PackedTable", "make_optimizers"]


@dataclass(frozen=True)
class PackedTable:
    """A packed table under its optimizer; `prefix` is its module's name."""

    prefix: str
    parameter: nn.Parameter
    pieces: tuple[ParameterSlice, ...]
    rows: RowOptimizer
    lr: float
    weight_decay: float


class Optimizers:
    """Steps dense parameters and tables together.

    Call `step()` after the `backward()` of every batch's mean loss: each `accumulate`-th call
    divides the gradients, clips the dense ones, updates everything once, clears the gradients and
    returns True. `updates` counts the updates done; checkpoints are taken between updates.
    """

    def __init__(
        self,
        dense: DenseOptimizer | None,
        dense_pieces: Mapping[nn.Parameter, tuple[ParameterSlice, ...]],
        tables: tuple[PackedTable, ...],
        train: Train,
        total: int | None,
    ) -> None:
        self.dense, self.tables = dense, tables
        self.table_rates: Mapping[str, tuple[float, float]] = {}
        self.updates = 0
        self.pending = 0
        self.rate = 0.0
        """What the schedule multiplied learning rates by in the last update."""
        self.table_rate = 0.0
        """The same for the tables' rates."""
        self._pieces, self._train, self._total = dense_pieces, train, total
        self._parameters = [*dense_pieces, *(table.parameter for table in tables)]
        self._rates = [group.lr for group in dense.groups] if dense else []

    @property
    def factor(self) -> float:
        """What the schedule multiplies learning rates by in the next update."""
        return factor(self._train.schedule, self.updates, self._total)

    @property
    def table_factor(self) -> float:
        """What their schedule multiplies the rates of tables by in the next update."""
        return factor(self._train.of_tables, self.updates, self._total)

    def step(self) -> bool:
        """Take the gradients of one batch; True if that completed an update."""
        self.pending += 1
        return self.pending >= self._train.accumulate and self.flush()

    @torch.no_grad()
    def flush(self) -> bool:
        """Update with the mean of what is accumulated; False if there is nothing.

        For the end of the data, when it comes before `accumulate` batches are together.
        """
        if not self.pending:
            return False
        rate, of_tables = self.factor, self.table_factor
        self.rate, self.table_rate = rate, of_tables
        if self.pending > 1:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(1.0 / self.pending)
        if self._train.clip is not None:
            clip_gradients(self._pieces, self._train.clip)
        if self.dense is not None:
            for group, base in zip(self.dense.groups, self._rates, strict=True):
                group.lr = base * rate
            self.dense.step()
        self.updates += 1
        update_rows(
            [
                Change(table.rows, table.parameter.grad, table.lr * of_tables, table.weight_decay)
                for table in self.tables
                if table.parameter.grad is not None
            ],
            self.updates,
        )
        self.discard()
        return True

    def zero_grad(self) -> None:
        """Clear gradients before a batch; keeps those that are being accumulated."""
        if not self.pending:
            self.discard()

    def discard(self) -> None:
        """Throw away all gradients, those accumulated included (after a batch that went wrong)."""
        self.pending = 0
        for parameter in self._parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Tensor]:
        """All state, flat: `updates`, `dense/<parameter>/<slot>`, `sparse/<module>.<table>/<slot>`.

        Keys do not depend on how tables are packed; tensors share memory with the live state.
        """
        if self.pending:
            raise RuntimeError(
                "gradients are being accumulated: a checkpoint is taken between updates"
            )
        state = {"updates": torch.tensor(self.updates)}
        if self.dense is not None:
            state.update(optimizer_state(self.dense, self._pieces))
        state.update(self._row_state())
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`; ValueError if it is of other parameters or another optimizer."""
        given = dict(state)
        self.discard()
        self.updates = int(given.pop("updates"))
        for key, values in self._row_state().items():
            saved = given.pop(key, None)
            if saved is None or saved.shape != values.shape:
                what = "missing" if saved is None else f"of shape {[*saved.shape]}"
                raise ValueError(f"optimizer state `{key}` {[*values.shape]} is {what}")
            values.copy_(saved)
        if self.dense is not None:
            load_optimizer_state(self.dense, self._pieces, given)
        if given:
            raise ValueError(f"optimizer state `{min(given)}` belongs to nothing here")

    def _row_state(self) -> dict[str, Tensor]:
        return {
            f"sparse/{table.prefix}.{piece.key.removesuffix('.weight')}/{slot}": values[
                piece.start : piece.stop
            ]
            for table in self.tables
            for piece in table.pieces
            for slot, values in table.rows.slots.items()
        }


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Scale gradients so that their common norm is at most `limit`.

    As `torch.nn.utils.clip_grad_norm_`; but where the norm of finite gradients is infinite in
    float32, which would make all of them 0, it is that of float64.
    """
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(grads)
    if grads and not bool(norm.isfinite()):
        norm = torch.stack([grad.double().norm() for grad in grads]).norm()
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(scale.to(grad.dtype))


def make_optimizers(
    module: nn.Module,
    recipe: Recipe,
    updates: int | None = None,
    extra: Mapping[str, nn.Module] | None = None,
    elsewhere: Collection[str] = (),
) -> Optimizers:
    """The optimizers `recipe.train` asks for.

    `updates` is the number of updates of the whole run (for cosine and linear schedules), `extra`
    further modules with parameters (of losses), by name. `elsewhere` names `Embeddings` whose
    tables another optimizer updates: their rates are in `table_rates`. RecipeError for a glob of
    `train.groups` that matches no node.
    """
    train = recipe.train
    _expect_total(train, updates)
    pieces: dict[nn.Parameter, tuple[ParameterSlice, ...]] = {}
    kernels: dict[str, str] = {}
    packed: dict[nn.Parameter, tuple[str, tuple[ParameterSlice, ...]]] = {}
    for prefix, owner in _modules(module, extra or {}):
        sparse: set[str] = set()
        if isinstance(owner, Embeddings):
            sparse = {packed.name for packed in owner.table_groups}
            kernels[prefix] = owner.kernel
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in pieces and parameter not in packed:
                parts = _pieces(owner, name, parameter)
                if name in sparse:
                    packed[parameter] = (prefix, parts)
                else:
                    dot = f"{prefix}." if prefix else ""
                    pieces[parameter] = tuple(replace(part, key=dot + part.key) for part in parts)
    nodes = [node_of(parts[0].key) for parts in pieces.values()]
    nodes += [node_of(prefix) for prefix, _ in packed.values()] + [*elsewhere]
    settings = node_settings(nodes, train.groups)
    tables = tuple(
        PackedTable(
            prefix,
            parameter,
            parts,
            RowOptimizer(parameter, train.optim.sparse, kernels[prefix]),
            *_rates(settings[node_of(prefix)], train.sparse_rate, train.optim.sparse.weight_decay),
        )
        for parameter, (prefix, parts) in packed.items()
    )
    optimizers = Optimizers(_dense(pieces, settings, train), pieces, tables, train, updates)
    decay = train.optim.sparse.weight_decay
    optimizers.table_rates = {n: _rates(settings[n], train.sparse_rate, decay) for n in elsewhere}
    return optimizers


def _expect_total(train: Train, updates: int | None) -> None:
    for schedule in (train.schedule, train.of_tables):
        if needs_total(schedule) and updates is None:
            raise ValueError(f"schedule `{schedule.kind}` needs the number of updates of the run")


def _dense(
    pieces: Mapping[nn.Parameter, tuple[ParameterSlice, ...]],
    settings: Mapping[str, Settings],
    train: Train,
) -> DenseOptimizer | None:
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, parts in pieces.items():
        own = settings[node_of(parts[0].key)]
        rates = _rates(own, train.lr.dense, train.optim.dense.weight_decay)
        groups.setdefault(rates, []).append(parameter)
    parameter_groups = [Group(parameters, *rates) for rates, parameters in groups.items()]
    return DenseOptimizer(train.optim.dense, parameter_groups) if parameter_groups else None


def _rates(own: Settings, lr: float, weight_decay: float) -> tuple[float, float]:
    return (
        lr if own.lr is None else own.lr,
        weight_decay if own.weight_decay is None else own.weight_decay,
    )


def _modules(module: nn.Module, extra: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """All modules by name, as the module would be called if torch.compile had not wrapped it."""
    for name, child in module.named_modules():
        yield ".".join(part for part in name.split(".") if part != "_orig_mod"), child
    for root, other in extra.items():
        for name, child in other.named_modules():
            yield f"{root}.{name}".rstrip("."), child


def _pieces(owner: nn.Module, name: str, parameter: nn.Parameter) -> tuple[ParameterSlice, ...]:
    if isinstance(owner, PiecewiseModule):
        return tuple(piece for piece in owner.pieces if piece.parameter == name)
    shape = tuple(parameter.shape)
    return (ParameterSlice(name, name, 0, shape[0] if shape else 1, shape, ""),)
