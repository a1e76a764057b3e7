"""The dictionary that a generated method returns: predictions, terms of the loss, exports."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.state import State, dropout
from graphrec.compiler.codegen.writer import Call, Raw, literal, quoted
from graphrec.graph import Graph, Group, Node, Output, Ref

__all__ = ["later_results", "results"]


def results(state: State, graph: Graph, late: Collection[str] = (), target: str = "") -> None:
    """Write the return of all predictions and exports, and of penalties and losses it has.

    Without what `late` nodes give; with a `target` the dictionary is kept under that name.
    """
    entries: list[tuple[str, Any]] = []
    for output in graph.outputs:
        if output.ref.node not in late:
            entries.extend(_named(state, output))
    for node in graph.nodes:
        if node.name not in late:
            entries.extend(_terms(state, node))
    named = zip(state.graph.exports, graph.exports, strict=True)
    entries.extend((str(name), Raw(state.variable(ref))) for name, ref in named)
    state.writer.line(f"{target} = {{" if target else "return {", 8)
    for key, value in entries:
        state.writer.line(f"{quoted(key)}: {literal(value)},", 12)
    state.writer.line("}", 8)


def later_results(state: State, graph: Graph, late: Collection[str], target: str) -> None:
    """Write the predictions and terms of the nodes that training alone computes into `target`."""
    entries: list[tuple[str, Any]] = []
    for output in graph.outputs:
        if output.ref.node in late:
            entries.extend(_named(state, output))
    for node in graph.nodes:
        if node.name in late:
            entries.extend(_terms(state, node))
    for key, value in entries:
        state.statement(f"{target}[{quoted(key)}]", value)


def _named(state: State, output: Output) -> list[tuple[str, Any]]:
    predictions = _predict(state, output, output.suffix)
    return [(f"{key}{output.suffix}", value) for key, value in predictions]


def _terms(state: State, node: Node) -> list[tuple[str, Any]]:
    """What a node adds to the loss: a penalty, the mean of an expression, a block's number."""
    if isinstance(node.op, Group) and dropout(node.op):
        penalty = state.variable(Ref(node.name, "penalty"))
        return [(f"{node.name}_feature_p_loss", Raw(penalty))]
    if not node.is_loss:
        return []
    value = Raw(state.variable(Ref(node.name)))
    key = f"{node.name.removeprefix('loss.') if node.role == 'loss' else node.name}_loss"
    return [(key, value if isinstance(node.op, Block) else Call(f"{value.text}.mean"))]


def _predict(state: State, output: Output, suffix: str) -> list[tuple[str, Any]]:
    value = Raw(state.variable(output.ref))
    squeezed = Call(f"{value.text}.squeeze", [Raw("-1")])
    if output.form == "softmax":
        probs = Raw(state.locals.take(f"probs{suffix}"))
        softmax = Call("torch.softmax", [value, Raw("-1")])
        state.statement(probs.text, softmax, f"[B, {output.classes}]")
        entries = [("logits", value), ("probs", probs)]
        return (
            [*entries, ("probs1", Raw(f"{probs.text}[:, 1]"))] if output.classes == 2 else entries
        )
    if output.form == "lognormal":
        mean = Raw(state.locals.take(f"y{suffix}"))
        state.statement(mean.text, state.function("lognormal_mean", value), "[B]")
        return [("logits", value), ("y", mean)]
    if output.form == "regression":
        return [("y", squeezed)]
    if output.form == "prob":
        return [("probs", squeezed)]
    logits = Raw(state.locals.take(f"logits{suffix}"))
    state.statement(logits.text, squeezed, "[B]")
    return [("logits", logits), ("probs", Call("torch.sigmoid", [logits]))]
