"""What holds for every loss, one function for each; they raise `Unfit` with what is wrong."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from graphrec.nn.batch import Batch
from graphrec.recipe.loss_table import Loss
from graphrec.recipe.tasks import loss_parameters
from graphrec.train.losses import TaskLosses, group_numbers
from graphrec.verify.block.verdict import Skipped, Unfit, reported
from graphrec.verify.measures.measured_rows import ROWS, Case, taken

__all__ = ["LOSS_CHECKS"]

_DIGITS = 1e-9


def check_rows(case: Case) -> None:
    """A finite float for each row, for batches of every size."""
    for rows in (ROWS, 3, 1, 0):
        values = _rows(case, case.output(rows), case.batch(rows))
        if tuple(values.shape) != (rows,) or not values.is_floating_point():
            raise Unfit(
                f"{rows} rows give {list(values.shape)} {values.dtype}, not [{rows}] floats"
            )
        if not bool(values.isfinite().all()):
            raise Unfit(f"{rows} rows: the loss is not finite")


def check_gradients(case: Case) -> None:
    """Gradients of the predictions equal finite differences, in float64."""
    output, batch = case.output().requires_grad_(), case.batch()
    if not _rows(case, output, batch).requires_grad:
        raise Unfit("the loss does not depend on the predictions: no gradient reaches them")
    try:
        torch.autograd.gradcheck(lambda x: _rows(case, x, batch), (output,), fast_mode=True)
    except GradcheckError as error:
        lines = [line.strip() for line in str(error).splitlines() if ":" in line]
        hint = "(a factor without gradient, on purpose? --stops-gradients)"
        raise Unfit("\n".join(["not that of finite differences", *lines[:2], hint])) from None


def check_order(case: Case) -> None:
    """Permuted rows have permuted losses."""
    output, batch = case.output(), case.batch()
    order = [(7 * i + 3) % ROWS for i in range(ROWS)]
    _same(
        _rows(case, output[order], taken(batch, order)),
        _rows(case, output, batch)[order],
        "the loss of a row depends on its place",
    )


def check_missing(case: Case) -> None:
    """Rows without a label change nothing, and get no gradient."""
    output, batch = case.output(), case.batch()
    missing = torch.arange(ROWS) % 3 == 0
    label = batch.labels["t"].clone()
    label[missing] = torch.nan if label.is_floating_point() else -1
    holes = Batch({}, {"t": label}, batch.weights, batch.columns)
    whole = output.clone().requires_grad_()
    total = _total(case, whole, holes)
    kept = (~missing).nonzero().view(-1)
    _same(total, _total(case, output[kept], taken(batch, kept)), "rows without a label count")
    (grad,) = torch.autograd.grad(total, whole)
    if not bool(grad.isfinite().all()) or bool(grad[missing].any()):
        raise Unfit("rows without a label have a gradient")


def check_weights(case: Case) -> None:
    """Scaled weights change nothing, and rows of weight 0 count for nothing."""
    output, batch = case.output(), case.batch()
    base = _total(case, output, batch, sample_weight="w")
    weights = {"t": batch.weights["t"] * 8}
    scaled = Batch({}, batch.labels, weights, batch.columns)
    _same(_total(case, output, scaled, sample_weight="w"), base, "scaled weights change the loss")
    if _meets_all(case):
        raise Skipped("rows of a group meet each other, whatever their weight")
    half = torch.arange(ROWS) % 2 == 0
    zeros = {"t": torch.where(half, batch.weights["t"], torch.zeros(ROWS))}
    some = Batch({}, batch.labels, zeros, batch.columns)
    kept = half.nonzero().view(-1)
    _same(
        _total(case, output, some, sample_weight="w"),
        _total(case, output[kept], taken(batch, kept), sample_weight="w"),
        "rows of weight 0 count",
    )


def check_space(case: Case) -> None:
    """With a space the loss is the mean over the rows inside."""
    if _meets_all(case):
        raise Skipped("rows of a group meet each other, inside and outside")
    output, batch = case.output(), case.batch()
    inside = torch.from_numpy(batch.columns["inside"] > 0).nonzero().view(-1)
    _same(
        _total(case, output, batch, space={"label": "inside"}),
        _total(case, output[inside], taken(batch, inside)),
        "rows outside of the space count",
    )


LOSS_CHECKS: Mapping[str, Callable[[Case], None]] = {
    "rows": check_rows,
    "gradients": check_gradients,
    "order": check_order,
    "missing": check_missing,
    "weights": check_weights,
    "space": check_space,
}
"""Every check by its name."""


def _meets_all(case: Case) -> bool:
    """Whether a row meets others that count for nothing."""
    return bool(case.measure.group) and not (issubclass(case.measure, Loss) and case.measure.weighs)


def _rows(case: Case, output: Tensor, batch: Batch) -> Tensor:
    """The function that the loss names, on all rows."""
    declared = loss_parameters(case.recipe(), case.measure.name, case.given)
    path = declared.rows_of_prob if case.form == "prob" else declared.rows
    module, _, name = path.partition(":")

    def compute() -> Tensor:
        rows: Callable[..., Tensor] = getattr(importlib.import_module(module), name)
        label = batch.labels["t"]
        label = label.long() if case.form == "softmax" else label.to(output.dtype)
        given = declared.given()
        if declared.group_column is not None:
            given["group"] = group_numbers(batch.columns[declared.group_column], output.device)
        if declared.weighs:
            given["weight"] = torch.ones(len(label), dtype=output.dtype)
        return rows(output, label, **given)

    return reported(f"calling {path or 'the function of `prob`'}", compute)


def _total(case: Case, output: Tensor, batch: Batch, **task: object) -> Tensor:
    losses = TaskLosses(case.recipe(**task))(case.predictions(output), batch)
    key = case.measure.name + ("_t" if case.form == "prob" else "")
    return losses.parts[key]


def _same(actual: Tensor, right: Tensor, what: str) -> None:
    largest = max(float(right.detach().abs().max()), 1e-6) if right.numel() else 1.0
    digits = _DIGITS if actual.dtype == torch.float64 else 1e-5
    off = float((actual - right).detach().abs().max()) / largest if right.numel() else 0.0
    if not off <= digits:
        raise Unfit(f"{what}: {off:.3g} of its largest number")
