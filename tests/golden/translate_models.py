"""Model cases: the architecture as nodes of a recipe, by kind of graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from golden_plan import Plan, Unsupported, joined, perceptron, settings
from translate_inputs import Inputs
from translate_parts import cross_stack, expert_keys, masknet, mmoe, wukong_stack
from translate_tasks import add_tasks, task_names, tasks_of

__all__ = ["model"]

Heads = dict[str, dict[str, str]]


class Stacked(NamedTuple):
    """Dense output and sparse slots as fields [B, number, dim], and both as they are."""

    fields: str
    number: int
    dim: int
    sparse: list[str]
    dense: list[str]


def model(plan: Plan) -> None:
    """Fill the plan from a model case."""
    kind = plan.case.graph["kind"]
    if kind not in KINDS:
        raise Unsupported(f"model {kind}")
    add_tasks(plan, KINDS[kind](plan, plan.case.graph, Inputs(plan)))


def head(plan: Plan, task: str, inputs: Any, plus: str = "") -> dict[str, str]:
    """What predicts the task: its Linear on one node, or an expression where there is more."""
    single = "task" in plan.case.said
    key, inputs = "head" if single else f"head.{task}", joined(inputs)
    classes = next(t["num_class"] for t in tasks_of(plan) if t["name"] == task)
    if plus or len(inputs) > 1 or f"w/{key}.bias" not in plan.case.arrays:
        name = plan.linear(key, inputs, classes)
        return {"logit": f"{plus}{name}"}
    plan.pair(key, f"head_{task_names(plan)[task]}")
    return {"in": inputs[0]}


def only(plan: Plan, inputs: Any, plus: str = "") -> Heads:
    """The head of the single task."""
    task = tasks_of(plan)[0]["name"]
    return {task: head(plan, task, inputs, plus)}


def finish(plan: Plan, graph: Mapping[str, Any], inputs: Any) -> Heads:
    """`final`, if there is one, and the head."""
    return only(plan, plan.mlp("final", graph["final"], inputs) if graph.get("final") else inputs)


# ---- one task -----------------------------------------------------------------------------------


def wide_and_deep(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    plan.graph["n_wide"] = f"sum({_one(plan, x['wide'])})"
    deep = plan.mlp("deep", graph["deep"], x["deep"])
    if graph.get("final"):
        return finish(plan, graph, ["n_wide", deep])
    return only(plan, deep, "n_wide + ")


def deepfm(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    plan.graph["n_wide"] = f"sum({_one(plan, x['wide'])})"
    plan.node("n_fm", "fm", f"{x['fm' if 'fm' in x else 'deep'][0]}.fields")
    deep = plan.mlp("deep", graph["deep"], x["deep"])
    if graph.get("final"):
        return finish(plan, graph, ["n_wide", "n_fm", deep])
    return only(plan, deep, "n_wide + sum(n_fm) + ")


def multi_tower(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    towers = [
        plan.mlp(f"tower.{t['group']}", t["mlp"], x[t["group"]]) for t in graph.get("towers", [])
    ]
    towers += [
        x.encoded(f"din.{d['group']}", {"type": "din", **d}, d["group"])
        for d in graph.get("din", [])
    ]
    return finish(plan, graph, towers)


def masknet_model(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    return only(plan, masknet(plan, "mask", graph["mask_net"], x.first))


def dcn(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    start = x.first
    if graph.get("backbone"):
        start = [plan.mlp("backbone", graph["backbone"], start)]
    rank = graph.get("rank") if graph["kind"] == "dcn_v2" else None
    crossed = cross_stack(
        plan, "cross", _one(plan, start), _depth(plan, "cross"), graph["kind"][-2:], rank
    )
    deep = [plan.mlp("deep", graph["deep"], x.first)] if graph.get("deep") else []
    return finish(plan, graph, [crossed, *deep])


def _stacked(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Stacked:
    said = {group["name"]: group for group in plan.case.said["groups"]}
    name = "sparse" if "sparse" in x else next(iter(said))
    slots, sparse = said[name]["slots"], x[name]
    number, dim = len(slots), slots[0]["dim"]
    if not graph.get("dense"):
        return Stacked(f"{sparse[0]}.fields", number, dim, sparse, [])
    dense = plan.mlp("dense", graph["dense"], x["dense"])
    plan.graph["n_fields"] = f"reshape(concat({dense}, {sparse[0]}), [{number + 1}, {dim}])"
    return Stacked("n_fields", number + 1, dim, sparse, [dense])


def dlrm(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    found = _stacked(plan, graph, x)
    dots = plan.node("n_dots", "dot_interaction", found.fields)
    raw = found.sparse if graph["with_sparse"] else []
    return finish(plan, graph, [dots, *found.dense, *raw])


def xdeepfm(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    sizes = [plan.case.part("w")[f"cin.{i}.bias"].numel() for i in range(_depth(plan, "cin"))]
    for i in range(len(sizes)):
        plan.pair(f"cin.{i}", f"n_cin.layers.{i}")
    cin = plan.node("n_cin", "cin", f"{x['wide'][0]}.fields", layers=sizes)
    deep = plan.mlp("deep", graph["deep"], x["deep"])
    return finish(plan, graph, [cin, deep])


def wukong(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    found = _stacked(plan, graph, x)
    last, number = wukong_stack(plan, found.fields, graph.get("layers"), found.number, found.dim)
    plan.graph["n_flat"] = f"reshape({last}, [{number * found.dim}])"
    return finish(plan, graph, "n_flat")


# ---- several tasks ------------------------------------------------------------------------------


def mmoe_model(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    return towers(plan, mmoe(plan, graph, x.first, task_names(plan)))


def ple(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    names, layers = task_names(plan), graph["layers"]
    specs = [spec for layer in layers for spec in (layer["task_expert"], layer["shared_expert"])]
    rest = [{k: v for k, v in perceptron(spec).items() if k != "hidden"} for spec in specs]
    if any(r != rest[0] for r in rest):
        raise Unsupported("experts of one PLE with other activations, norms or biases")
    for i, layer in enumerate(layers):
        expert_keys(plan, f"layers.{i}", f"n_ple.levels.{i}", layer, names)
    plan.node(
        "n_ple",
        "ple",
        x.first,
        levels=len(layers),
        gates=sorted(names.values()),
        private=[layer["experts_per_task"] for layer in layers],
        shared=[layer["shared_experts"] for layer in layers],
        hidden=[list(layer["task_expert"]["units"]) for layer in layers],
        shared_hidden=[list(layer["shared_expert"]["units"]) for layer in layers],
        **rest[0],
    )
    return towers(plan, {golden: f"n_ple.{name}" for golden, name in names.items()})


def dbmtl(plan: Plan, graph: Mapping[str, Any], x: Inputs) -> Heads:
    names, h = task_names(plan), x.first
    if graph.get("mask_net"):
        h = [masknet(plan, "mask", graph["mask_net"], h)]
    if graph.get("bottom"):
        h = [plan.mlp("bottom", graph["bottom"], h)]
    mixed: dict[str, Any] = dict.fromkeys(names, h)
    if graph.get("expert"):
        mixed = mmoe(plan, graph, h, names)
    made: dict[str, Any] = {}
    for task in tasks_of(plan):
        name = task["name"]
        mlp = task.get("mlp")
        made[name] = plan.mlp(f"tower.{name}", mlp, mixed[name]) if mlp else mixed[name]
    related = relate(plan, made)
    return {name: head(plan, name, related[name]) for name in names}


def _declared(plan: Plan, towers: Mapping[str, Any]) -> bool:
    """Whether `relations:` of a recipe can say all of the case's relations."""
    names = task_names(plan)
    for task in tasks_of(plan):
        spec, parents = task.get("relation_mlp"), [names[t] for t in task.get("relations", [])]
        plain = not spec or not settings(spec).keys() - {"activation"}
        known = not spec or (parents and all(isinstance(t, str) for t in towers.values()))
        if not plain or not known or (spec and parents != sorted(parents)):
            return False
    return True


def relate(plan: Plan, towers: Mapping[str, Any]) -> dict[str, Any]:
    """What the heads read: each task's tower beside its parents' outputs, through an MLP."""
    names, made = task_names(plan), dict(towers)
    declared = _declared(plan, towers)
    for task in tasks_of(plan):
        name, spec, parents = task["name"], task.get("relation_mlp"), task.get("relations", [])
        if spec and declared:
            arrow = f"{' + '.join(names[parent] for parent in parents)} -> {names[name]}"
            plan.relations.append({arrow: perceptron(spec)})
            plan.perceptron(f"relation.{name}", f"rel_{names[name]}")
        elif spec:
            inputs = joined(towers[name], *(made[parent] for parent in parents))
            made[name] = plan.mlp(f"relation.{name}", spec, inputs)
    return made


def towers(plan: Plan, mixed: Mapping[str, str]) -> Heads:
    """`tower.<t>`, where a task has one, and the head."""
    made = {}
    for task in tasks_of(plan):
        name = task["name"]
        mlp = task.get("mlp")
        last = plan.mlp(f"tower.{name}", mlp, mixed[name]) if mlp else mixed[name]
        made[name] = head(plan, name, last)
    return made


def _depth(plan: Plan, key: str) -> int:
    """Number of layers with weights `<key>.<i>.*`."""
    return len({k.split(".")[1] for k in plan.case.part("w") if k.startswith(f"{key}.")})


def _one(plan: Plan, inputs: list[str]) -> str:
    """Several references as one."""
    if len(inputs) == 1:
        return inputs[0]
    name = f"{inputs[0]}_all"
    plan.graph[name] = f"concat({', '.join(inputs)})"
    return name


KINDS: dict[str, Callable[[Plan, Mapping[str, Any], Inputs], Heads]] = {
    "dbmtl": dbmtl,
    "dcn_v1": dcn,
    "dcn_v2": dcn,
    "deepfm": deepfm,
    "dlrm": dlrm,
    "masknet": masknet_model,
    "mmoe": mmoe_model,
    "multi_tower": multi_tower,
    "multi_tower_din": multi_tower,
    "ple": ple,
    "wide_and_deep": wide_and_deep,
    "wukong": wukong,
    "xdeepfm": xdeepfm,
}
