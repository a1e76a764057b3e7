"""Models of one task: Wide & Deep, (Deep)FM, towers, DIN, MaskNet, DCN, DLRM, xDeepFM, AutoInt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.tzrec.builder import Builder, Refs, perceptron
from graphrec.importers.tzrec.feature_groups import Groups, Source
from graphrec.importers.tzrec.naming import legal_node
from graphrec.importers.tzrec.section import Section

__all__ = ["RANK_MODELS", "Parts", "masknet"]


@dataclass
class Parts:
    """What a model is made from: its message, the feature groups, the graph to draw."""

    model: Section
    groups: Groups
    builder: Builder
    classes: int = 1

    def source(self, *requests: str) -> Source:
        """The group of the first of these names that exists, else the first group."""
        name = next((wish for wish in requests if wish in self.groups.names), None)
        if name is None and not self.groups.names:
            raise RecipeError(
                Problem("GR131", "model_config has no feature_groups", self.model.span)
            )
        return self.groups.deep(name or self.groups.names[0], self.model)

    def sub(self, *names: str) -> Section | None:
        """The first of these messages that is given."""
        return next((self.model.section(name) for name in names if name in self.model), None)

    def final(self, refs: Refs, *names: str) -> dict[str, str]:
        """The last perceptron, read by the task."""
        top = self.builder.mlp(self.sub(*names), "final", refs)
        return {"in": self.builder.one(top, "final")}


Answer = dict[str, str]


def _wide(parts: Parts) -> str:
    name = "wide" if "wide" in parts.groups.names else parts.groups.names[0]
    source = parts.groups.wide(name, parts.model)
    parts.model.text("wide_init_fn")
    if "wide_init_fn" in parts.model:
        what = "wide_init_fn has no counterpart: .linear starts at zero"
        parts.model.remark("wide_init_fn", what)
    dim = parts.model.integer("wide_embedding_dim", 4)
    if dim != 1:
        what = f"wide vectors of width {dim}: only their sum is read, so .linear has 1"
        parts.builder.notes.add(parts.model.place("wide_embedding_dim"), what)
    return f"{source.group}.linear"


def _summed(parts: Parts, terms: Refs, deep: Refs) -> Answer:
    """Without `final`: the sum of the terms and of a Linear over the deep part."""
    if parts.classes > 1:
        what = "several classes without `final`: the parts are concatenated before the head"
        parts.builder.notes.add(parts.model.span, what)
        return {"in": parts.builder.node("final", "concat", [*terms, *deep])}
    sums = [f"sum({term})" if not term.endswith(".linear") else term for term in terms]
    return {"logit": " + ".join([*sums, *deep])}


def _wide_and_deep(parts: Parts) -> Answer:
    wide = _wide(parts)
    return _joined(parts, [wide])


def _joined(parts: Parts, terms: Refs) -> Answer:
    source = parts.source("deep")
    if parts.sub("final") is None:
        more = {"out": 1} if parts.classes == 1 else {}
        deep = parts.builder.mlp(parts.sub("deep"), "deep", source.refs, **more)
        return _summed(parts, terms, deep)
    deep = parts.builder.mlp(parts.sub("deep"), "deep", source.refs)
    return parts.final([*terms, *deep], "final")


def _deepfm(parts: Parts) -> Answer:
    wide = _wide(parts)
    source = parts.groups.fields(parts.source("fm", "deep"), "fm")
    fm = parts.builder.node("fm", "fm", f"{source.group}.fields")
    return _joined(parts, [wide, fm])


def _equal_widths(parts: Parts, source: Source) -> None:
    if source.dim is None:
        widths = sorted({feature.width for feature in source.members})
        what = f"{parts.model.path} needs features of one width, got {widths}"
        raise RecipeError(Problem("GR131", what, parts.model.span))


def _towers(parts: Parts) -> Answer:
    outputs: Refs = []
    for tower in parts.model.sections("towers"):
        name = tower.text("input")
        source = parts.groups.deep(name, tower)
        wish = name if name == "deep" else f"{legal_node(name).removesuffix('_tower')}_tower"
        outputs += parts.builder.mlp(tower.section("mlp"), wish, source.refs)
    for tower in parts.model.sections("din_towers"):
        name = tower.text("input")
        pair = parts.groups.pair(name, tower)
        outputs.append(parts.groups.histories.attend("din_encoder", tower, pair, f"{name}_din"))
    return parts.final(outputs, "final")


def masknet(section: Section, builder: Builder, wish: str, refs: Refs) -> str:
    """The node of a `MaskNetModule` message."""
    block = section.section("mask_block")
    settings: dict[str, Any] = {"blocks": section.integer("n_mask_blocks", 1)}
    if block is not None:
        aggregation = block.integer("aggregation_dim")
        ratio = block.number("reduction_ratio", 1.0)
        if aggregation:
            settings["aggregation"] = aggregation
        elif ratio != 1.0:
            settings["reduction"] = ratio
        settings["hidden"] = block.integer("hidden_dim")
    if not settings.get("hidden"):
        raise RecipeError(Problem("GR131", f"{section.path}: hidden_dim is missing", section.span))
    top = section.section("top_mlp")
    if top is not None:
        settings |= perceptron(top, hidden="top")
    if not section.flag("use_parallel", True):
        settings["mode"] = "serial"
    return builder.node(wish, "masknet", refs, **settings)


def _masknet(parts: Parts) -> Answer:
    source = parts.source()
    module = parts.sub("mask_net_module")
    if module is None:
        what = "mask_net needs mask_net_module"
        raise RecipeError(Problem("GR131", what, parts.model.span))
    return {"in": masknet(module, parts.builder, "mask", source.refs)}


def _crossed(parts: Parts, block: str, refs: Refs, section: Section | None) -> str:
    number = section.integer("cross_num", 3) if section is not None else 3
    settings: dict[str, Any] = {"repeat": number, "carry": "x"} if number != 1 else {}
    if block == "cross_v2":
        settings["rank"] = section.integer("low_rank", 32) if section is not None else 32
    return parts.builder.node("cross", block, {"x0": refs, "x": refs}, **settings)


def _dcn(parts: Parts) -> Answer:
    crossing, tower = parts.sub("cross", "cross_tower"), parts.sub("deep", "deep_tower")
    cross = _crossed(parts, "cross", _input(parts, crossing), crossing)
    layers = tower.section("mlp") if tower is not None and "mlp" in tower else tower
    deep = parts.builder.mlp(layers, "deep", _input(parts, tower))
    return parts.final([cross, *deep], "final")


def _input(parts: Parts, tower: Section | None) -> Refs:
    """The group that a tower names, else the model's first."""
    name = tower.text("input") if tower is not None else ""
    return (parts.groups.deep(name, parts.model) if name else parts.source()).refs


def _dcn_v2(parts: Parts) -> Answer:
    refs = parts.source().refs
    bottom = parts.builder.mlp(parts.sub("backbone"), "bottom", refs)
    outputs = [_crossed(parts, "cross_v2", bottom, parts.sub("cross"))]
    if parts.sub("deep") is not None:
        outputs += parts.builder.mlp(parts.sub("deep"), "deep", refs)
    return parts.final(outputs, "final")


def _fields(parts: Parts) -> tuple[str, int, int, Refs, Source]:
    """Fields of the sparse group and, as one more, the dense group's perceptron."""
    sparse = parts.source("sparse")
    _equal_widths(parts, sparse)
    number, dim = len(sparse.members), sparse.dim or 1
    if "dense" not in parts.groups.names or len(parts.groups.names) < 2:
        return f"{sparse.group}.fields", number, dim, [], sparse
    dense = parts.source("dense")
    section = parts.sub("dense_mlp", "bot_mlp")
    layers = section.integers("hidden_units") if section is not None else []
    if (layers[-1] if layers else dense.width) != dim:
        what = f"{parts.model.path}: dense_mlp ends in another width than the features': {dim}"
        raise RecipeError(Problem("GR131", what, parts.model.span))
    bottom = parts.builder.mlp(section, "bottom", dense.refs)
    text = f"reshape(concat({', '.join([*bottom, sparse.group])}), [{number + 1}, {dim}])"
    return parts.builder.expression("fields", text), number + 1, dim, bottom, sparse


def _dlrm(parts: Parts) -> Answer:
    fields, _, _, bottom, sparse = _fields(parts)
    dots = parts.builder.node("interaction", "dot_interaction", fields)
    rest = [sparse.group] if parts.model.flag("arch_with_sparse", True) else []
    dense = bottom if parts.model.flag("arch_with_dense_feature", True) else []
    return parts.final([dots, *dense, *rest], "final", "top_mlp")


def _wukong(parts: Parts) -> Answer:
    x, number, dim, _, _ = _fields(parts)
    for i, layer in enumerate(parts.model.sections("wukong_layers")):
        fm, linear = layer.integer("fmb_feature_num") or 1, layer.integer("lcb_feature_num") or 1
        inner = layer.section("feature_num_mlp")
        settings: dict[str, Any] = {"fm_fields": fm, "linear_fields": linear}
        settings["rank"] = layer.integer("compressed_feature_num", 16)
        settings |= (
            perceptron(inner, ("activation", "norm")) if inner is not None else {"hidden": [64]}
        )
        x = parts.builder.node(f"wukong{i + 1}", "wukong", x, **settings)
        number = fm + linear
    flat = parts.builder.expression("flat", f"reshape({x}, [{number * dim}])")
    return parts.final([flat], "final")


def _xdeepfm(parts: Parts) -> Answer:
    dim = parts.model.integer("wide_embedding_dim", 4) or 4
    name = "wide" if "wide" in parts.groups.names else parts.groups.names[0]
    if "wide_init_fn" in parts.model:
        what = "wide_init_fn has no counterpart: wide features start at normal(0.01)"
        parts.model.remark("wide_init_fn", what)
    wide = parts.groups.wide_tables(name, dim, None, parts.model)
    _equal_widths(parts, wide)
    cin = parts.sub("cin")
    layers = cin.integers("cin_layer_size") if cin is not None else []
    if not layers:
        raise RecipeError(Problem("GR131", "xdeepfm needs cin_layer_size", parts.model.span))
    outputs = [parts.builder.node("cin", "cin", f"{wide.group}.fields", layers=layers)]
    outputs += parts.builder.mlp(parts.sub("deep"), "deep", parts.source("deep").refs)
    return parts.final(outputs, "final")


def _fm(parts: Parts) -> Answer:
    wide = f"{parts.groups.wide('wide', parts.model).group}.linear"
    source = parts.groups.fields(parts.source("fm", "deep"), "fm")
    fm = parts.builder.node("fm", "fm", f"{source.group}.fields")
    return _summed(parts, [wide, fm], [])


def _autoint(parts: Parts) -> Answer:
    """Layers of self attention among the fields, each with what it reads beside it."""
    source = parts.groups.fields(parts.source(), "attention")
    heads = parts.model.integer("multi_head_num", 1) or 1
    width = heads * (parts.model.integer("multi_head_size") or source.dim or 1)
    layers = parts.model.integer("interacting_layer_num", 1) or 1
    settings: dict[str, Any] = {"width": width, "heads": heads, "skip": True, "pool": "none"}
    node = f"{source.group}.fields"
    if width != source.dim:  # the first layer changes the width, the others repeat
        node, layers = (
            parts.builder.node("attention", "self_attention", node, **settings),
            layers - 1,
        )
    if layers:
        again = {"repeat": layers, "carry": "keys"} if layers > 1 else {}
        node = parts.builder.node("interaction", "self_attention", node, **settings, **again)
    text = f"relu(reshape({node}, [{len(source.members) * width}]))"
    return {"in": parts.builder.expression("crosses", text)}


RANK_MODELS: Mapping[str, Callable[[Parts], Answer]] = {
    "dcn": _dcn,
    "dcn_v1": _dcn,
    "dcn_v2": _dcn_v2,
    "autoint": _autoint,
    "deepfm": _deepfm,
    "dlrm": _dlrm,
    "fm": _fm,
    "mask_net": _masknet,
    "multi_tower": _towers,
    "multi_tower_din": _towers,
    "multi_tower_din_trt": _towers,
    "wide_and_deep": _wide_and_deep,
    "wukong": _wukong,
    "xdeepfm": _xdeepfm,
}
"""Name of the model's message -> what draws it and says what its task reads."""
