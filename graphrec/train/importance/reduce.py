"""The recipe without its less important features, such that it still checks.

Features leave the families, the explicit groups, the sequences' lists and the queries paired with
them; a group or sequence that has nothing left goes, and so does what only read it. A feature that
the recipe can't do without stays, and is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphrec.blocks.library import Library
from graphrec.compiler.frontend import build
from graphrec.recipe.expressions import parse_expression
from graphrec.recipe.model import (
    CrossFeature,
    Feature,
    FeatureGroup,
    Group,
    NodeSpec,
    PairedGroup,
    Recipe,
    SequenceFeature,
)
from graphrec.recipe.tasks import check_tasks, grouping_columns

__all__ = ["Reduced", "reduce_recipe"]


@dataclass(frozen=True)
class Reduced:
    """The smaller recipe; what left it, and what had to stay although it ranks lower."""

    recipe: Recipe
    removed: tuple[str, ...]
    needed: tuple[str, ...]


def reduce_recipe(recipe: Recipe, ranking: Sequence[str], keep: int, library: Library) -> Reduced:
    """Keep the first `keep` features of `ranking`, and those that are not in it.

    The others go from the last to the first, each if the recipe still checks without it.
    """
    drop = list(reversed(ranking[keep:]))
    candidates = [name for name in drop if not _is_told_apart(recipe, name)]
    whole = _without(recipe, frozenset(candidates))
    if not _fits(whole, library):
        gone: list[str] = []
        whole = recipe
        for name in candidates:
            smaller = _without(recipe, frozenset([*gone, name]))
            if _fits(smaller, library):
                gone.append(name)
                whole = smaller
    removed = tuple(sorted(recipe.features.keys() - whole.features.keys()))
    needed = tuple(name for name in drop if name in whole.features)
    return Reduced(whole, removed, tuple(sorted(needed)))


def _fits(recipe: Recipe, library: Library) -> bool:
    problems = [*check_tasks(recipe), *build(recipe, library).problems]
    return bool(recipe.features) and not any(p.severity == "error" for p in problems)


def _is_told_apart(recipe: Recipe, name: str) -> bool:
    """Whether a metric, session or space reads a feature under another name than its column's."""
    feature = recipe.features[name]
    column = getattr(feature, "column", None)
    return name in grouping_columns(recipe) and column is not None and column != name


def _without(recipe: Recipe, gone: frozenset[str]) -> Recipe:
    """The recipe without these features and all that loses its last input by that."""
    features = _features(recipe.features, gone)
    groups: dict[str, Group] = {}
    for name, group in recipe.groups.items():
        kept = _group(group, recipe, features)
        if kept is not None:
            groups[name] = kept
    groups = _settled(groups, recipe, features)
    graph = _graph(recipe.graph, _lost_sources(recipe, features, groups))
    lost = recipe.graph.keys() - graph.keys()
    kernels = recipe.kernels.model_copy(
        update={"by_node": {k: v for k, v in recipe.kernels.by_node.items() if k not in lost}}
    )
    train = recipe.train.model_copy(
        update={
            "groups": {
                glob: value
                for glob, value in recipe.train.groups.items()
                if glob.rstrip("*") not in lost
            }
        }
    )
    export = recipe.export.model_copy(
        update={"nodes": tuple(n for n in recipe.export.nodes if n not in lost)}
    )
    changed = {"features": features, "groups": groups, "graph": graph, "origin": None}
    parts = {"kernels": kernels, "train": train, "export": export}
    return recipe.model_copy(update={**changed, **parts})


def _features(features: Mapping[str, Feature], gone: frozenset[str]) -> dict[str, Feature]:
    """What is left: sequences of fewer features, crosses only where all their parts are."""
    kept = {name: feature for name, feature in features.items() if name not in gone}
    for name, feature in list(kept.items()):
        if isinstance(feature, SequenceFeature):
            of = tuple(part for part in feature.of if part in kept)
            if of:
                columns = {k: v for k, v in feature.columns.items() if k in of}
                kept[name] = feature.model_copy(update={"of": of, "columns": columns})
            else:
                del kept[name]
        elif isinstance(feature, CrossFeature) and any(part not in kept for part in feature.of):
            del kept[name]
    return kept


def _group(group: Group, recipe: Recipe, kept: Mapping[str, Feature]) -> Group | None:
    if isinstance(group, PairedGroup):
        query = tuple(name for name in group.query if name in kept)
        return group.model_copy(update={"query": query}) if query and group.keys in kept else None
    of = tuple(name for name in group.of if name in kept or name not in recipe.features)
    out = tuple(name for name in group.exclude if name in kept)
    return group.model_copy(update={"of": of, "exclude": out}) if of else None


def _settled(
    groups: dict[str, Group], recipe: Recipe, kept: Mapping[str, Feature]
) -> dict[str, Group]:
    """Groups of groups without those that are gone, until nothing more goes."""
    while True:
        lost = _lost_sources(recipe, kept, groups)
        after: dict[str, Group] = {}
        for name, group in groups.items():
            if isinstance(group, FeatureGroup):
                of = tuple(part for part in group.of if part not in lost)
                if _members(of, kept, groups) - {*group.exclude}:
                    after[name] = group.model_copy(update={"of": of})
            else:
                after[name] = group
        if after == groups:
            return after
        groups = after


def _members(
    parts: Iterable[str], kept: Mapping[str, Feature], groups: Mapping[str, Group]
) -> set[str]:
    """The features behind names of features and groups."""
    members: set[str] = set()
    for part in parts:
        group = groups.get(part)
        if isinstance(group, FeatureGroup):
            members |= _members(group.of, kept, groups) - {*group.exclude}
        elif isinstance(group, PairedGroup):
            members |= {*group.query, group.keys}
        elif part in kept:
            members.add(part)
        else:
            members |= {name for name, f in kept.items() if part in ("all", f.group)}
    return members


def _lost_sources(
    recipe: Recipe, kept: Mapping[str, Feature], groups: Mapping[str, Group]
) -> frozenset[str]:
    """Names of groups and sequences that the recipe had and that nothing stands behind now."""

    def sources(features: Mapping[str, Feature]) -> set[str]:
        sequences = {n for n, f in features.items() if isinstance(f, SequenceFeature)}
        plain = features.keys() - sequences
        return {f.group for n, f in features.items() if n in plain and f.group} | sequences

    before = sources(recipe.features) | recipe.groups.keys()
    return frozenset(before - sources(kept) - groups.keys())


# ---- nodes ------------------------------------------------------------------------------------


def _graph(graph: Mapping[str, NodeSpec | str], lost: frozenset[str]) -> dict[str, NodeSpec | str]:
    """Nodes without the inputs that are lost; one that needs a lost input is lost too."""
    before = dict(graph)
    while True:
        after: dict[str, NodeSpec | str] = {}
        for name, spec in before.items():
            kept = _node(spec, lost)
            if kept is not None:
                after[name] = kept
        gone = before.keys() - after.keys()
        if not gone and after == before:
            return after
        before, lost = after, lost | gone


def _node(spec: NodeSpec | str, lost: frozenset[str]) -> NodeSpec | str | None:
    if isinstance(spec, str):
        names = {name.ref.partition(".")[0] for name in parse_expression(spec).names()}
        return None if names & lost else spec
    inputs = _inputs(spec.inputs, lost)
    if (inputs is None and spec.inputs is not None) or _first(spec.share or "") in lost:
        return None
    return spec.model_copy(update={"inputs": inputs})


def _inputs(written: Any, lost: frozenset[str]) -> Any:
    """What is left of an `in:`; None when it can't do without what is lost."""
    if isinstance(written, str):
        return None if _first(written) in lost else written
    if isinstance(written, tuple | list):
        return tuple(ref for ref in written if _first(ref) not in lost) or None
    if isinstance(written, Mapping):
        ports = {port: _inputs(value, lost) for port, value in written.items()}
        return None if None in ports.values() else ports
    return written


def _first(ref: str) -> str:
    return ref.partition(".")[0]
