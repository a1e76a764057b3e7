"""Made cases of models with several tasks: what a folder of golden cases may leave out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from golden_case import Case
from made_case import spec
from made_model import BCE, Model, plain, slots
from made_parts import extract, mask_net, mix
from torch import Tensor

from graphrec.train.balance import pareto_weights

__all__ = ["TASKS"]


def mixtures(
    m: Model, x: Tensor, expert: Any, count: int, gate: Any, tasks: str
) -> dict[str, Tensor]:
    experts = [m.mlp(f"experts.{k}", expert, x) for k in range(count)]
    found = {}
    for task in tasks:
        read = m.mlp(f"gate.{task}.mlp", gate, x) if gate else x
        found[task] = mix(m.linear(f"gate.{task}", read, count), experts)
    return found


def dbmtl(declared: bool) -> Case:
    m = plain(f"dbmtl_{declared}", "u", "tags")
    first = spec(5, activation="silu") if declared else spec(5, norm="layer")
    after = {"relations": ["z"], "relation_mlp": first}
    last = {"relations": ["a", "z"] if declared else ["z", "a"], "relation_mlp": spec(6)}
    space = {"task_space": "clicked", "in_weight": 2.0, "out_weight": 0.5, "sample_weight": "sw"}
    softmax = {"num_class": 3, "losses": [{"type": "softmax_cross_entropy"}]}
    l2 = {"num_class": 1, "losses": [{"type": "l2_loss"}]}
    tasks: list[dict[str, Any]] = [
        {"name": "z", "label": "clicked", "num_class": 1, "losses": [BCE], "weight": 0.7},
        {"name": "a", "label": "kind", **softmax, "mlp": spec(4), **space, **after},
        {"name": "m", "label": "stars", **l2, **last},
    ]
    tasks[0]["mlp"] = spec(5)
    expert, gate = spec(6, activation="gelu"), spec(4, bias=False)
    mask = {"blocks": 2, "hidden": 5, "parallel": True, "top": spec(6)}
    graph = {"kind": "dbmtl", "mask_net": mask, "bottom": spec(7), "expert": expert}
    m.said["graph"] = {**graph, "num_expert": 2, "gate": gate}
    h = mask_net(m, "mask", mask, m.group("all", slots(m, "u", "p", "tags")))
    mixed = mixtures(m, m.mlp("bottom", spec(7), h), expert, 2, gate, "zam")
    towers: dict[str, Tensor] = {}
    logits: dict[str, Tensor] = {}
    for task in tasks:
        name = task["name"]
        own = m.mlp(f"tower.{name}", task["mlp"], mixed[name]) if "mlp" in task else mixed[name]
        if "relation_mlp" in task:
            read = torch.cat([own, *(towers[other] for other in task["relations"])], 1)
            own = m.mlp(f"relation.{name}", task["relation_mlp"], read)
        towers[name] = own
        logits[name] = m.linear(f"head.{name}", own, task["num_class"])
    m.tasks(logits, tasks)
    return m.done()


def ple() -> Case:
    m = plain("ple", "u", "i")
    task = {"num_class": 1, "losses": [BCE]}
    tasks = [
        {"name": "z", "label": "z", **task, "mlp": spec(3)},
        {"name": "a", "label": "a", **task},
    ]
    first = {"experts_per_task": 2, "task_expert": spec(6, 5), "shared_experts": 1}
    second = {"experts_per_task": 1, "task_expert": spec(4), "shared_experts": 2}
    layers = [{**first, "shared_expert": spec(5)}, {**second, "shared_expert": spec(4)}]
    m.said["graph"] = {"kind": "ple", "layers": layers}
    shared = m.group("all", slots(m, "u", "p", "i"))
    xs = {"z": shared, "a": shared}
    for i, layer in enumerate(layers):
        xs, shared = extract(m, f"layers.{i}", layer, xs, shared, i == 1)
    z = m.linear("head.z", m.mlp("tower.z", spec(3), xs["z"]), 1)
    m.tasks({"z": z, "a": m.linear("head.a", xs["a"], 1)}, tasks)
    return m.done()


def pareto(*least: float) -> Case:
    m = plain(f"pareto_{least}", "u", "i")
    m.said |= {"pareto": True}
    m.said["graph"] = {"kind": "mmoe", "expert": spec(6), "num_expert": 2, "gate": None}
    task = {"num_class": 1, "losses": [BCE], "mlp": spec(4)}
    tasks = [
        {"name": name, "label": name, **task, "pareto_min": c}
        for name, c in zip("zam", least, strict=True)
    ]
    mixed = mixtures(m, m.group("all", slots(m, "u", "p", "i")), spec(6), 2, None, "zam")
    towers = {name: m.mlp(f"tower.{name}", spec(4), mixed[name]) for name in "zam"}
    m.tasks({name: m.linear(f"head.{name}", h, 1) for name, h in towers.items()}, tasks)
    weights = [w for w in m.weights.values() if w.requires_grad]
    rows = []
    for loss in m.loss.values():
        found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        pairs = zip(found, weights, strict=True)
        rows.append(
            torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in pairs])
        )
    gradients = torch.stack(rows)
    shares = pareto_weights(gradients @ gradients.T, torch.tensor(least).double())
    m.out["pareto_weights"] = shares
    m.loss["total"] = (shares * torch.stack([*m.loss.values()])).sum()
    return m.case()


TASKS: dict[str, Callable[[], Case]] = {
    "dbmtl_by_nodes": lambda: dbmtl(False),
    "dbmtl_by_relations": lambda: dbmtl(True),
    "pareto": lambda: pareto(0.0, 0.0, 0.0),
    "pareto_minima": lambda: pareto(0.2, 0.1, 0.3),
    "ple_in_another_order": ple,
}
"""Cases by name."""
