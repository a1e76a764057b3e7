"""Parts that model cases and block cases share: MaskNet, MMoE, cross networks, extraction, WuKong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from golden_plan import Plan, Unsupported, Weight, perceptron, settings

__all__ = ["cross_stack", "expert_keys", "masknet", "mmoe", "wukong_stack"]


def masknet(plan: Plan, key: str, spec: Mapping[str, Any], inputs: Any) -> str:
    """A MaskNet whose golden weights are `<key>.*`."""
    name = f"n_{key}"
    plan.pair(f"{key}.norm", f"{name}.norm")
    for i in range(spec["blocks"]):
        theirs, ours = f"{key}.blocks.{i}", f"{name}.blocks.{i}"
        plan.pair(f"{theirs}.gen.0", f"{ours}.aggregate")
        plan.pair(f"{theirs}.gen.1", f"{ours}.project")
        plan.pair(f"{theirs}.ffn", f"{ours}.hidden")
        plan.pair(f"{theirs}.ffn.norm", f"{ours}.norm")
    params: dict[str, Any] = {"blocks": spec["blocks"], "hidden": spec["hidden"]}
    params["mode"] = "parallel" if spec["parallel"] else "serial"
    if spec.get("aggregation"):
        params["aggregation"] = spec["aggregation"]
    elif spec.get("ratio"):
        params["reduction"] = spec["ratio"]
    if spec.get("top"):
        plan.perceptron(f"{key}.top", f"{name}.top")
        params |= {"top": list(spec["top"]["units"]), **settings(spec["top"])}
    return plan.node(name, "masknet", inputs, **params)


def mmoe(
    plan: Plan, graph: Mapping[str, Any], inputs: Any, names: Mapping[str, str]
) -> dict[str, str]:
    """Experts and gates; the mixture of each task."""
    for k in range(graph["num_expert"]):
        plan.perceptron(f"experts.{k}", f"n_mmoe.experts.{k}")
    params = perceptron(graph["expert"])
    if gate := graph.get("gate"):
        params |= {f"gate_{name}": value for name, value in perceptron(gate).items()}
    for golden, name in names.items():
        plan.perceptron(f"gate.{golden}.mlp", f"n_mmoe.gate_mlps.{name}")
        plan.pair(f"gate.{golden}", f"n_mmoe.gates.{name}")
    gates = sorted(names.values())
    plan.node("n_mmoe", "mmoe", inputs, experts=graph["num_expert"], gates=gates, **params)
    return {golden: f"n_mmoe.{name}" for golden, name in names.items()}


def cross_stack(
    plan: Plan, key: str, source: str, layers: int, version: str, rank: int | None
) -> str:
    """A cross network of so many layers over `source`."""
    block = "cross" if version == "v1" else "cross_v2"
    for i in range(layers):
        ours = f"n_{key}_s{i}"
        plan.pair(f"{key}.{i}", ours)
        for part in "uvw":
            plan.pair(f"{key}.{i}.{part}", f"{ours}.{part}")
    params = {"rank": rank} if rank else {}
    both = {"x0": source, "x": source}
    return plan.node(f"n_{key}", block, both, repeat=layers, carry="x", **params)


def expert_keys(
    plan: Plan, key: str, ours: str, layer: Mapping[str, Any], names: Mapping[str, str]
) -> None:
    """Map the weights of one extraction layer; ours has the tasks in the order of their names."""
    private, shared = layer["experts_per_task"], layer["shared_experts"]
    for golden, name in names.items():
        for k in range(private):
            plan.perceptron(f"{key}.task.{golden}.{k}", f"{ours}.experts.{name}.{k}")
        plan.pair(f"{key}.gate.{golden}", f"{ours}.gates.{name}")
    for k in range(shared):
        plan.perceptron(f"{key}.shared.{k}", f"{ours}.shared.{k}")
    order, theirs = sorted(names.values()), [*names.values()]
    rows = [theirs.index(name) * private + k for name in order for k in range(private)]
    rows += range(len(names) * private, len(names) * private + shared)
    for part in ("weight", "bias"):
        if f"w/{key}.gate.shared.{part}" in plan.case.arrays:
            moved = Weight(f"{ours}.shared_gate.{part}", rows=tuple(rows))
            plan.weights[f"{key}.gate.shared.{part}"] = moved


# ---- WuKong -------------------------------------------------------------------------------------

# The page of the golden cases names no keys for this kind: they are recognised by their words.
_LAYER = re.compile(r"(?:.*?\.)?(?:layers?|wukong)\.(?:(\d+)\.)?(.+)")
_MLP = re.compile(r"mlp\.(\d+)\.(.+)")


def wukong_stack(plan: Plan, fields: str, specs: Any, number: int, dim: int) -> tuple[str, int]:
    """WuKong layers over `fields` [B, number, dim]: the last node, and its number of fields."""
    layers: dict[int, dict[str, str]] = {}
    for golden in plan.case.part("w"):
        if golden not in plan.weights and (found := _LAYER.fullmatch(golden)):
            layers.setdefault(int(found[1] or 0), {})[found[2]] = golden
    for i in sorted(layers):
        spec = specs[i] if isinstance(specs, list) else {}
        fields, number = _wukong(plan, f"n_wukong_{i}", fields, layers[i], spec, number, dim)
    return fields, number


def _wukong(
    plan: Plan,
    name: str,
    fields: str,
    keys: Mapping[str, str],
    spec: Mapping[str, Any],
    number: int,
    dim: int,
) -> tuple[str, int]:
    roles = {_role(part): golden for part, golden in keys.items()}
    size = {role: plan.case.arrays[f"w/{golden}"].shape for role, golden in roles.items()}
    rank = size["fm_norm.weight"][0] // number
    fm_fields = size["fm.out.weight"][0] // dim
    linear = max(size["compress.weight"], key=lambda n: (n != number, n))
    depth = sum(role.startswith("fm.layers.") and role.endswith(".weight") for role in roles)
    hidden = [size[f"fm.layers.{i}.weight"][0] for i in range(depth)]
    for role, golden in roles.items():
        wide = {"rank_proj.weight": rank, "compress.weight": linear}
        out = wide.get(role, fm_fields + linear if role == "residual.weight" else None)
        turned = out is not None and _turned(plan, golden, size[role], out)
        plan.weights[golden] = Weight(f"{name}.{role}", transposed=turned)
    mlp = next((v for v in spec.values() if isinstance(v, Mapping) and "units" in v), None)
    rest = settings(mlp) if mlp else {}
    sizes = {"fm_fields": fm_fields, "linear_fields": linear, "rank": rank}
    plan.node(name, "wukong", fields, **sizes, hidden=hidden, **rest)
    return name, fm_fields + linear


def _role(part: str) -> str:
    """Our key for a key below a layer, told by the words in it."""
    words, last = set(re.split(r"[._]", part)), part.rpartition(".")[2]
    last = last if last in ("weight", "bias") else "weight"
    if found := _MLP.search(part):
        return f"fm.layers.{found[1]}.{found[2]}"
    if words & {"residual", "res", "project"}:
        return f"residual.{last}"
    if words & {"compress", "lcb"}:
        return f"compress.{last}"
    if words & {"fm", "fmb"}:
        if words & {"norm", "ln"}:
            return f"fm_norm.{last}"
        return f"fm.out.{last}" if words & {"out", "head", "linear"} else f"rank_proj.{last}"
    if words & {"norm", "ln"}:
        return f"norm.{last}"
    raise Unsupported(f"weight {part} of a WuKong layer")


def _turned(plan: Plan, golden: str, shape: Iterable[int], out: int) -> bool:
    """Whether the golden matrix is [in, out]; where that is open its description decides."""
    rows, columns = shape
    if rows != columns:
        return columns == out
    meaning: str = plan.case.said.get("weights", {}).get(golden, {}).get("meaning", "")
    return "[out" not in meaning
