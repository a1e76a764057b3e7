"""Which kernel each node and the tables run: asked -> chosen, and why.

Precedence: the node's `kernel:` > `by_node` (most specific glob) > `by_block` > `default`; in this
order first among what `-o` says, then among what the files say. `auto` is the fastest kernel by
the recipe's kernels.lock that can be had, else torch (tables: `native`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from graphrec.blocks.base import Block
from graphrec.compiler.passes.horizontal_fusion import horizontal_fusion
from graphrec.compiler.passes.measured import (
    STORES,
    Refusal,
    by_measurement,
    node_entry,
    store_entry,
    store_parts,
)
from graphrec.compiler.target import COMPILER, TABLE_KERNELS, KernelRequests, Target
from graphrec.graph import Graph, KernelChoice, Node, Table
from graphrec.recipe.optimizer_table import OPTIMIZERS

__all__ = ["asked_kernel", "asked_of_tables", "choose_kernels", "stacks_of", "table_refusal"]

_OF_TABLES = frozenset(TABLE_KERNELS) - {"torch"}
_FBGEMM_WIDTH = 4  # its C++ reads rows in groups of four floats


def choose_kernels(graph: Graph, target: Target) -> Graph:
    """Settle the kernel of every block and of the tables; an ineligible one becomes torch."""
    stacks = stacks_of(graph, target) if target.measured.entries else {}
    chosen = graph.with_nodes(
        replace(node, kernel=_choose(graph, node, target, stacks.get(node.name, ())))
        if isinstance(node.op, Block)
        else node
        for node in graph.nodes
    )
    stores = {s: _store(graph, s, target) for s in STORES if store_parts(graph, s)[0]}
    return replace(chosen, table_kernels=stores)


def stacks_of(graph: Graph, target: Target) -> dict[str, tuple[str, ...]]:
    """Node -> the nodes that would be computed with it, were all free ones to choose that."""

    def stacked(node: Node) -> Node:
        if not isinstance(node.op, Block):
            return node
        requested = asked_kernel(node, target.requests)
        for name in node.op.kernels:
            kernel = node.op.kernel(name)
            if kernel is not None and kernel.together and requested in ("auto", name):
                needs = frozenset(kernel.needs)
                if kernel.refusal(node.op, target.device, target.precision, needs) is None:
                    return replace(node, kernel=KernelChoice(name, name))
        return replace(node, kernel=KernelChoice("torch"))

    tried = horizontal_fusion(graph.with_nodes(stacked(node) for node in graph.nodes), target)
    return {n.name: n.kernel.stack for n in tried.nodes if n.kernel is not None and n.kernel.stack}


def asked_kernel(node: Node, requests: KernelRequests) -> str:
    """The kernel asked for a node; one of the tables only, asked of everything, is not meant."""
    own = (f"graph.{node.origin}.kernel", node.kernel.asked if node.kernel else "")
    names = (node.name, node.origin)
    declared = node.op.kernels if isinstance(node.op, Block) else {}
    return _asked(own, names, node.label, requests, _OF_TABLES - declared.keys())


def asked_of_tables(store: str, requests: KernelRequests) -> str:
    """The kernel asked for `embeddings` or `first_order`, block `tables`.

    One of the blocks only (`triton`), asked of everything, is not meant for tables.
    """
    every = {requests.default, *requests.by_node.values()}
    return _asked(
        ("", ""), (store,), "tables", requests, frozenset(every - {*TABLE_KERNELS, "auto"})
    )


def _asked(
    own: tuple[str, str],
    names: tuple[str, ...],
    block: str,
    requests: KernelRequests,
    foreign: frozenset[str],
) -> str:
    """The first wish that counts; `foreign` kernels only where this very node or block is named."""
    globs = sorted(
        (glob for glob in requests.by_node if any(fnmatchcase(name, glob) for name in names)),
        key=lambda glob: (sum(c not in "*?[]" for c in glob), glob),
        reverse=True,
    )
    ladder = [
        own,
        *(
            (f"kernels.by_node.{glob}", requests.by_node[glob])
            for glob in globs
            if requests.by_node[glob] not in foreign or glob in names
        ),
        (f"kernels.by_block.{block}", requests.by_block.get(block, "")),
        ("kernels.default", "" if requests.default in foreign else requests.default),
    ]
    forced = [kernel for place, kernel in ladder if place in requests.overridden]
    return next(kernel for kernel in (*forced, *(k for _, k in ladder), "auto") if kernel)


def _choose(graph: Graph, node: Node, target: Target, stack: tuple[str, ...]) -> KernelChoice:
    requested, block = asked_kernel(node, target.requests), node.op
    assert isinstance(block, Block)

    def refusal(name: str, here: bool) -> str | None:
        kernel = block.kernel(name)
        if kernel is None:
            return f"block {node.label} has no kernel `{name}`"
        modules = target.modules if here else frozenset(kernel.needs)
        return kernel.refusal(block, target.device, target.precision, modules)

    if requested == "auto":
        entry = node_entry(graph, node, target, stack)
        measured = by_measurement(entry, target, refusal) if target.measured.entries else None
        return measured or KernelChoice("auto", "torch", "nothing measured yet")
    return _explicit(requested, refusal)


def _explicit(requested: str, refusal: Refusal) -> KernelChoice:
    why, missing = refusal(requested, False), refusal(requested, True)
    if why is None and missing is None:
        return KernelChoice(requested, requested)
    return KernelChoice(requested, "torch", why or missing or "", requested, local=why is None)


def _store(graph: Graph, store: str, target: Target) -> KernelChoice:
    """The kernel of a collection of tables: unless asked otherwise the module finds out itself."""
    requested = asked_of_tables(store, target.requests)
    tables, _ = store_parts(graph, store)

    def refusal(name: str, here: bool) -> str | None:
        return table_refusal(name, tables, target, here=here)

    if requested == "auto":
        entry = store_entry(graph, store, target)
        measured = by_measurement(entry, target, refusal)
        if measured is not None and measured.named != "native":
            return measured
        why = refusal("native", True)
        if why is not None:
            return KernelChoice("auto", "torch", f"no native kernel: {why}", "auto", local=True)
        why_native = measured.why if measured is not None else "the usual one; nothing measured yet"
        return KernelChoice("auto", "native", why_native, "auto", local=True)
    choice = _explicit(requested, refusal)
    # Tables have no twin that knows when to be torch: what no machine can run is not named.
    return choice if choice.local or not choice.why else replace(choice, named="torch")


def table_refusal(name: str, tables: Sequence[Table], target: Target, *, here: bool) -> str | None:
    """Why a kernel of `TABLE_KERNELS` can't serve these tables, or None.

    `here` asks also whether this machine has what the kernel needs.
    """
    kernel = TABLE_KERNELS.get(name)
    if kernel is None:
        return f"tables have no kernel `{name}`"
    if target.device not in kernel.devices:
        return f"{' and '.join(name.upper() for name in kernel.devices)} only"
    why = _fbgemm_refusal(tables, target.measured.update) if name == "fbgemm" else None
    if why is not None:
        return why
    missing = [module for module in kernel.needs if here and module not in target.modules]
    if missing:
        return "no C++ compiler" if missing[0] == COMPILER else f"{missing[0]} is not installed"
    return None


def _fbgemm_refusal(tables: Sequence[Table], update: str) -> str | None:
    for table in tables:
        if table.dim % _FBGEMM_WIDTH:
            return f"table {table.name} has width {table.dim}, no multiple of {_FBGEMM_WIDTH}"
        if table.dtype != "fp32":
            return f"table {table.name} is stored as {table.dtype}, not fp32"
    unknown = bool(update) and not OPTIMIZERS[update].fbgemm
    return f"no {update} on the CPU" if unknown else None
