"""Models that retrieve: DSSM, DSSM v2 and MIND, two towers whose vectors meet, as `retrieval`."""

from __future__ import annotations

from typing import Any

from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.tzrec.builder import Refs, perceptron
from graphrec.importers.tzrec.feature_groups import Source
from graphrec.importers.tzrec.rank_models import Parts
from graphrec.importers.tzrec.section import Section

__all__ = ["MATCH_MODELS", "retriever"]

MATCH_MODELS = ("dssm", "dssm_v2", "mind")
"""The models' messages; towers of `dssm_v2` share tables, the others have their own."""

_SAMPLERS = (
    "negative_sampler",
    "negative_sampler_v2",
    "hard_negative_sampler",
    "hard_negative_sampler_v2",
)
_SIMILAR = {"INNER_PRODUCT": "dot", "COSINE": "cosine"}
_FILE = "items.parquet"


def retriever(
    parts: Parts, kind: str, model_config: Section, data: Section | None, labels: list[str]
) -> dict[str, Any]:
    """`retrieval` of the model; its towers become nodes.

    The other system takes every row for one that wants its item, whatever the label says.
    """
    model = parts.model
    _apart(parts)
    query = _interests(parts) if kind == "mind" else _tower(parts, "user")
    item = _tower(parts, "item")
    if kind != "dssm_v2":
        for sequence in parts.groups.histories.sequences.values():
            sequence["share"] = False
    if labels and data is not None:
        what = "label_fields are not read: every row wants its item, as there"
        data.remark("label_fields", what, "say retrieval.label to leave out rows of 0")
    if data is not None and "sample_weight_fields" in data:
        what = "sample weights have no counterpart in retrieval: rows count alike"
        data.remark("sample_weight_fields", what)
    usual = "COSINE" if kind == "mind" else "INNER_PRODUCT"
    similarity = model.text("similarity", usual)
    if similarity not in _SIMILAR:
        model.remark("similarity", f"similarity: {similarity} has no counterpart: inner products")
    settings: dict[str, Any] = {"query": query, "item": item}
    settings["similarity"] = _SIMILAR.get(similarity, "dot")
    settings["candidates"] = _candidates(parts, data)
    loss = {"temperature": float(model.number("temperature", 1.0)), "logq": False}
    if kind == "mind":
        loss["power"] = float(model.number("simi_pow", 10))
    settings["loss"] = {"sampled_softmax": loss}
    for section in model_config.sections("losses"):
        section.ignore("softmax_cross_entropy")
    metrics = _metrics(model_config)
    return settings | ({"metrics": metrics} if metrics else {})


def _read(parts: Parts, side: str) -> tuple[Section, Source]:
    """A tower's message, and what it reads."""
    tower = parts.model.section(f"{side}_tower")
    if tower is None:
        what = f"{parts.model.path} needs {side}_tower"
        raise RecipeError(Problem("GR131", what, parts.model.span))
    return tower, parts.groups.deep(tower.text("input") or side, tower)


def _tower(parts: Parts, side: str) -> str:
    """The node of a tower."""
    tower, refs = _sided(parts, side)
    out = parts.model.integer("output_dim") or 0
    more = {"out": out} if out else {}
    layers = parts.builder.mlp(tower.section("mlp"), f"{side}_tower", refs, **more)
    return parts.builder.one(layers, side)


def _sided(parts: Parts, side: str) -> tuple[Section, Refs]:
    """A tower's message and what it reads, whose features get its side."""
    tower, source = _read(parts, side)
    for feature in source.members:
        before = feature.settings.get("side")
        if (side == "item") != (before == "item"):
            if before is not None:
                what = f"feature `{feature.name}` gets `side: {side}`, of the tower that reads it"
                parts.builder.notes.add(feature.span, what)
            feature.settings["side"] = side
    return tower, source.refs


def _interests(parts: Parts) -> str:
    """MIND's user: interests of the history, each beside what is known of the user."""
    tower, refs = _sided(parts, "user")
    builder, groups = parts.builder, parts.groups
    name = tower.text("history_input")
    config = groups.config(name, tower)
    config.ignore("group_type")
    steps = groups.histories.pair(config.texts("feature_names"), config, name).sequence
    known = _open_ended(parts, tower.section("user_mlp"), "user", refs, bias=True)
    user = builder.one(known, "known_user")
    read = _open_ended(parts, tower.section("hist_seq_mlp"), "steps", [steps], bias=False)
    capsules = tower.section("capsule_config")
    width = capsules.integer("high_dim") if capsules is not None else None
    if capsules is None or not width:
        what = f"{tower.path} needs capsule_config with high_dim"
        raise RecipeError(Problem("GR131", what, tower.span))
    what = "capsules are those of the paper: here all max_k interests, votes of any length"
    builder.notes.add(capsules.span, what, "there log2(length) of them, votes of length 1")
    capsules.ignore("squash_pow", "const_caps_num", "routing_logits_stddev", "routing_logits_scale")
    settings = {"number": capsules.integer("max_k", 5), "width": width}
    settings["iterations"] = capsules.integer("num_iters", 3)
    settings["places"] = capsules.integer("max_seq_len") or 64
    several = builder.node("several", "interests", read, **settings)
    joined = builder.expression("joined", f"concat({several}, spread({user}, {several}))")
    top = builder.one(builder.mlp(tower.section("concat_mlp"), "interests", [joined]), "interests")
    out = parts.model.integer("output_dim") or 0
    return builder.node("user_tower", "linear", top, out=out, bias=False) if out else top


def _open_ended(
    parts: Parts, section: Section | None, wish: str, refs: Refs, *, bias: bool
) -> Refs:
    """A perceptron whose last layer is a Linear alone."""
    if section is None or not section.integers("hidden_units"):
        return refs
    settings = perceptron(section)
    *hidden, out = settings.pop("hidden")
    settings.pop("bias", None)  # there it is not passed on
    rates = settings.get("dropout")
    if isinstance(rates, list):
        settings["dropout"] = rates[0]
    if hidden:
        refs = [parts.builder.node(f"{wish}_mlp", "mlp", refs, hidden=hidden, **settings)]
    more = {} if bias else {"bias": False}
    return [parts.builder.node(f"{wish}_out", "linear", refs, out=out, **more)]


def _apart(parts: Parts) -> None:
    """Raise RecipeError where both towers read one feature: a row's and an item's are apart."""
    model = parts.model
    user, item = (_read(parts, side)[1] for side in ("user", "item"))
    both = [feature.name for feature in user.members if feature in item.members]
    if both:
        what = f"{model.path}: both towers read feature `{both[0]}`; declare one for each"
        raise RecipeError(Problem("GR131", what, model.span))


def _candidates(parts: Parts, data: Section | None) -> dict[str, Any]:
    """The items, and which are drawn: `candidates`."""
    in_batch = parts.model.flag("in_batch_negative")
    kind = next((n for n in _SAMPLERS if data is not None and n in data), None)
    sampler = data.section(kind) if data is not None and kind is not None else None
    if sampler is None:
        what = f"no negative_sampler: say where the items are, candidates.from (here {_FILE})"
        parts.builder.notes.add(parts.model.span, what)
        key = _key(parts)
        return {"from": _FILE, "key": key, "sample": 0, "in_batch": True}
    path = sampler.text("input_path") or sampler.text("item_input_path") or _FILE
    what = "items are read from Parquet or CSV, one column for each feature and one for weight"
    parts.builder.notes.add(sampler.span, what, "there attrs are one text")
    sampler.ignore("input_path", "item_input_path", "attr_fields", "attr_delimiter")
    sampler.ignore("field_delimiter", "item_id_delim", "num_eval_sample")
    key = sampler.text("item_id_field") or _key(parts)
    settings: dict[str, Any] = {"from": path, "key": key}
    settings |= {"sample": sampler.integer("num_sample") or 0, "by": "weight"}
    if not in_batch:
        settings["in_batch"] = False
    if sampler.text("hard_neg_edge_input_path"):
        settings["hard"] = sampler.text("hard_neg_edge_input_path")
        settings["hard_by"] = sampler.text("user_id_field") or "user_id"
        settings["hard_sample"] = sampler.integer("num_hard_sample") or 8
    if "pos_edge_input_path" in sampler:
        what = "pos_edge_input_path: other items that a user wants may be drawn"
        sampler.remark("pos_edge_input_path", what, "say retrieval.seen for those of a history")
    sampler.ignore("user_input_path", "user_id_field")
    return settings


def _key(parts: Parts) -> str:
    """The column of the first id feature of the items, where nothing names one."""
    every = parts.groups.features.plain.values()
    items = [f for f in every if f.settings.get("side") == "item" and f.type == "id"]
    if not items:
        what = f"{parts.model.path}: no id feature among the items that could be their key"
        raise RecipeError(Problem("GR131", what, parts.model.span))
    return str(items[0].settings.get("column", items[0].name))


def _metrics(model_config: Section) -> list[str]:
    metrics: list[str] = []
    for part in model_config.sections("metrics"):
        for kind in part.names():
            metric = part.section(kind)
            if kind == "recall_at_k" and metric is not None:
                metrics.append(f"recall({metric.integer('top_k', 5)})")
                what = "recall_at_k: here among all items, there among those drawn"
                part.remark(kind, what)
            else:
                part.remark(kind, f"metric {kind} has no counterpart: left out")
    return list(dict.fromkeys(metrics))
