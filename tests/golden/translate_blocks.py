"""Block cases: one node of a recipe over dense features, its outputs exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from golden_plan import Leaf, Plan, Unsupported, Weight, perceptron
from translate_inputs import LONGEST, QUERIED, dense_feature, encoder, vector
from translate_parts import cross_stack, masknet, mmoe, wukong_stack

from graphrec.nn import Jagged

__all__ = ["block"]

ENCODERS = ("din", "multi_window_din", "pooling", "self_attention", "simple_attention")


def block(plan: Plan) -> None:
    """Fill the plan from a block case."""
    graph = plan.case.graph
    kind = graph["kind"]
    if kind in ENCODERS:
        export(plan, sequence_block(plan, graph))
    elif kind in KINDS:
        KINDS[kind](plan, graph)
    else:
        raise Unsupported(f"block {kind}")
    # A recipe has a task; this one reads a column of its own and nothing of the block.
    plan.features.append({"type": "dense", "names": "anchor"})
    plan.columns["anchor"] = torch.zeros(plan.case.said.get("batch") or _rows(plan), 1)
    plan.groups["g_anchor"] = {"of": ["anchor"]}
    plan.tasks["anchor"] = {"logit": "g_anchor", "loss": "none"}


def export(plan: Plan, ref: str, golden: str = "y") -> None:
    """Let the module return `ref` as an output of the case."""
    plan.graph[f"o_{len(plan.exports)}"] = f"concat({ref})"
    plan.exports[golden] = f"o_{len(plan.exports)}"


def _rows(plan: Plan) -> int:
    values = next(iter(plan.columns.values()))
    return values.num_rows if isinstance(values, Jagged) else len(values)


def fields_of(plan: Plan, golden: str = "x") -> str:
    """An input [B, N, D] as fields."""
    number, dim = plan.case.input(golden).shape[1:]
    plan.graph["x_fields"] = f"reshape({vector(plan, golden, 'x')}, [{number}, {dim}])"
    return "x_fields"


# ---- kinds --------------------------------------------------------------------------------------


def mlp(plan: Plan, graph: Mapping[str, Any]) -> None:
    flat = plan.case.input("x").dim() == 2
    params = perceptron(graph)
    plan.perceptron("mlp", "n_mlp")
    if graph.get("return_hidden"):
        params["hidden_outputs"] = True
    name = plan.node("n_mlp", "mlp", vector(plan, "x", "x") if flat else fields_of(plan), **params)
    if not graph.get("return_hidden"):
        export(plan, name)
        return
    last = len(graph["units"]) - 1
    for i in range(last + 1):
        export(plan, f"{name}.hidden{i}", f"hidden_layer{i}")
    export(plan, f"{name}.hidden{last}", "hidden_layer_end")


def fm(plan: Plan, graph: Mapping[str, Any]) -> None:
    export(plan, plan.node("n_fm", "fm", fields_of(plan)))


def dot_interaction(plan: Plan, graph: Mapping[str, Any]) -> None:
    export(plan, plan.node("n_dots", "dot_interaction", fields_of(plan)))


def cin(plan: Plan, graph: Mapping[str, Any]) -> None:
    for i in range(len(graph["sizes"])):
        plan.pair(f"cin.{i}", f"n_cin.layers.{i}")
    export(plan, plan.node("n_cin", "cin", fields_of(plan), layers=list(graph["sizes"])))


def cross(plan: Plan, graph: Mapping[str, Any]) -> None:
    version, x = graph["kind"][-2:], vector(plan, "x", "x")
    export(plan, cross_stack(plan, "cross", x, graph["layers"], version, graph.get("rank")))


def mask_net(plan: Plan, graph: Mapping[str, Any]) -> None:
    export(plan, masknet(plan, "mask", graph, vector(plan, "x", "x")))


def mmoe_block(plan: Plan, graph: Mapping[str, Any]) -> None:
    names = {task: f"t_{task}" for task in graph["tasks"]}
    for task, ref in mmoe(plan, graph, vector(plan, "x", "x"), names).items():
        export(plan, ref, task)


def fusion(plan: Plan, graph: Mapping[str, Any]) -> None:
    outputs = {f"t_{task['name']}": task["num_class"] for task in graph["tasks"]}
    both = {name: vector(plan, name, f"x_{name}") for name in ("user", "item")}
    order, sizes = sorted(outputs), [*outputs]
    # Ours splits one Linear in the order of the names.
    starts = {name: sum([*outputs.values()][: sizes.index(name)]) for name in sizes}
    rows = [starts[name] + i for name in order for i in range(outputs[name])]
    for part in ("weight", "bias"):
        if f"w/head.{part}" in plan.case.arrays:
            plan.weights[f"head.{part}"] = Weight(f"n_fusion.head.{part}", rows=tuple(rows))
    plan.perceptron("mlp", "n_fusion.mlp")
    rest = perceptron(graph["mlp"]) if graph.get("mlp") else {}
    plan.node("n_fusion", "fusion_tower", both, outputs=outputs, **rest)
    for task in graph["tasks"]:
        export(plan, f"n_fusion.t_{task['name']}", task["name"])


def task_tower(plan: Plan, graph: Mapping[str, Any]) -> None:
    x, spec = vector(plan, "x", "x"), graph.get("mlp")
    weights = plan.case.part("w")
    outer = [
        key.removesuffix(".weight")
        for key in weights
        if key.endswith(("head.weight", "out.weight", "linear.weight"))
    ]
    if len(outer) != 1:
        raise Unsupported(f"a task tower with weights {', '.join(weights)}")
    if spec:
        inner = next(key for key in weights if key.endswith("0.weight")).removesuffix(".0.weight")
        x = plan.mlp(inner, spec, x)
    classes = weights[f"{outer[0]}.weight"].shape[0]
    export(plan, plan.linear(outer[0], x, classes), next(iter(plan.case.part("out"))))


def senet(plan: Plan, graph: Mapping[str, Any]) -> None:
    weights, x = plan.case.part("w"), plan.case.input("x")
    squeeze, excite = (
        next(key.removesuffix(".weight") for key in weights if key.endswith(f"{part}.weight"))
        for part in ("squeeze", "excite")
    )
    middle, number = weights[f"{squeeze}.weight"].shape
    widths = [x.shape[2]] * number if x.dim() == 3 else _widths(graph, number, x.shape[1])
    bias = f"{squeeze}.bias" in weights
    name = vector(plan, "x", "x")
    if len({*widths}) == 1:
        plan.graph["x_fields"] = f"reshape({name}, [{number}, {widths[0]}])"
        plan.pair(squeeze, "n_senet.squeeze")
        plan.pair(excite, "n_senet.excite")
        reduction = next(r for r in range(1, number + 1) if max(1, number // r) == middle)
        plan.node("n_senet", "senet", "x_fields", reduction=reduction, bias=bias)
        flat = "n_senet" if x.dim() == 3 else f"reshape(n_senet, [{sum(widths)}])"
        export(plan, flat)
        return
    # Fields of unequal widths: the same gate, written out.
    ends = [sum(widths[: i + 1]) for i in range(number)]
    parts = [f"slice({name}, {e - w}, {e})" for e, w in zip(ends, widths, strict=True)]
    plan.graph["n_means"] = f"concat({', '.join(f'mean({part})' for part in parts)})"
    plan.pair(squeeze, "n_gate.layers.0")
    plan.pair(excite, "n_gate.out")
    plan.node("n_gate", "mlp", "n_means", hidden=[middle], out=number, bias=bias)
    scaled = [f"{part} * sigmoid(slice(n_gate, {i}, {i + 1}))" for i, part in enumerate(parts)]
    export(plan, ", ".join(scaled))


def _widths(graph: Mapping[str, Any], number: int, total: int) -> list[int]:
    """The widths of the fields side by side, wherever the case says them."""
    for value in graph.values():
        if isinstance(value, list) and len(value) == number and sum(value) == total:
            return [int(width) for width in value]
    if total % number:
        raise Unsupported("senet without the widths of its fields")
    return [total // number] * number


def wukong(plan: Plan, graph: Mapping[str, Any]) -> None:
    number, dim = plan.case.input("x").shape[1:]
    layers = graph["layers"] if isinstance(graph.get("layers"), list) else [graph]
    export(plan, wukong_stack(plan, fields_of(plan), layers, number, dim)[0])


def dense_embedding(plan: Plan, graph: Mapping[str, Any]) -> None:
    for config in graph["configs"]:
        for golden in config["features"]:
            values = plan.case.input(golden).clone().requires_grad_()
            name = f"f_{golden}"
            feature = {"name": golden, "width": values.shape[1], "embedding": config}
            plan.features.append(dense_feature(plan, name, feature))
            plan.columns[name] = values
            plan.leaves[f"in.{golden}"] = Leaf(values, tuple(values.shape))
            plan.groups[f"g_{golden}"] = {"of": [name]}
            export(plan, f"g_{golden}", golden)


def variational_dropout(plan: Plan, graph: Mapping[str, Any]) -> None:
    x, start, members = plan.case.input("x").clone().requires_grad_(), 0, []
    for i, width in enumerate(graph["feature_dims"]):
        name = f"f_{i:03d}"
        plan.features.append({"type": "dense", "names": name, "width": width})
        plan.columns[name] = x[:, start : start + width]
        members.append(name)
        start += width
    plan.leaves["in.x"] = Leaf(x, tuple(x.shape))
    rate = {"lambda": graph["lambda"], "in_eval": True}
    plan.groups["g_x"] = {"of": members, "regularize": {"variational_dropout": rate}}
    plan.weights["p"] = Weight("g_x_dropout.logit")
    plan.renamed["g_x_feature_p_loss"] = "penalty"
    noise = [key for key in plan.case.part("in") if key.startswith("noise")]
    if noise:
        plan.noise["g_x_dropout"] = plan.case.input(noise[0])
    export(plan, "g_x")


# ---- sequences ----------------------------------------------------------------------------------


def sequence_block(plan: Plan, graph: Mapping[str, Any]) -> str:
    cut = int(graph.get("max_seq_length") or 0)
    query = None
    if graph["kind"] in QUERIED:
        query = vector(plan, "query", "query")
    width = {"width": plan.case.input("sequence").shape[2]}
    plan.features.append({"type": "dense", "names": "key", **width})
    history = _history(plan, "history", cut)
    whole = _history(plan, "whole", 0) if cut and graph["kind"] == "self_attention" else None
    return encoder(plan, "encoder", {**graph, "type": graph["kind"]}, query, history, whole)


def _history(plan: Plan, name: str, cut: int) -> str:
    padded, lengths = plan.case.input("sequence"), plan.case.input("length")
    kept = lengths.clamp(max=cut) if cut else lengths
    real = torch.arange(padded.shape[1]) < kept.unsqueeze(1)
    values = padded[real].clone().requires_grad_()
    longest = {"max_len": cut or LONGEST, "keep": "first"}
    plan.features.append({"type": "sequence", "name": name, "of": ["key"], **longest})
    plan.columns[f"{name}.key"] = Jagged(values, kept)
    if name == "history":
        plan.leaves["in.sequence"] = Leaf(values, tuple(padded.shape), real)
    return name


KINDS: dict[str, Callable[[Plan, Mapping[str, Any]], None]] = {
    "cin": cin,
    "cross_v1": cross,
    "cross_v2": cross,
    "dense_embedding": dense_embedding,
    "dot_interaction": dot_interaction,
    "fm": fm,
    "fusion_mtl_tower": fusion,
    "mask_net": mask_net,
    "mlp": mlp,
    "mmoe_block": mmoe_block,
    "senet": senet,
    "task_tower": task_tower,
    "variational_dropout": variational_dropout,
    "wukong": wukong,
}
