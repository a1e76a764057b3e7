"""Names under `kernels:` and `train.groups`: kernels and blocks that exist, globs that match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from graphrec.errors import Problem, suggestion
from graphrec.graph import Graph
from graphrec.library import Library
from graphrec.recipe.model import NodeSpec, Recipe

__all__ = ["check_wishes"]

_ALWAYS = ("auto", "torch")


def check_wishes(
    recipe: Recipe, library: Library, graph: Graph | None, broken: frozenset[str]
) -> list[Problem]:
    """Kernels no block has (GR604), unknown blocks (GR305), globs that match nothing (GR603).

    `graph` is None when it could not be built: globs are then judged by the recipe's own names.
    """
    found = list(_kernels(recipe, library))
    if "blocks" not in broken:
        found += _blocks(recipe, library, broken)
    if "graph" not in broken:
        found += _globs(recipe, _names(recipe, graph, broken))
    origin = recipe.origin
    if origin is None:
        return found
    return [p.at(origin.value(p.path) if p.code == "GR604" else origin.key(p.path)) for p in found]


def _kernels(recipe: Recipe, library: Library) -> Iterator[Problem]:
    declared = {name for block in library.primitives.values() for name in block.kernels}
    known = [*_ALWAYS, *sorted(declared - set(_ALWAYS))]
    for path, kernel in _asked(recipe):
        if kernel not in known:
            yield Problem(
                "GR604",
                f"no block has a kernel `{kernel}`",
                path=path,
                help=suggestion(kernel, known),
            )


def _asked(recipe: Recipe) -> Iterator[tuple[str, str]]:
    kernels = recipe.kernels
    yield "kernels.default", kernels.default
    for section, wishes in (("by_block", kernels.by_block), ("by_node", kernels.by_node)):
        for name, kernel in wishes.items():
            yield f"kernels.{section}.{name}", kernel
    for name, spec in recipe.graph.items():
        if isinstance(spec, NodeSpec) and spec.kernel is not None:
            yield f"graph.{name}.kernel", spec.kernel


def _blocks(recipe: Recipe, library: Library, broken: frozenset[str]) -> Iterator[Problem]:
    known = sorted({*library.names, *recipe.blocks})
    for name in recipe.kernels.by_block:
        if name not in known and f"blocks.{name}" not in broken:
            yield Problem(
                "GR305",
                f"no block `{name}`",
                path=f"kernels.by_block.{name}",
                help=suggestion(name, known, 60),
            )


def _globs(recipe: Recipe, names: set[str]) -> Iterator[Problem]:
    sections: Mapping[str, Mapping[str, object]] = {
        "kernels.by_node": recipe.kernels.by_node,
        "train.groups": recipe.train.groups,
    }
    for section, globs in sections.items():
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in names):
                path = f"{section}.{glob}"
                help = suggestion(glob.rstrip("*"), sorted(recipe.graph))
                yield Problem("GR603", f"{path}: no node matches `{glob}`", path=path, help=help)


def _names(recipe: Recipe, graph: Graph | None, broken: frozenset[str]) -> set[str]:
    """What a glob can match: nodes and their copies, tables, what a balance learns."""
    if graph is None:
        nodes = {*recipe.graph, *(path[6:] for path in broken if path.startswith("graph."))}
        nodes |= {f"{kind}.{task}" for kind in ("head", "rel") for task in recipe.tasks}
        copies = {f"{node}.{task}" for node in nodes for task in recipe.tasks}
        tables = set(recipe.features)
    else:
        nodes = {name for node in graph.nodes for name in (node.name, node.origin)}
        copies, tables = set(), {t.name for t in (*graph.tables, *graph.first_order_tables)}
    stores = ("embeddings", "first_order")
    return nodes | copies | {*stores, "balance"} | {f"{s}.{t}" for s in stores for t in tables}
