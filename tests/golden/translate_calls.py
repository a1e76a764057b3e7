"""Cases that are a call rather than a recipe: an extraction layer alone, metrics, Pareto weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from golden_case import Case, Found
from golden_plan import Plan, Unsupported, perceptron
from torch import Tensor
from torchmetrics import Metric
from translate_parts import expert_keys

from graphrec.nn import CGC
from graphrec.train.balance import pareto_weights
from graphrec.train.decayed import Decayed, DecayedAuc
from graphrec.train.metrics import (
    Accuracy,
    Auc,
    BinnedAuc,
    GroupedAuc,
    GroupedXauc,
    MeanError,
    MulticlassAuc,
    NormalizedEntropy,
    Xauc,
)

__all__ = ["CALLS", "call"]


def call(case: Case) -> Found:
    """What the call of the case gives."""
    kind = case.graph["kind"]
    if kind not in CALLS:
        raise Unsupported(f"{case.said['level']} {kind}")
    return CALLS[kind](case)


def cgc(case: Case) -> Found:
    """One extraction layer by itself: a recipe reaches it as a level of `ple`."""
    graph, plan = case.graph, Plan(case)
    own, shared = perceptron(graph["task_expert"]), perceptron(graph["shared_expert"])
    tasks = graph["tasks"]
    rest = {k: v for k, v in own.items() if k != "hidden"}
    if rest != {k: v for k, v in shared.items() if k != "hidden"}:
        raise Unsupported("task and shared experts with other activations, norms or biases")
    layer = CGC(
        graph["in_task"],
        tasks,
        graph["experts_per_task"],
        graph["shared_experts"],
        own["hidden"],
        shared["hidden"],
        graph["last"],
        shared_features=graph["in_shared"],
        **rest,
    )
    expert_keys(plan, "cgc", "layer", graph, {name: name for name in tasks})
    # Here the tasks keep the order of the call.
    state, inputs = layer.state_dict(), {}
    for golden, value in case.part("w").items():
        key = plan.weights[golden].key.removeprefix("layer.")
        state[key] = value.reshape(state[key].shape)
    layer.to(case.input("shared").dtype).load_state_dict(state)
    layer.train(case.training)
    for name in (*tasks, "shared"):
        inputs[name] = case.input(name).clone().requires_grad_()
    outputs, common = layer([inputs[name] for name in tasks], inputs["shared"])
    found = Found(out=dict(zip(tasks, outputs, strict=True)))
    if not graph["last"]:
        found.out["shared"] = common
    terms = [(value * case.input(f"cot.{key}")).sum() for key, value in found.out.items()]
    found.loss["total"] = torch.stack(terms).sum()
    found.loss["total"].backward()
    grads = {name: parameter.grad for name, parameter in layer.named_parameters()}
    for golden, value in case.part("w").items():
        grad = grads.get(plan.weights[golden].key.removeprefix("layer."))
        if grad is not None:
            found.grad[golden] = grad.reshape(value.shape)
        if golden in case.part("after"):
            key = plan.weights[golden].key.removeprefix("layer.")
            found.after[golden] = layer.state_dict()[key].reshape(value.shape)
    found.grad |= {f"in.{k}": v.grad for k, v in inputs.items() if v.grad is not None}
    return found


def pareto(case: Case) -> Found:
    """Weights from the gradients of the losses."""
    gradients = case.input("G").double()
    weights = pareto_weights(gradients @ gradients.T, case.input("c").double())
    return Found(out={"w": weights})


# ---- metrics ------------------------------------------------------------------------------------


class InBatch:
    """The mean of a metric's values by batch."""

    def __init__(self, make: Callable[[], Metric]) -> None:
        self.make = make
        self.values: list[float] = []

    def update(self, preds: Tensor, target: Tensor, group: Any = None) -> None:
        metric = self.make()
        metric.update(preds, target)
        value = metric.compute()
        self.values.append(0.0 if value is None else float(value))

    def compute(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def update_called(self) -> bool:
        return bool(self.values)

    def reset(self) -> None:
        self.values = []


def metric(case: Case) -> Found:
    """The values that a metric takes in the calls of the case."""
    graph, found = case.graph, Found()
    wrapper = graph.get("train_wrapper")
    measured = _wrapped(graph, wrapper) if wrapper else _metric(graph)
    for step in graph["calls"]:
        if step["op"] == "update":
            _update(case, measured, step["batch"])
        elif step["op"] == "decay":
            measured.decay(step["rate"])
        elif step["op"] == "compute":
            value = measured.compute() if hasattr(measured, "compute") else measured.value
            # What is not available yet is 0 in the reference.
            found.out[step["out"]] = torch.tensor(0.0 if value is None else float(value))
        else:
            raise Unsupported(f"operation {step['op']} of a metric")
    return found


def _update(case: Case, measured: Any, batch: int) -> None:
    preds, target = case.input(f"preds.{batch}"), case.input(f"target.{batch}")
    group = case.arrays.get(f"in/group.{batch}")
    if isinstance(measured, Decayed):
        measured.update(preds, target)
        # The reference takes a value of 0 for none yet.
        measured.value = measured.value or None
    elif group is None:
        measured.update(preds, target)
    else:
        measured.update(preds, target, group=group.numpy())


def _metric(graph: Mapping[str, Any]) -> Any:
    name, given = graph["metric"], graph.get("params", {})
    if name == "auc":
        bins = given.get("thresholds")
        return BinnedAuc(bins) if bins else Auc()
    if name == "decay_auc":
        return DecayedAuc(step=LATER, bins=given.get("thresholds", 200))
    if name == "xauc" and given.get("in_batch"):
        return InBatch(Xauc)
    if name not in METRICS:
        raise Unsupported(f"metric {name}")
    return METRICS[name](given)


def _wrapped(graph: Mapping[str, Any], wrapper: Mapping[str, Any]) -> Any:
    name, step, rate = graph["metric"], wrapper["decay_step"], wrapper["decay_rate"]
    if name in ("auc", "decay_auc"):
        return DecayedAuc(step, rate, graph.get("params", {}).get("thresholds", 200))
    return Decayed(_metric(graph), step, rate)


LATER = 1_000_000_000
"""A step that is never reached: the calls of the case say when counts decay."""

METRICS: dict[str, Callable[[Mapping[str, Any]], Metric]] = {
    "accuracy": lambda given: Accuracy(given.get("threshold", 0.5)),
    "grouped_auc": lambda given: GroupedAuc(),
    "grouped_xauc": lambda given: GroupedXauc(),
    "mean_absolute_error": lambda given: MeanError(1),
    "mean_squared_error": lambda given: MeanError(2),
    "multiclass_auc": lambda given: MulticlassAuc(),
    "normalized_entropy": lambda given: NormalizedEntropy(),
    "root_mean_squared_error": lambda given: MeanError(2, root=True),
    "xauc": lambda given: Xauc(),
}

CALLS: dict[str, Callable[[Case], Found]] = {
    "cgc": cgc,
    "metric": metric,
    "pareto_weights": pareto,
}
