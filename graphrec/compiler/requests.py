"""Names under `kernels:` and `train.groups`: kernels and blocks that exist, globs that match."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from graphrec.blocks.library import Library
from graphrec.compiler.target import TABLE_KERNELS
from graphrec.graph import Graph
from graphrec.ground.errors import Problem, suggestion
from graphrec.recipe.model import NodeSpec, Recipe

__all__ = ["check_requests"]

_ALWAYS = ("auto", "torch")
_STORES = ("embeddings", "first_order")
_TABLES = ("kernels.by_block.tables", *(f"kernels.by_node.{store}" for store in _STORES))


def check_requests(
    recipe: Recipe, library: Library, graph: Graph | None, broken: frozenset[str]
) -> list[Problem]:
    """Kernels nothing has (GR604), unknown blocks (GR305), globs that match nothing (GR603).

    `graph` is None when it could not be built: globs are then judged by the recipe's own names.
    """
    findings = list(_kernels(recipe, library))
    if "blocks" not in broken:
        findings += _blocks(recipe, library, broken)
    if "graph" not in broken:
        findings += _globs(recipe, graph, broken)
    origin = recipe.origin
    if origin is None:
        return findings
    return [
        p.at(origin.value(p.path) if p.code == "GR604" else origin.key(p.path)) for p in findings
    ]


def _kernels(recipe: Recipe, library: Library) -> Iterator[Problem]:
    declared = {name for block in library.primitives.values() for name in block.kernels}
    of_tables = TABLE_KERNELS.keys() - declared
    known = [*_ALWAYS, *sorted((declared | of_tables) - set(_ALWAYS))]
    for path, kernel in _asked(recipe):
        if kernel not in known:
            what, help = f"no block has a kernel `{kernel}`", suggestion(kernel, known)
        elif kernel in of_tables and not _reaches_tables(path):
            what = f"only tables have a kernel `{kernel}`"
            help = f"kernels: {{by_block: {{tables: {kernel}}}}}"
        elif kernel not in (*TABLE_KERNELS, "auto") and path in _TABLES:
            what = f"tables have no kernel `{kernel}`"
            help = suggestion(kernel, sorted({"auto", *TABLE_KERNELS}))
        else:
            continue
        yield Problem("GR604", what, path=path, help=help)


def _reaches_tables(path: str) -> bool:
    if path in ("kernels.default", *_TABLES):
        return True
    glob = path.removeprefix("kernels.by_node.")
    return glob != path and any(fnmatchcase(store, glob) for store in _STORES)


def _asked(recipe: Recipe) -> Iterator[tuple[str, str]]:
    kernels = recipe.kernels
    yield "kernels.default", kernels.default
    for section, requests in (("by_block", kernels.by_block), ("by_node", kernels.by_node)):
        for name, kernel in requests.items():
            yield f"kernels.{section}.{name}", kernel
    for name, spec in recipe.graph.items():
        if isinstance(spec, NodeSpec) and spec.kernel is not None:
            yield f"graph.{name}.kernel", spec.kernel


def _blocks(recipe: Recipe, library: Library, broken: frozenset[str]) -> Iterator[Problem]:
    known = sorted({*library.names, *recipe.blocks, "tables"})
    for name in recipe.kernels.by_block:
        if name not in known and f"blocks.{name}" not in broken:
            yield Problem(
                "GR305",
                f"no block `{name}`",
                path=f"kernels.by_block.{name}",
                help=suggestion(name, known, 60),
            )


def _globs(recipe: Recipe, graph: Graph | None, broken: frozenset[str]) -> Iterator[Problem]:
    nodes = {*_nodes(recipe, graph, broken), *_STORES}
    sections: tuple[tuple[str, Mapping[str, object], set[str]], ...] = (
        ("kernels.by_node", recipe.kernels.by_node, nodes),
        ("train.groups", recipe.train.groups, nodes | _weights(recipe, graph)),
    )
    for section, globs, names in sections:
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in names):
                path = f"{section}.{glob}"
                help = suggestion(glob.rstrip("*"), sorted(recipe.graph))
                yield Problem("GR603", f"{path}: no node matches `{glob}`", path=path, help=help)


def _nodes(recipe: Recipe, graph: Graph | None, broken: frozenset[str]) -> set[str]:
    """Nodes and their copies."""
    if graph is not None:
        return {name for node in graph.nodes for name in (node.name, node.origin)}
    nodes = {*recipe.graph, *(path[6:] for path in broken if path.startswith("graph."))}
    nodes |= {f"{kind}.{task}" for kind in ("head", "rel") for task in recipe.tasks}
    return nodes | {f"{node}.{task}" for node in nodes for task in recipe.tasks}


def _weights(recipe: Recipe, graph: Graph | None) -> set[str]:
    """What else has weights: single tables, and what a balance learns."""
    if graph is None:
        tables = set(recipe.features)
    else:
        tables = {t.name for t in (*graph.tables, *graph.first_order_tables)}
    return {"balance", *(f"{store}.{table}" for store in _STORES for table in tables)}
