"""`forward`, and `score` of a model with two sides: one node one line, in the recipe's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.identifiers import Names
from graphrec.compiler.codegen.long_statements import write_expression
from graphrec.compiler.codegen.reads import Batches, read_port, store_of
from graphrec.compiler.codegen.results import later_results, results
from graphrec.compiler.codegen.stacks import is_follower, reserve, stack
from graphrec.compiler.codegen.state import State, dropout
from graphrec.compiler.codegen.writer import Call, Raw
from graphrec.compiler.layer_args import is_mask
from graphrec.graph import Broadcast, Concat, Dropped, Graph, Group, Node, Ref, Split
from graphrec.ground.shapes import B, Dim, Shape
from graphrec.recipe.expressions import Expression

__all__ = ["body", "forward", "score", "stores_read"]

_OF_SCORE: dict[tuple[str, Dim], str] = {
    ("embeddings", 1): "request_embedded",
    ("first_order", 1): "request_first",
    ("embeddings", B): "candidate_embedded",
    ("first_order", B): "candidate_first",
}


def forward(state: State) -> None:
    """Write the predictions for a batch, and the terms of the loss that the model adds."""
    graph = state.graph
    state.writer.line()
    state.writer.line("def forward(self, batch: Batch) -> dict[str, Tensor]:", 4)
    if graph.lookups:
        state.statement("embedded", Call("self.embeddings", [Raw("batch.features")]))
    if graph.first_order:
        like = {"like": Raw("embedded")} if graph.lookups else {}
        state.statement("first", Call("self.first_order", [Raw("batch.features")], like))
    late = graph.training_only
    ports: set[Ref] = set()
    body(state, graph, Batches(), ports)
    if not late:
        results(state, graph)
        return
    name = "predictions" if "predictions" not in graph.by_name else "predictions.all"
    kept = state.locals.take(name)
    results(state, graph, late=late, target=kept)
    state.writer.line("if self.training:", 8)
    state.indent = 12
    body(state, graph, Batches(), ports, late=True)
    later_results(state, graph, late, kept)
    state.indent = 8
    state.writer.line(f"return {kept}", 8)


def score(state: State) -> str:
    """Write the predictions for the candidates of one request; the method's name, or nothing."""
    graph = state.graph.scoring
    if graph is None:
        return ""
    taken = any(state.attributes.take(node.name) == "score" for node in state.graph.nodes)
    name = "score_" if taken else "score"  # a node of that name keeps its attribute and its keys
    state.locals = Names("request", "candidates", *_OF_SCORE.values())
    writer = state.writer
    writer.line()
    writer.line(f"def {name}(self, request: Batch, candidates: Batch) -> dict[str, Tensor]:", 4)
    writer.line('"""The predictions of `forward` for the B candidates of one request."""', 8)
    if any(isinstance(node.op, Broadcast) for node in graph.nodes):
        state.statement("rows", Raw("candidates.num_rows"))
    reads = set(stores_read(graph))
    for rows, features in (
        (1, state.function("one_row", Raw("request"))),
        (B, Raw("candidates.features")),
    ):
        like: dict[str, Any] = {}
        for store in ("embeddings", "first_order"):
            if (store, rows) in reads:
                variable = _OF_SCORE[store, rows]
                call = Call(f"self.{store}", [features], {"partial": True, **like})
                state.statement(variable, call)
                like = {"like": Raw(variable)}
    body(state, graph, Batches(_OF_SCORE, whole=False))
    results(state, graph)
    return name


def stores_read(graph: Graph) -> Iterator[tuple[str, Dim]]:
    """Collections that groups read, and whether for the request (1) or the candidates (B)."""
    for node in graph.nodes:
        if isinstance(node.op, Group):
            for port, shape in node.outputs.items():
                yield store_of(port), shape.dims[0]


def body(
    state: State,
    graph: Graph,
    batches: Batches,
    ports: set[Ref] | None = None,
    late: bool = False,
) -> None:
    """The statements of a graph's nodes, without those of training alone, or `late` these.

    `ports` are those of groups that were read already.
    """
    ports = set() if ports is None else ports
    only = graph.training_only
    nodes = [node for node in graph.nodes if (node.name in only) == late]
    reserve(state, graph)
    for node in nodes:
        if isinstance(node.op, Group):
            if dropout(node.op):
                _drop_features(state, graph, node, node.op, batches)
            continue
        stacked = node.kernel.stack if node.kernel is not None else ()
        if stacked and is_follower(node):
            continue
        members = [graph[name] for name in stacked] or [node]
        refs = [ref for member in members for ref in _read_by(graph, member)]
        _read_groups(state, graph, refs, ports, batches)
        if stacked:
            arguments = {m.name: _arguments(state, graph, m)[0] for m in members}
            stack(state, graph, node, arguments, _comment(node))
        elif isinstance(node.op, Expression):
            write_expression(state, node, _comment(node))
        else:
            value = _value(state, graph, node)
            state.statement(_targets(state, graph, node), value, _comment(node), node.name)
    if not late:
        roots = [*(output.ref for output in graph.outputs), *graph.exports]
        _read_groups(state, graph, [r for r in roots if r.node not in only], ports, batches)


def _read_by(graph: Graph, node: Node) -> Iterator[Ref]:
    """What a node's statement names: a mask only where an expression reads it."""
    for _, ref in node.refs():
        if not (isinstance(node.op, Block) and is_mask(graph, ref)):
            yield ref


def _read_groups(
    state: State, graph: Graph, refs: Iterable[Ref], done: set[Ref], batches: Batches
) -> None:
    """A line for each port of a group, before the first statement that names it."""
    for ref in refs:
        node = graph[ref.node]
        if not isinstance(node.op, Group) or ref in done:
            continue
        done.add(ref)
        regular = bool(dropout(node.op))
        if regular and ref.port == "":
            continue
        shape = graph.shape(ref)
        if regular and ref.port == "fields":
            whole = state.variable(Ref(node.name))
            value: Any = Call(f"{whole}.unflatten", [1, (shape.dims[1], -1)])
        else:
            value = read_port(state, graph, node, ref.port, shape, batches)
        state.statement(state.variable(ref), value, _shown(shape), node.name)


def _value(state: State, graph: Graph, node: Node) -> Any:
    """What a node computes."""
    if isinstance(node.op, Block):
        layer = f"self.{state.attributes.take(node.shares or node.name)}"
        return Call(layer, *_arguments(state, graph, node))
    read = [Raw(state.variable(ref)) for _, ref in node.refs()]
    if isinstance(node.op, Split):
        return Call(state.use("Split"), [*read, list(node.op.layout)])
    if isinstance(node.op, Concat):
        return state.function("beside", *read)
    if isinstance(node.op, Broadcast):
        return state.function("rows", *read, Raw("rows"))
    assert isinstance(node.op, Dropped)
    return Call(f"self.{state.attributes.take(f'{node.op.group}.dropout')}", read)


def _targets(state: State, graph: Graph, node: Node) -> str:
    """Variables of the outputs; of several, those that nobody reads have no name."""
    refs = [Ref(node.name, port) for port in node.outputs]
    alone = len(refs) == 1
    targets = [state.variable(ref) if alone or ref in graph.read else "_" for ref in refs]
    if isinstance(node.op, Dropped):
        targets.append("_")  # the penalty is no prediction
    return ", ".join(targets) + ("," if len(targets) == 1 and "" not in node.outputs else "")


def _arguments(state: State, graph: Graph, node: Node) -> tuple[list[Any], dict[str, Any]]:
    """What the node's layer is called with; by name behind an optional port that is left out."""
    args: list[Any] = []
    named: dict[str, Any] = {}
    left_out = False
    for port in node.op.ports() if isinstance(node.op, Block) else ():
        value = node.inputs.get(port.name)
        left_out = left_out or value is None
        if value is None or is_mask(graph, value):
            continue
        several = [Raw(state.variable(ref)) for ref in (value if isinstance(value, tuple) else ())]
        if port.variadic and several:
            args += several
            continue
        one = Raw(state.variable(value)) if isinstance(value, Ref) else None
        joined = one or state.function("concat", *several)
        if left_out:
            named[port.name] = joined
        else:
            args.append(joined)
    return args, named


def _drop_features(state: State, graph: Graph, node: Node, group: Group, batches: Batches) -> None:
    widths = {lookup.column: lookup.dim for lookup in graph.lookups}
    shape = Shape((B, sum(widths[column] for column in group.features)))
    targets = [state.variable(Ref(node.name)), state.variable(Ref(node.name, "penalty"))]
    layer = f"self.{state.attributes.take(f'{node.name}.dropout')}"
    read = read_port(state, graph, node, "", shape, batches)
    state.statement(", ".join(targets), Call(layer, [read]), str(shape), node.name)


def _comment(node: Node) -> str:
    """Shapes of the outputs, and what a relation passes on."""
    shapes = [_shown(shape) for shape in node.outputs.values()]
    each = len(set(shapes)) == 1 and len(shapes) > 1
    text = f"{shapes[0]} each" if each else ", ".join(dict.fromkeys(shapes))
    if node.parents:
        readers = ", ".join(ref.node.partition(".")[2] or ref.node for ref in node.parents)
        text += f"; {node.name.partition('.')[2]} <- {readers}"
    return text


def _shown(shape: Shape) -> str:
    """A history has as many rows as there are steps in the batch, T."""
    return f"Jagged {Shape(('T', *shape.dims[2:]))}" if shape.is_jagged else str(shape)
