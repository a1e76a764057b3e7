"""Short forms -> the canonical tree: `opened` before overrides, `completed` after them."""

from __future__ import annotations

from collections.abc import Callable

from graphrec.ground.errors import Problem, suggestion
from graphrec.recipe.families import expand_families, extend_families
from graphrec.recipe.model import FEATURES
from graphrec.recipe.problem_text import Report
from graphrec.recipe.relations import expand_relations
from graphrec.recipe.text_forms import (
    located_items,
    open_data,
    open_group,
    open_loss_term,
    open_retrieval,
    open_task,
    open_train,
    settled_loss_term,
    with_task_defaults,
)
from graphrec.recipe.tree import INVALID, Tree, shown

__all__ = ["completed", "opened"]

# Said of one feature at a time; everything else may have a default.
_STRUCTURE = {"column", "columns", "edges", "group", "max_len", "name"}
_STRUCTURE |= {"of", "share", "type", "vocab", "weights", "width"}
_LOOKED = ("id", "bucket", "cross")


def opened(tree: Tree, root_file: str | None, report: Report) -> Tree:
    """Every short form in its long form, so that an override can reach inside it."""
    value: dict[str, Tree] = dict(tree.value)
    if "features" in value:
        value["features"] = expand_families(value["features"], root_file, report)
    return reopened(tree.holding(value), report)


def reopened(tree: Tree, report: Report) -> Tree:
    """Short forms that an override has put in; what is in its long form already stays."""
    value: dict[str, Tree] = dict(tree.value)
    features = value.get("features")
    if features is not None and not isinstance(features.value, dict):
        value["features"] = expand_families(features, None, report)
    _each(value, "groups", open_group)
    _each(value, "tasks", open_task)
    _each(value, "losses", open_loss_term)
    if "retrieval" in value and isinstance(value["retrieval"].value, dict):
        value["retrieval"] = open_retrieval(value["retrieval"])
    if "train" in value and isinstance(value["train"].value, dict):
        value["train"] = open_train(value["train"], report)
    return tree.holding(value)


def with_families(tree: Tree, families: Tree, report: Report) -> Tree:
    """The recipe with `features+` of an override."""
    features = tree.value["features"]
    longer = extend_families(features, families.value, None, report)
    return tree.holding({**tree.value, "features": longer})


def completed(tree: Tree, report: Report) -> Tree:
    """The canonical tree: defaults of features and tasks filled in, relations and paths settled."""
    value: dict[str, Tree] = dict(tree.value)
    defaults = _feature_defaults(value.pop("defaults", None), report)
    if "features" in value:
        features = value["features"]
        value["features"] = features.holding(
            {name: _feature(name, f, defaults, report) for name, f in features.value.items()}
        )
    _each(value, "tasks", with_task_defaults)
    _each(value, "losses", settled_loss_term)
    if "relations" in value:
        value["relations"] = expand_relations(value["relations"], report)
    if "data" in value and isinstance(value["data"].value, dict):
        value["data"] = open_data(value["data"])
    if "retrieval" in value and isinstance(value["retrieval"].value, dict):
        value["retrieval"] = located_items(value["retrieval"])
    ordered = tree.holding(value).ordered()
    nodes = value.get("graph")
    if nodes is None or not isinstance(nodes.value, dict):
        return ordered
    # Order means nothing, but generated code is read beside the recipe: nodes stay as written.
    graph = ordered.value["graph"]
    as_written = graph.holding({name: graph.value[name] for name in nodes.value})
    return ordered.holding({**ordered.value, "graph": as_written})


def _each(value: dict[str, Tree], section: str, form: Callable[[Tree], Tree]) -> None:
    """Apply a form to every named part of a section that can be read."""
    parts = value.get(section)
    if parts is not None and isinstance(parts.value, dict):
        value[section] = parts.holding(
            {
                name: part if part.value is INVALID else form(part)
                for name, part in parts.value.items()
            }
        )


# ---- features ---------------------------------------------------------------------------------


def _feature_defaults(tree: Tree | None, report: Report) -> dict[str, Tree]:
    """`defaults: {feature: {dim: 16}}`, checked."""
    if tree is None or tree.value is INVALID:
        return {}
    if not isinstance(tree.value, dict):
        report(Problem("GR202", f"expected a map, got {shown(tree.value)}", tree.span, "defaults"))
        return {}
    for key, part in tree.value.items():
        if key != "feature":
            help = suggestion(key, ["feature"])
            report(Problem("GR201", f"unknown key `{key}`", part.key, f"defaults.{key}", help))
    feature = tree.at("feature")
    if feature is None or feature.value is INVALID:
        return {}
    path = "defaults.feature"
    if not isinstance(feature.value, dict):
        report(Problem("GR202", f"expected a map, got {shown(feature.value)}", feature.span, path))
        return {}
    legal = {key for model in FEATURES.values() for key in model.model_fields} - _STRUCTURE
    for key, part in feature.value.items():
        if key not in legal:
            help = suggestion(key, sorted(legal))
            report(Problem("GR201", f"unknown key `{key}`", part.key, f"{path}.{key}", help))
    return {key: part for key, part in feature.value.items() if key in legal}


def _feature(name: str, tree: Tree, defaults: dict[str, Tree], report: Report) -> Tree:
    if not isinstance(tree.value, dict) or "type" not in tree.value:
        return tree
    kind = tree.value["type"].value
    if kind not in FEATURES:
        return tree
    fields = FEATURES[kind].model_fields
    value = {k: v for k, v in defaults.items() if k in fields and (k != "dim" or kind in _LOOKED)}
    value.update(tree.value)
    feature = tree.holding(value)
    return _sequence(name, feature, report) if kind == "sequence" else feature


def _sequence(name: str, tree: Tree, report: Report) -> Tree:
    """`column:` of a sequence: a text for one base feature, a map for several."""
    path, value = f"features.{name}", dict(tree.value)
    if "columns" in value:
        what, help = "unknown key `columns`", "did you mean `column`?"
        report(Problem("GR201", what, value["columns"].key, f"{path}.columns", help))
    column = value.pop("column", None)
    if column is None or column.value is INVALID:
        return tree.holding(value if column is None else {**value, "columns": column})
    of = value.get("of")
    bases = [t.value for t in of.value] if of is not None and isinstance(of.value, list) else []
    if isinstance(column.value, str) and len(bases) == 1 and isinstance(bases[0], str):
        column = column.holding({bases[0]: column})
    elif not isinstance(column.value, dict):
        if bases:
            what = f"expected a map base feature -> column, got {shown(column.value)}"
            report(Problem("GR202", what, column.span, f"{path}.column"))
        return tree.holding(value)
    return tree.holding({**value, "columns": column})
