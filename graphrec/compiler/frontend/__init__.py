"""Recipe + library -> graph: names resolved, modifiers unrolled, shapes known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from graphrec.blocks.library import Library
from graphrec.compiler.frontend.context import Bundle, Context, Failed, Place
from graphrec.compiler.frontend.feature_columns import Features
from graphrec.compiler.frontend.heads import TaskBuilder
from graphrec.compiler.frontend.loss_terms import add_loss_terms
from graphrec.compiler.frontend.modifiers import NodeBuilder
from graphrec.compiler.frontend.retrieval_ends import check_sides, retrieval_ends
from graphrec.compiler.frontend.scope import Scope
from graphrec.compiler.frontend.task_relations import classes_of, probability_names, relation_map
from graphrec.compiler.frontend.training_nodes import judge_training
from graphrec.compiler.frontend.unused import report_unused
from graphrec.graph import Graph, Node, Output, Ref, find_cycle, topological
from graphrec.ground.errors import Problem, suggestion
from graphrec.ground.shapes import Shape
from graphrec.recipe.expressions import ExpressionError, parse_expression
from graphrec.recipe.model import NodeSpec, Recipe

__all__ = ["Built", "build"]


@dataclass(frozen=True)
class Built:
    """A graph, or the findings that prevented it."""

    graph: Graph | None
    problems: tuple[Problem, ...]


def build(recipe: Recipe, library: Library, broken: frozenset[str] = frozenset()) -> Built:
    """Build the graph of a recipe; every finding is collected, follow-ups are silent.

    `broken` are paths that an earlier stage already reported and left out.
    """
    context = Context(recipe, library, broken)
    features = Features(context)
    nodes: dict[str, Node] = {}
    ports: dict[str, dict[str, Shape]] = {}
    scope = Scope(context, features, nodes, ports)
    tasks = tuple(sorted(recipe.tasks))
    relations = relation_map(context)
    features.linear_width = _linear_widths(context)
    builder = NodeBuilder(scope, tasks)

    _add_nodes(builder, scope)
    _judge_rest(builder, features, scope)

    heads = TaskBuilder(builder, scope, relations, library)
    outputs = []
    for name in tasks:
        try:
            outputs.append(heads.output(name))
        except Failed:
            continue
    add_loss_terms(heads, scope)
    vectors = retrieval_ends(scope)
    exports = (*_exports(context, scope), *heads.own_logits)
    judge_training(context, nodes, outputs, exports)

    sources = _sources(features, ports)
    report_unused(context, features, reads)
    if context.problems or broken or len(outputs) < len(tasks):
        return Built(None, tuple(context.problems))
    graph = Graph(
        name=recipe.name,
        nodes=topological((*_as_written(recipe, nodes), *sources)),
        outputs=tuple(_as_said(recipe, output) for output in outputs),
        exports=exports,
        tables=tuple(features.tables[name] for name in sorted(features.tables)),
        lookups=tuple(features.columns[name] for name in sorted(features.columns)),
        title=recipe.origin.title if recipe.origin else recipe.name,
        description=recipe.description,
        seed=recipe.train.seed,
        vectors=vectors,
    )
    mixed = check_sides(graph, recipe)
    return Built(None if mixed else graph, (*context.problems, *mixed))


def _add_nodes(builder: NodeBuilder, scope: Scope) -> None:
    """The nodes of the recipe; what reads one that fails is not judged for that."""
    for name in _order(scope.context, scope):
        spec, size = scope.context.recipe.graph[name], len(scope.nodes)
        try:
            scope.values[name] = builder.add(name, spec, scope, Place(f"graph.{name}", name))
        except Failed:
            scope.values[name] = builder.poison(name, spec)
            while len(scope.nodes) > size:
                scope.nodes.popitem()


def _judge_rest(builder: NodeBuilder, features: Features, scope: Scope) -> None:
    """Findings about nodes in cycles and about groups that nothing reads."""
    for name, spec in features.context.recipe.graph.items():
        if isinstance(spec, NodeSpec) and name not in builder.judged:
            with suppress(Failed):
                builder.settle(spec, Place(f"graph.{name}", name))
    for name in features.context.recipe.groups:
        with suppress(Failed):
            features.group(name)


def _exports(context: Context, scope: Scope) -> tuple[Ref, ...]:
    """The outputs of the nodes to export; all of a node that has several."""
    refs: list[Ref] = []
    nodes = context.recipe.graph
    for number, name in enumerate(context.recipe.export.nodes):
        if name not in nodes:
            if not {f"graph.{name}", "graph"} & context.broken:
                path = f"export.nodes.{number}"
                context.report("GR301", path, f"no node `{name}`", suggestion(name, nodes))
            continue
        waiting = [scope.values.get(name)]
        while waiting:
            value = waiting.pop(0)
            if isinstance(value, Bundle):
                waiting = [*value.items.values(), *waiting]
            elif isinstance(value, Ref):
                refs.append(value)
    return tuple(dict.fromkeys(refs))


def _as_written(recipe: Recipe, nodes: Mapping[str, Node]) -> list[Node]:
    """The nodes in the recipe's order, copies and parts at their node, tasks' own at the end."""
    rank = {name: number for number, name in enumerate(recipe.graph)}
    ordered = sorted(nodes.values(), key=lambda node: rank.get(node.origin, len(rank)))
    return [_with_former_name(recipe, node) for node in ordered]


def _with_former_name(recipe: Recipe, node: Node) -> Node:
    """The node with its former name, if the recipe's node it comes from says `was:`."""
    spec = recipe.graph.get(node.origin)
    if not isinstance(spec, NodeSpec) or spec.was is None:
        return node
    return replace(node, was=spec.was + node.name[len(node.origin) :])


def _as_said(recipe: Recipe, output: Output) -> Output:
    """The output with what the recipe says of its task: when it is computed, how it is told."""
    suffix = f"_{output.task}" if len(recipe.tasks) > 1 else ""
    for_training = recipe.tasks[output.task].when == "train"
    return replace(output, suffix=suffix, for_training=for_training)


def _sources(features: Features, ports: dict[str, dict[str, Shape]]) -> list[Node]:
    """A node for each group that something reads, with the ports that are read."""
    sources = []
    for name in sorted(ports):
        group = features.group(name)
        assert group is not None
        outputs = {port: ports[name][port] for port in sorted(ports[name])}
        path = f"groups.{name}" if name in features.context.recipe.groups else f"features.{name}"
        known = name in features.context.recipe.groups or name in features.features
        span = features.context.key(path) if known else None
        sources.append(Node(name, group, {}, outputs, role="group", span=span, origin=name))
    return sources


# ---- order --------------------------------------------------------------------------------------


def _order(context: Context, scope: Scope) -> list[str]:
    """Names of the recipe's nodes, each after those it reads; cycles are reported, left out."""
    graph = context.recipe.graph
    waiting = {name: set(reads(spec)) & graph.keys() for name, spec in graph.items()}
    readers: dict[str, list[str]] = {name: [] for name in graph}
    for name, sources in waiting.items():
        for source in sources:
            readers[source].append(name)
    ordered: list[str] = []
    ready = [name for name, sources in waiting.items() if not sources]
    while waiting:
        if not ready:
            ready = find_cycle(waiting) or []
            assert ready, "what is left waits for itself"
            _report_cycle(context, ready)
            scope.values.update(dict.fromkeys(ready))
        else:
            ordered.extend(sorted(ready))
        gone, ready = ready, []
        for name in gone:
            del waiting[name]
        for reader in {reader for name in gone for reader in readers[name]} & waiting.keys():
            waiting[reader].difference_update(gone)
            if not waiting[reader]:
                ready.append(reader)
    return ordered


def _report_cycle(context: Context, cycle: list[str]) -> None:
    start = cycle.index(min(cycle))
    names = cycle[start:] + cycle[:start]
    steps = " -> ".join(f"{n} ({context.line(f'graph.{n}')})" for n in [*names])
    context.report(
        "GR402",
        f"graph.{names[0]}",
        f"nodes form a cycle, each reading the next: {steps} -> {names[0]}",
        "a node can't read its own result; for repeated application use `repeat:`",
        context.key(f"graph.{names[0]}"),
    )


def reads(spec: object) -> Iterator[str]:
    """First names of everything a node refers to."""
    if isinstance(spec, str):
        if not spec:
            return
        try:
            yield from (name.ref.partition(".")[0] for name in parse_expression(spec).names())
        except ExpressionError:
            yield from re.findall(r"[a-z_][a-z0-9_]*", spec)
        return
    assert isinstance(spec, NodeSpec)
    waiting = [spec.inputs, spec.share]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value.partition(".")[0]
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)


def _linear_widths(context: Context) -> dict[str, int]:
    """Width of `<group>.linear`: the classes of the tasks it reaches (1 unless softmax)."""
    recipe = context.recipe
    sources = {name: set(reads(spec)) for name, spec in recipe.graph.items()}
    widths: dict[str, int] = {}
    for name, task in sorted(recipe.tasks.items()):
        classes = classes_of(recipe, name)
        if classes == 1:
            continue
        waiting = [*reads(task.logit or ""), (task.inputs or "").partition(".")[0]]
        waiting.extend(probability_names(task))
        seen: set[str] = set()
        while waiting:
            source = waiting.pop()
            if source not in seen:
                seen.add(source)
                widths[source] = classes
                waiting.extend(sources.get(source, ()))
    return widths
