"""Runs a case: translate, compile, load the weights, forward, losses, backward."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from golden_case import Case, Found, compare
from golden_plan import Plan, Unsupported
from torch import Tensor, nn
from translate_blocks import block
from translate_calls import CALLS, call
from translate_inputs import vector
from translate_models import model
from translate_tasks import add_tasks, task_names, tasks_of

from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.nn import Batch, VariationalDropout
from graphrec.nn.piecewise import PiecewiseModule
from graphrec.train.balance import make_balance
from graphrec.train.losses import Losses, TaskLosses

__all__ = ["compute", "differences", "plan_of"]


def differences(case: Case) -> list[str]:
    """What of the case graphrec does not give, one text each.

    In single precision, as it trains. Where that is off, rounding may be to blame (behind a batch
    norm gradients are differences of nearly equal numbers): then double precision has to agree.
    """
    problems = compare(case, compute(case))
    return compare(case, compute(case, torch.float64)) if problems else []


def compute(case: Case, dtype: torch.dtype = torch.float32) -> Found:
    """Everything the case has numbers of, computed by graphrec in that precision."""
    arrays = {k: v.to(dtype) if v.is_floating_point() else v for k, v in case.arrays.items()}
    case = replace(case, arrays=arrays)
    if case.said["level"] in ("metric", "function") or case.graph.get("kind") in CALLS:
        return call(case)
    plan = plan_of(case)
    compiled = _compile(plan)
    module = compiled.module().to(dtype)
    for name, factor in plan.dropped.items():
        module.set_submodule(name, Dropped(compiled, name, factor).to(dtype))
    _load(plan, module)
    for name, noise in plan.noise.items():
        module.get_submodule(name).noise = lambda x, _noise=noise: _noise.to(x)  # type: ignore[assignment]
    module.train(case.training)
    batch = _batch(plan)
    predictions = module(batch)
    for name in plan.dropped:
        predictions[f"{name}_feature_p_loss"] = module.get_submodule(name).penalty
    if case.said["level"] == "block":
        found = _outputs(plan, predictions)
    else:
        found = _losses(plan, compiled, module, predictions, batch)
    found.loss["total"].backward()
    _collect(plan, module, found)
    return found


class Dropped(VariationalDropout):
    """Variational dropout with one probability for each input of a concatenation."""

    def __init__(self, compiled: Compiled, name: str, factor: float) -> None:
        graph = compiled.graph
        widths = [graph.shape(ref).width for _, ref in graph[name].refs()]
        super().__init__(widths, factor, in_eval=True)

    def forward(self, *xs: Tensor) -> Tensor:  # type: ignore[override]
        kept, self.penalty = super().forward(torch.cat(xs, dim=1))
        return kept


def plan_of(case: Case) -> Plan:
    """The recipe of a case, and the rest that it takes to run it."""
    plan, level = Plan(case), case.said["level"]
    if level == "model":
        model(plan)
    elif level == "block":
        block(plan)
    elif level == "loss":
        _raw(plan)
    else:
        raise Unsupported(f"level {level}")
    return plan


def _raw(plan: Plan) -> None:
    """A loss case: each task's logit is a column of the batch."""
    single = "task" in plan.case.said
    heads = {}
    for golden, name in task_names(plan).items():
        key = "raw" if single else f"raw_{golden}"
        heads[golden] = {"logit": vector(plan, key, f"raw_{name}")}
    add_tasks(plan, heads)


def _compile(plan: Plan) -> Compiled:
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(json.dumps(plan.recipe(), indent=1), encoding="utf-8")
        return compile_recipe(path)


def _load(plan: Plan, module: nn.Module) -> None:
    """Give the module the golden weights; every entry on both sides must have its partner."""
    golden, state = plan.case.part("w"), dict(module.state_dict())
    missing = sorted(golden.keys() - plan.weights.keys())
    if missing:
        raise Unsupported(f"weights without a place: {', '.join(missing)}")
    open_keys = set(state)
    for key, value in golden.items():
        weight = plan.weights[key]
        if weight.key not in state and f"grad/{key}" not in plan.case.arrays:
            del plan.weights[key]  # nothing reaches it there, so the recipe does not have it
            continue
        if weight.key not in state:
            raise Unsupported(f"{key} would be {weight.key}, which the module does not have")
        state[weight.key] = weight.ours(value, state[weight.key]).to(state[weight.key])
        open_keys.discard(weight.key)
    if open_keys:
        raise Unsupported(f"entries without a golden weight: {', '.join(sorted(open_keys))}")
    module.load_state_dict(state)


def _batch(plan: Plan) -> Batch:
    arrays = plan.case.part("in")
    columns: dict[str, Any] = {f"raw_{key}": value.numpy() for key, value in arrays.items()}
    for key, value in arrays.items():
        if key.startswith("label."):
            columns[f"label_{key.removeprefix('label.')}"] = value.numpy()
    labels, weights = {}, {}
    if plan.case.said["level"] != "block":
        names = task_names(plan)
        for task in tasks_of(plan):
            labels[names[task["name"]]] = arrays[f"label.{task['label']}"]
            if task.get("sample_weight"):
                weights[names[task["name"]]] = arrays[f"weight.{task['sample_weight']}"]
    return Batch(plan.columns, labels, weights, columns)


def _outputs(plan: Plan, predictions: dict[str, Tensor]) -> Found:
    """The outputs of a block, and their product with the cotangents."""
    found = Found(out={golden: predictions[node] for golden, node in plan.exports.items()})
    for ours, golden in plan.renamed.items():
        found.out[golden] = predictions[ours]
    shape = {key: value.shape for key, value in plan.case.part("out").items()}
    for key, value in found.out.items():
        found.out[key] = value.reshape(shape.get(key, value.shape))
    terms = [(value * plan.case.input(f"cot.{key}")).sum() for key, value in found.out.items()]
    found.loss["total"] = torch.stack(terms).sum()
    return found


def _losses(
    plan: Plan, compiled: Compiled, module: nn.Module, predictions: dict[str, Tensor], batch: Batch
) -> Found:
    """Predictions and losses of a model under the case's names."""
    losses = TaskLosses(compiled.recipe)(predictions, batch)
    found = Found(loss={plan.renamed[key]: value for key, value in losses.parts.items()})
    for key, value in predictions.items():
        if key not in losses.parts:
            found.out[plan.renamed[key]] = value
    found.loss["total"] = losses.total
    if plan.case.said.get("pareto"):
        _balance(plan, compiled, module, losses, found)
    return found


def _balance(
    plan: Plan, compiled: Compiled, module: nn.Module, losses: Losses, found: Found
) -> None:
    balance = make_balance(compiled.recipe, module)
    assert balance is not None
    found.loss["total"] = balance(losses).total
    by_loss = {plan.renamed[key]: value for key, value in balance.weights.items()}
    order = [key for key in plan.case.part("loss") if key in by_loss]
    found.out["pareto_weights"] = torch.stack([by_loss[key] for key in order])


def _collect(plan: Plan, module: nn.Module, found: Found) -> None:
    """Gradients and running statistics under the case's names."""
    grads, state = _gradients(module), module.state_dict()
    for golden, weight in plan.weights.items():
        value = plan.case.arrays[f"w/{golden}"]
        if weight.key in grads:
            found.grad[golden] = weight.golden(grads[weight.key], value)
        if golden in plan.case.part("after"):
            found.after[golden] = weight.golden(state[weight.key], value)
    for key, leaf in plan.leaves.items():
        gradient = leaf.gradient()
        if gradient is not None:
            found.grad[key] = gradient
        if leaf.steps is not None:
            found.padded[key] = leaf.steps


def _gradients(module: nn.Module) -> dict[str, Tensor]:
    """Dense gradients by key of the state_dict; packed tables piece by piece."""
    found = {}
    for prefix, owner in module.named_modules():
        dot = f"{prefix}." if prefix else ""
        named = dict(owner.named_parameters(recurse=False))
        if isinstance(owner, PiecewiseModule):
            for piece in owner.pieces:
                grad = named[piece.parameter].grad
                if grad is not None:
                    whole = grad.to_dense() if grad.is_sparse else grad
                    found[dot + piece.key] = whole[piece.start : piece.stop].reshape(piece.shape)
            continue
        for name, parameter in named.items():
            if parameter.grad is not None:
                found[dot + name] = parameter.grad
    return found
