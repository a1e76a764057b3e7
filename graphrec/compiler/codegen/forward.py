"""The forward method: one node one line, in the names of the recipe, shapes behind."""

from __future__ import annotations

from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.stacks import is_follower, reserve, stack
from graphrec.compiler.codegen.state import State, dropout, group_columns, port_columns
from graphrec.compiler.codegen.terms import render
from graphrec.compiler.codegen.writer import Call, Raw, quoted
from graphrec.graph import Graph, Group, Node, Output, Ref
from graphrec.recipe.expressions import Expression
from graphrec.shapes import Shape

__all__ = ["comment", "forward", "group_text", "is_mask", "results"]


def forward(state: State) -> None:
    writer = state.writer
    reserve(state)
    writer.line("def forward(self, batch: Batch) -> dict[str, Tensor]:", 4)
    if state.graph.lookups:
        writer.line("embedded = self.embeddings(batch.features)", 8)
    if state.graph.first_order:
        like = ", like=embedded" if state.graph.lookups else ""
        writer.line(f"first = self.first_order(batch.features{like})", 8)
    for node in state.graph.nodes:
        if isinstance(node.op, Group):
            _read_group(state, node)
        elif isinstance(node.op, Expression):
            names = {
                written: state.variable(ref)
                for written, ref in node.inputs.items()
                if isinstance(ref, Ref)
            }
            text = render(node.op.tree, names)
            state.uses_functions |= "F." in text
            _statement(state, node, state.variable(Ref(node.name)), Raw(text))
        elif node.kernel is not None and node.kernel.stack:
            if not is_follower(node):
                stack(state, node, _positional, comment(node))
        else:
            _apply(state, node)
    results(state)


def _variable(state: State, ref: Ref) -> str:
    return state.locals.take(str(ref))


def _statement(state: State, node: Node, target: str, value: Any) -> None:
    state.writer.assign(target, value, 8, comment(node), node.name)


def comment(node: Node, rows: str = "B") -> str:
    """Shapes of the outputs, of so many rows, and what a relation passes on."""
    shapes = [str(shape).replace("[B", f"[{rows}") for shape in node.outputs.values()]
    each = len(set(shapes)) == 1 and len(shapes) > 1
    text = f"{shapes[0]} each" if each else ", ".join(dict.fromkeys(shapes))
    if node.parents:
        readers = ", ".join(ref.node.partition(".")[2] or ref.node for ref in node.parents)
        text += f"  {node.name.partition('.')[2]} <- {readers}"
    return text


def _apply(state: State, node: Node) -> None:
    targets = [state.variable(Ref(node.name, port)) for port in node.outputs]
    target = ", ".join(targets) + ("," if len(targets) == 1 and "" not in node.outputs else "")
    layer = f"self.{state.attributes.take(node.shares or node.name)}"
    _statement(state, node, target, Call(layer, *_arguments(state, node)))


def _positional(state: State, node: Node) -> list[Any]:
    """What the layer of a node without optional ports is called with."""
    args, named = _arguments(state, node)
    assert not named
    return args


def _arguments(state: State, node: Node) -> tuple[list[Any], dict[str, Any]]:
    """What the node's layer is called with; by name behind an optional port that is left out."""
    args: list[Any] = []
    named: dict[str, Any] = {}
    left_out = False
    for port in node.op.ports() if isinstance(node.op, Block) else ():
        value = node.inputs.get(port.name)
        left_out = left_out or value is None
        if value is None or is_mask(state, value):
            continue
        if left_out:
            assert isinstance(value, Ref), "an optional port takes one tensor"
            named[port.name] = Raw(state.variable(value))
        elif isinstance(value, Ref):
            args.append(Raw(state.variable(value)))
        elif port.variadic:
            args.extend(Raw(state.variable(ref)) for ref in value)
        else:
            state.uses_functions = True
            args.append(Call("F.concat", [Raw(state.variable(ref)) for ref in value]))
    return args, named


def is_mask(state: State, value: Any) -> bool:
    """A jagged tensor carries its own mask; the port is for the compiler's check only."""
    return isinstance(value, Ref) and state.graph.shape(value).dtype == "bool"


def _read_group(state: State, node: Node) -> None:
    group = node.op
    assert isinstance(group, Group)
    columns = group_columns(state.graph, node)
    regular = bool(dropout(group))
    if regular:
        _drop_features(state, node, columns[""])
    for port, shape in node.outputs.items():
        if regular and port == "":
            continue
        suffix = port_columns(group, port)
        name = state.groups[node.name, suffix]
        text = group_text(group, port, shape, name)
        if regular and port == "fields":
            text = f"{state.variable(Ref(node.name))}.unflatten(1, ({shape.dims[1]}, -1))"
        if port == "mask" and not _mask_is_read(state, node.name):
            continue
        state.uses_functions |= text.startswith("F.")
        target = state.variable(Ref(node.name, port))
        state.writer.assign(target, Raw(text), 8, str(shape), node.name)


def group_text(
    group: Group,
    port: str,
    shape: Shape,
    columns: str,
    embedded: str = "embedded",
    first: str = "first",
) -> str:
    """How a port of a group is read: `columns` is a constant, the others what was looked up."""
    return {
        "": f"{embedded}.concat({columns})"
        if group.sequence is None
        else f"{embedded}.sequence({columns})",
        "fields": f"{embedded}.stack({columns})",
        "linear": f"{first}.stack({columns}).sum(1)",
        "values": f"{embedded}.values({columns})",
        "query": f"{embedded}.concat({columns})",
        "keys": f"{embedded}.sequence({columns})",
        "mask": f"F.mask({embedded}.sequence({columns}))",
        "length": f"{embedded}.length({columns}).unsqueeze(1)",
    }[port]


def _drop_features(state: State, node: Node, columns: tuple[str, ...]) -> None:
    targets = [state.variable(Ref(node.name)), state.variable(Ref(node.name, "penalty"))]
    read = Raw(f"embedded.concat({state.groups[node.name, '']})")
    call = Call(f"self.{state.attributes.take(f'{node.name}.dropout')}", [read])
    state.writer.assign(
        ", ".join(targets), call, 8, str(Shape(("B", _total(state.graph, columns)))), node.name
    )


def _mask_is_read(state: State, group: str) -> bool:
    return any(
        isinstance(node.op, Expression) and any(ref == Ref(group, "mask") for _, ref in node.refs())
        for node in state.graph.nodes
    )


def results(state: State, losses: bool = True) -> None:
    """Write the return of all predictions and exports, and of penalties and `losses`."""
    entries: list[tuple[str, str]] = []
    several = len(state.graph.outputs) > 1
    for output in state.graph.outputs:
        suffix = f"_{output.task}" if several else ""
        entries.extend((f"{key}{suffix}", text) for key, text in _predict(state, output, suffix))
    for node in state.graph.nodes if losses else ():
        if isinstance(node.op, Group) and dropout(node.op):
            penalty = state.variable(Ref(node.name, "penalty"))
            entries.append((f"{node.name}_feature_p_loss", penalty))
        elif node.is_loss:
            entries.append((f"{node.name}_loss", state.variable(Ref(node.name))))
    entries.extend((str(ref), state.variable(ref)) for ref in state.graph.exports)
    state.writer.line("return {", 8)
    for key, text in entries:
        state.writer.line(f"{quoted(key)}: {text},", 12)
    state.writer.line("}", 8)


def _predict(state: State, output: Output, suffix: str) -> list[tuple[str, str]]:
    value = state.variable(output.ref)
    if output.form == "softmax":
        probs = state.locals.take(f"probs{suffix}")
        state.writer.assign(probs, Raw(f"torch.softmax({value}, -1)"), 8, f"[B, {output.classes}]")
        made = [("logits", value), ("probs", probs)]
        return [*made, ("probs1", f"{probs}[:, 1]")] if output.classes == 2 else made
    if output.form == "regression":
        return [("y", f"{value}.squeeze(-1)")]
    if output.form == "prob":
        return [("probs", f"{value}.squeeze(-1)")]
    logits = state.locals.take(f"logits{suffix}")
    state.writer.assign(logits, Raw(f"{value}.squeeze(-1)"), 8, "[B]")
    return [("logits", logits), ("probs", f"torch.sigmoid({logits})")]


def _total(graph: Graph, columns: tuple[str, ...]) -> int:
    widths = {lookup.column: lookup.dim for lookup in graph.lookups}
    return sum(widths[column] for column in columns)
