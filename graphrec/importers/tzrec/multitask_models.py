"""Models of several tasks: shared bottom, MMoE, DBMTL, PLE, PEPNet, DC2VR, Rocket Launching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.tzrec.activation_names import activation
from graphrec.importers.tzrec.builder import Refs, perceptron
from graphrec.importers.tzrec.naming import Names, legal_node
from graphrec.importers.tzrec.rank_models import Parts, masknet
from graphrec.importers.tzrec.section import Section

__all__ = ["MULTITASK_MODELS", "Towers"]

_MIXED = ("activation", "norm", "dropout", "bias")


@dataclass
class Towers:
    """The towers of a model, in the order written, and what each task reads."""

    sections: list[Section]
    names: list[str]
    reads: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Section) -> Towers:
        """The `task_towers` of a model, under names a recipe may use."""
        sections = model.sections("task_towers")
        if not sections:
            raise RecipeError(Problem("GR131", f"{model.path} has no task_towers", model.span))
        names = Names()
        given = [names.give(legal_node(s.text("tower_name", "task"))) for s in sections]
        return cls(sections, given)

    def named(self, written: str, asker: Section) -> str:
        """The task that a tower's name means."""
        for section, name in zip(self.sections, self.names, strict=True):
            if section.text("tower_name") == written:
                return name
        what = f"{asker.path}: no tower `{written}`; there are {', '.join(self.names)}"
        raise RecipeError(Problem("GR131", what, asker.span))


def _towers(parts: Parts, towers: Towers, below: Refs, bundle: bool) -> None:
    """A tower for each task over `below`: one node if all are alike.

    `bundle`: `below` is one node that gives every task its own output.
    """
    perceptrons = [section.section("mlp") for section in towers.sections]
    settings = [perceptron(mlp) if mlp is not None else {} for mlp in perceptrons]
    if all(each == settings[0] for each in settings):
        if settings[0].get("hidden"):
            below = [parts.builder.node("tower", "mlp", below, each="tasks", **settings[0])]
        read = parts.builder.one(below, "bottom")
        towers.reads |= dict.fromkeys(towers.names, read)
        return
    for name, mlp in zip(towers.names, perceptrons, strict=True):
        refs = [f"{below[0]}.{name}"] if bundle else below
        top = parts.builder.mlp(mlp, f"{name}_tower", refs)
        towers.reads[name] = parts.builder.one(top, "bottom")


def _experts(parts: Parts, refs: Refs) -> tuple[Refs, bool]:
    """The mixture of experts, if there is one; (what towers read, whether it is a bundle)."""
    expert = parts.model.section("expert_mlp")
    if expert is None:
        return refs, False
    settings: dict[str, Any] = {"gates": "tasks", "experts": parts.model.integer("num_expert", 3)}
    settings |= perceptron(expert)
    if not settings["hidden"]:
        raise RecipeError(Problem("GR131", f"{expert.path} needs hidden_units", expert.span))
    gate = parts.model.section("gate_mlp")
    if gate is not None:
        gating = perceptron(gate, hidden="gate_hidden")
        settings |= {key if key == "gate_hidden" else f"gate_{key}": v for key, v in gating.items()}
    return [parts.builder.node("experts", "mmoe", refs, **settings)], True


def _simple(parts: Parts, towers: Towers) -> None:
    _towers(parts, towers, parts.source().refs, False)


def _mmoe(parts: Parts, towers: Towers) -> None:
    below, bundle = _experts(parts, parts.source().refs)
    _towers(parts, towers, below, bundle)


def _dbmtl(parts: Parts, towers: Towers) -> None:
    refs = parts.source().refs
    mask = parts.model.section("mask_net")
    if mask is not None:
        refs = [masknet(mask, parts.builder, "mask", refs)]
    refs = parts.builder.mlp(parts.model.section("bottom_mlp"), "bottom", refs)
    below, bundle = _experts(parts, refs)
    _towers(parts, towers, below, bundle)
    for section, name in zip(towers.sections, towers.names, strict=True):
        _relation(parts, towers, section, name)


def _relation(parts: Parts, towers: Towers, section: Section, name: str) -> None:
    names = section.texts("relation_tower_names")
    parents = [towers.named(written, section) for written in names]
    mlp = section.section("relation_mlp")
    if parents and mlp is None:
        what = "relation_tower_names without relation_mlp are ignored there, and left out here"
        section.remark("relation_tower_names", what)
    elif mlp is not None and not parents:
        what = "a relation_mlp without relation_tower_names is a perceptron on the tower"
        section.notes.add(mlp.span, what)
        below = [_own(parts, towers, name)]
        top = parts.builder.mlp(mlp, f"{name}_relation", below)
        towers.reads[name] = top[0]
    elif mlp is not None:
        settings = perceptron(mlp)
        if not settings["hidden"]:
            del settings["hidden"]
        parts.builder.relations.append((list(dict.fromkeys(parents)), name, settings))


def _own(parts: Parts, towers: Towers, name: str) -> str:
    """The task's own output of what it reads."""
    read = towers.reads[name]
    node = parts.builder.nodes.get(read)
    split = isinstance(node, dict) and ("each" in node or node.get("gates") == "tasks")
    return f"{read}.{name}" if split else read


def _esmm(parts: Parts, towers: Towers) -> None:
    """Two towers, of clicks and of conversions, over the groups' own towers side by side."""
    below: Refs = []
    for group in parts.model.sections("groups"):
        name = group.text("input")
        refs = parts.groups.deep(name, group).refs
        below += parts.builder.mlp(group.section("mlp"), f"{name}_tower", refs)
    if len(towers.names) != 2:
        raise RecipeError(Problem("GR131", "esmm needs ctr_tower and cvr_tower", parts.model.span))
    _towers(parts, towers, below or parts.source().refs, False)


def _dc2vr(parts: Parts, towers: Towers) -> None:
    _dbmtl(parts, towers)
    for section, name in zip(towers.sections, towers.names, strict=True):
        parents = [towers.named(w, section) for w in section.texts("intervention_tower_names")]
        rank = section.integer("low_rank_dim")
        section.ignore("dropout_ratio")
        if parents:
            what = "the intervention of dc2vr has no counterpart: a relation with an mlp stands in"
            section.remark("intervention_tower_names", what)
            parts.builder.relations.append((parents, name, {"hidden": [rank or 32]}))


def _ple(parts: Parts, towers: Towers) -> None:
    levels = parts.model.sections("extraction_networks")
    for level in levels:
        level.ignore("network_name")
    if not levels:
        raise RecipeError(Problem("GR131", "ple needs extraction_networks", parts.model.span))
    own = [_net(parts, level, "task_expert_net") for level in levels]
    common = [
        _net(parts, level, "share_expert_net") if "share_expert_net" in level else mine
        for level, mine in zip(levels, own, strict=True)
    ]
    others = [{k: v for k, v in net.items() if k != "hidden"} for net in (*own, *common)]
    if any(settings != others[0] for settings in others):
        what = "experts of different activation, norm or dropout: those of the first level"
        parts.builder.notes.add(levels[0].span, what)
    settings: dict[str, Any] = {"gates": "tasks", "levels": len(levels)}
    settings["private"] = _one([level.integer("expert_num_per_task", 1) for level in levels])
    settings["shared"] = _one([level.integer("share_num", 1) for level in levels])
    settings["hidden"] = _one([net["hidden"] for net in own])
    if [net["hidden"] for net in common] != [net["hidden"] for net in own]:
        settings["shared_hidden"] = _one([net["hidden"] for net in common])
    node = parts.builder.node("experts", "ple", parts.source().refs, **settings, **others[0])
    _towers(parts, towers, [node], True)


def _net(parts: Parts, level: Section, name: str) -> dict[str, Any]:
    section = level.section(name)
    settings = perceptron(section, _MIXED) if section is not None else {}
    if not settings.get("hidden"):
        raise RecipeError(Problem("GR131", f"{level.path}: {name} needs layers", level.span))
    return settings


def _one(values: list[Any]) -> Any:
    """One value for all levels, where they are equal."""
    return values[0] if all(value == values[0] for value in values) else values


def _pepnet(parts: Parts, towers: Towers) -> None:
    model, groups = parts.model, parts.groups
    main = parts.source(model.text("main_group_name", "all"))
    refs, bundle = main.refs, False
    domain = model.text("domain_group_name", "domain")
    uia = model.text("uia_group_name", "uia")
    hidden = model.integer("epnet_hidden_unit") or main.width
    if domain in groups.names:
        inputs = {"x": refs, "domain": groups.deep(domain, model).refs}
        settings: dict[str, Any] = {"hidden": hidden, **_gamma(model, "epnet_gamma")}
        refs = [parts.builder.node("scaled", "epnet", inputs, **settings)]
    if uia in groups.names:
        inputs = {"x": refs, "domain": groups.deep(uia, model).refs}
        refs = [parts.builder.node("personal", "ppnet", inputs, each="tasks", **_ppnet(model))]
        bundle = True
    if "domain_input_name" in model or (model.integer("task_domain_num") or 1) > 1:
        model.remark("domain_input_name", "towers for each domain have no counterpart: one tower")
    _towers(parts, towers, refs, bundle)


def _gamma(model: Section, name: str) -> dict[str, Any]:
    return {"gamma": model.number(name)} if model.number(name, 2.0) != 2.0 else {}


def _ppnet(model: Section) -> dict[str, Any]:
    hidden = model.integers("ppnet_hidden_units")
    if not hidden:
        raise RecipeError(Problem("GR131", "pepnet needs ppnet_hidden_units", model.span))
    settings: dict[str, Any] = {"hidden": hidden, "gate_hidden": hidden[0]}
    if len(set(hidden)) > 1:
        what = f"gates of ppnet are as wide as their layers there: here all have {hidden[0]}"
        model.notes.add(model.place("ppnet_hidden_units"), what)
    rates = model.numbers("ppnet_dropout_ratio")
    if any(rates):
        settings["dropout"] = float(rates[0])
        if len(set(rates)) > 1:
            model.remark("ppnet_dropout_ratio", f"one dropout for all layers: {rates[0]:g}")
    if "ppnet_activation" in model and activation(model, "ppnet_activation") != "relu":
        settings["activation"] = activation(model, "ppnet_activation")
    return {**settings, **_gamma(model, "ppnet_gamma")}


MULTITASK_MODELS: Mapping[str, Callable[[Parts, Towers], None]] = {
    "dbmtl": _dbmtl,
    "dc2vr": _dc2vr,
    "esmm": _esmm,
    "mmoe": _mmoe,
    "pepnet": _pepnet,
    "ple": _ple,
    "simple_multi_task": _simple,
}
"""Name of the model's message -> what draws it and says what each task reads."""
