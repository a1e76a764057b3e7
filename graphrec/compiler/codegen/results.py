"""The dictionary that a generated method returns: predictions, terms of the loss, exports."""

from __future__ import annotations

from typing import Any

from graphrec.compiler.codegen.state import State, dropout
from graphrec.compiler.codegen.writer import Call, Raw, literal, quoted
from graphrec.graph import Graph, Group, Output, Ref

__all__ = ["results"]


def results(state: State, graph: Graph) -> None:
    """Write the return of all predictions and exports, and of penalties and losses it has."""
    entries: list[tuple[str, Any]] = []
    for output in graph.outputs:
        predictions = _predict(state, output, output.suffix)
        entries.extend((f"{key}{output.suffix}", value) for key, value in predictions)
    for node in graph.nodes:
        if isinstance(node.op, Group) and dropout(node.op):
            penalty = state.variable(Ref(node.name, "penalty"))
            entries.append((f"{node.name}_feature_p_loss", Raw(penalty)))
        elif node.role == "loss":
            mean = Call(f"{state.variable(Ref(node.name))}.mean")
            entries.append((f"{node.name.removeprefix('loss.')}_loss", mean))
        elif node.is_loss:
            entries.append((f"{node.name}_loss", Raw(state.variable(Ref(node.name)))))
    named = zip(state.graph.exports, graph.exports, strict=True)
    entries.extend((str(name), Raw(state.variable(ref))) for name, ref in named)
    state.writer.line("return {", 8)
    for key, value in entries:
        state.writer.line(f"{quoted(key)}: {literal(value)},", 12)
    state.writer.line("}", 8)


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
    if output.form == "regression":
        return [("y", squeezed)]
    if output.form == "prob":
        return [("probs", squeezed)]
    logits = Raw(state.locals.take(f"logits{suffix}"))
    state.statement(logits.text, squeezed, "[B]")
    return [("logits", logits), ("probs", Call("torch.sigmoid", [logits]))]
