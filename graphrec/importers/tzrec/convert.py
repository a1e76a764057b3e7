"""A whole config -> a whole recipe, as plain values in the order they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.tzrec.builder import Builder
from graphrec.importers.tzrec.distillation import DISTILLED, rocket_launching
from graphrec.importers.tzrec.feature_configs import Features, read_features
from graphrec.importers.tzrec.feature_draft import Feature
from graphrec.importers.tzrec.feature_groups import Groups, named
from graphrec.importers.tzrec.match_models import MATCH_MODELS, retriever
from graphrec.importers.tzrec.multitask_models import MULTITASK_MODELS, Towers
from graphrec.importers.tzrec.naming import Names, legal_node
from graphrec.importers.tzrec.rank_models import RANK_MODELS, Parts
from graphrec.importers.tzrec.section import Notes, Section
from graphrec.importers.tzrec.shared_tables import unify_shared
from graphrec.importers.tzrec.task_towers import task_body
from graphrec.importers.tzrec.train_config import data_of, reading_of, train_of

__all__ = ["Converted", "convert"]

_SHARED = (
    "feature_groups",
    "kernel",
    "losses",
    "metrics",
    "num_class",
    "train_metrics",
    "use_pareto_loss_weight",
    "variational_dropout",
)
_KERNELS = {"TRITON": "triton", "PYTORCH": "torch"}


class Converted(dict[str, Any]):
    """The recipe's sections; `features` is a list of features that families are made of."""

    features: list[Feature]
    sequences: list[dict[str, Any]]


def convert(config: Section, file: str, notes: Notes) -> Converted:
    """The recipe that a config means; raises RecipeError (GR131) if there is none."""
    model_config = config.section("model_config")
    if model_config is None:
        what = "no model_config: this is no config of a model"
        raise RecipeError(Problem("GR131", what, config.span))
    kind = _kind(model_config)
    data = config.section("data_config")
    configs = config.sections("feature_configs")
    features = read_features(configs, reading_of(data, configs), notes)
    builder = Builder(notes)
    groups = Groups(
        model_config.sections("feature_groups"), features, builder, _dropout(model_config)
    )
    model = model_config.section(kind)
    assert model is not None
    parts = Parts(model, groups, builder, model_config.integer("num_class", 1) or 1)
    labels = data.texts("label_fields") if data is not None else []
    weights = data.texts("sample_weight_fields") if data is not None else []
    learned = _learned(parts, kind, model_config, data, labels, weights)
    tasks = learned["tasks"]
    if kind in RANK_MODELS and data is not None and len(labels) > 1:
        what = f"labels beside the first are not read: {', '.join(labels[1:])}"
        data.remark("label_fields", what)
    if not builder.nodes:
        _one_node(builder, tasks)
    read = groups.read()
    _tell_unread(features, groups, read, builder)
    unify_shared(read, notes)
    names, explicit = groups.name(read)
    recipe = Converted()
    recipe.features, recipe.sequences = read, list(groups.histories.sequences.values())
    recipe["name"] = legal_node(Path(file).stem)
    recipe["data"] = data_of(config, data)
    recipe["groups"] = named(explicit, names)
    recipe["graph"] = named(builder.nodes, names)
    recipe |= {section: named(body, names) for section, body in learned.items()}
    recipe["relations"] = [
        {f"{' + '.join(parents)} -> {child}": settings}
        if settings
        else f"{' + '.join(parents)} -> {child}"
        for parents, child, settings in builder.relations
    ]
    recipe["kernels"] = _kernels(model_config)
    measured = {"retrieval": learned["retrieval"]} if learned["retrieval"] else tasks
    recipe["train"] = {**train_of(config, data, measured), **_balance(model_config, model, tasks)}
    config.report_unread()
    return recipe


def _kind(model_config: Section) -> str:
    """The name of the model's message."""
    known = {*MULTITASK_MODELS, *RANK_MODELS, *MATCH_MODELS, DISTILLED}
    models = [name for name in model_config.names() if name in known]
    if len(models) == 1:
        return models[0]
    others = [name for name in model_config.names() if name not in (*_SHARED, *models)]
    if len(models) > 1:
        what = f"model_config has several models: {', '.join(models)}"
        raise RecipeError(Problem("GR131", what, model_config.place(models[1])))
    what = f"model `{others[0]}` has no counterpart" if others else "model_config has no model"
    help = f"models that can be imported: {', '.join(sorted(known))}"
    place = model_config.place(others[0]) if others else model_config.span
    raise RecipeError(Problem("GR131", what, place, help=help))


# ---- tasks ------------------------------------------------------------------------------------


def _learned(
    parts: Parts,
    kind: str,
    model_config: Section,
    data: Section | None,
    labels: list[str],
    weights: list[str],
) -> dict[str, dict[str, Any]]:
    """The sections `tasks`, `losses` and `retrieval`, of which some are empty."""
    learned: dict[str, dict[str, Any]] = {"tasks": {}, "losses": {}, "retrieval": {}}
    if kind in MATCH_MODELS:
        learned["retrieval"] = retriever(parts, kind, model_config, data, labels)
    elif kind == DISTILLED:
        label, weight = labels[0] if labels else "label", weights[0] if weights else None
        learned["tasks"], learned["losses"] = rocket_launching(parts, model_config, label, weight)
    elif kind in MULTITASK_MODELS:
        learned["tasks"] = _several(parts, kind, labels)
    else:
        learned["tasks"] = _single(parts, kind, model_config, labels, weights)
    return learned


def _single(
    parts: Parts, kind: str, model_config: Section, labels: list[str], weights: list[str]
) -> dict[str, Any]:
    label = labels[0] if labels else "label"
    reads = RANK_MODELS[kind](parts)
    body = task_body(model_config, label)
    if weights:
        body["sample_weight"] = weights[0]
    if set(reads) <= {"in", "logit"}:
        return {legal_node(label): _reading(body, reads)}
    return {name: _reading(body, {"in": read}) for name, read in reads.items()}


def _several(parts: Parts, kind: str, labels: list[str]) -> dict[str, Any]:
    towers = Towers.of(parts.model)
    MULTITASK_MODELS[kind](parts, towers)
    tasks: dict[str, Any] = {}
    for number, (section, name) in enumerate(zip(towers.sections, towers.names, strict=True)):
        usual = labels[number] if number < len(labels) else name
        label = section.text("label_name") or usual
        tasks[name] = _reading(task_body(section, label), {"in": towers.reads[name]})
    return _product(tasks) if kind == "esmm" else tasks


def _product(tasks: dict[str, Any]) -> dict[str, Any]:
    """ESMM's tasks: conversions are learnt over all rows, as the product of both chances."""
    (click, first), (conversion, second) = tasks.items()
    both = Names(tasks).give("ctcvr", f"{click}_{conversion}")
    product = {"label": second["label"], "prob": f"{click}.prob * {conversion}.prob"}
    settings = {k: v for k, v in second.items() if k not in ("label", "in")}
    unlabelled = {"in": second["in"], "loss": "none"}
    return {click: first, conversion: unlabelled, both: {**product, **settings}}


def _one_node(builder: Builder, tasks: dict[str, Any]) -> None:
    """Heads right on a group are a model without a graph, which a recipe needs: one node."""
    bottom = builder.node("bottom", "concat", [next(iter(tasks.values()))["in"]])
    for task in tasks.values():
        task["in"] = bottom


def _reading(body: dict[str, Any], reads: dict[str, str]) -> dict[str, Any]:
    """The task with what it reads behind its label."""
    return {"label": body["label"], **reads, **body}


def _tell_unread(features: Features, groups: Groups, read: list[Feature], builder: Builder) -> None:
    """Note features and groups that the model does not read."""
    kept = {id(feature) for feature in read}
    for written, feature in features.plain.items():
        if id(feature) not in kept:
            what = f"feature `{written}` is in no group that the model reads: left out"
            builder.notes.add(feature.span, what)
    for written, (history, name) in features.steps.items():
        if written not in groups.histories.used:
            what = f"`{written}` is in no group that the model reads: left out"
            builder.notes.add(history.steps[name].span, what)
    for config in groups.unread():
        name = config.text("group_name")
        builder.notes.add(config.span, f"feature group `{name}` is read by nothing: left out")
        config.ignore(*config.names())


# ---- settings of the model --------------------------------------------------------------------


def _dropout(model_config: Section) -> dict[str, Any]:
    section = model_config.section("variational_dropout")
    if section is None:
        return {}
    if section.flag("embedding_wise_variational_dropout"):
        what = "dropout of single dimensions has no counterpart: whole features are dropped"
        section.remark("embedding_wise_variational_dropout", what)
    return {"lambda": float(section.number("regularization_lambda", 0.01))}


def _kernels(model_config: Section) -> dict[str, Any]:
    kernel = model_config.text("kernel")
    if kernel and kernel not in _KERNELS:
        model_config.remark("kernel", f"kernel: {kernel} has no counterpart: auto")
    return {"default": _KERNELS[kernel]} if kernel in _KERNELS else {}


def _balance(model_config: Section, model: Section, tasks: dict[str, Any]) -> dict[str, Any]:
    """Pareto-efficient weights, where the language has them."""
    balanced = model_config.flag("use_pareto_loss_weight")
    towers = model.sections("task_towers")
    least = {
        name: float(section.number("pareto_min_loss_weight"))
        for name, section in zip(tasks, towers, strict=False)
        if section.number("pareto_min_loss_weight")
    }
    if not balanced:
        return {}
    return {"balance": {"pareto": {"min": least}} if least else "pareto"}
