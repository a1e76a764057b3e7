"""What the page says about each card: shapes, sizes, kernel, and the line of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.blocks.base import Block
from graphrec.graph import Graph, Group, Node, Output
from graphrec.ground.errors import Span
from graphrec.ground.text import count, memory
from graphrec.recipe.model import NodeSpec, Recipe
from graphrec.views.describe import Description, NodeLine
from graphrec.views.pictures.scene import SIDES, task_key

__all__ = ["details", "node_kinds", "said"]

Detail = dict[str, Any]

_LINES = 8  # of the recipe, shown for one node


def details(graph: Graph, description: Description, recipe: Recipe) -> dict[str, Detail]:
    """Everything known about every card of the graph's picture, as plain data, by its key."""
    lines = {line.name: line for line in description.nodes}
    by_card = {node.name: _node(node, graph, lines[node.name], recipe) for node in graph.nodes}
    for output in graph.outputs:
        by_card[task_key(output)] = _task(output, graph, recipe)
    return by_card


def node_kinds(recipe: Recipe) -> dict[str, str]:
    """The block that each node of the recipe names."""
    return {n: spec.block for n, spec in recipe.graph.items() if isinstance(spec, NodeSpec)}


def said(recipe: Recipe, span: Span | None) -> Detail:
    """Where something was said (`at`), and the lines there (`text`)."""
    if span is None:
        return {}
    if span.file is None:
        return {"at": f"-o #{span.line}, on the command line"}
    text = recipe.origin.sources.get(span.file, "") if recipe.origin else ""
    lines = text.splitlines()
    if not 0 < span.line <= len(lines):
        return {"at": f"{span.file}:{span.line}"}
    first = lines[span.line - 1]
    indent = len(first) - len(first.lstrip())
    excerpt = [first]
    for line in lines[span.line : span.line + _LINES - 1]:
        if not line.strip() or len(line) - len(line.lstrip()) <= indent:
            break
        excerpt.append(line)
    return {"at": f"{span.file}:{span.line}", "text": "\n".join(x[indent:][:300] for x in excerpt)}


def _node(node: Node, graph: Graph, line: NodeLine, recipe: Recipe) -> Detail:
    detail: Detail = {"doc": _doc(node), **_written(node, recipe)}
    detail["outputs"] = [[port, str(shape)] for port, shape in node.outputs.items()]
    detail["inputs"] = [
        [port, ref.node, ref.port, str(graph.shape(ref)), ref in node.parents]
        for port, ref in node.refs()
    ]
    if isinstance(node.op, Block):
        detail["settings"] = [
            [name, _value(value)] for name, value in node.op.model_dump(mode="json").items()
        ]
    if isinstance(node.op, Group):
        detail["features"] = _features(node.op, graph, recipe)
    elif line.parameters is not None:
        detail["parameters"] = count(line.parameters)
        detail["flops"] = "?" if line.flops_per_row is None else count(line.flops_per_row)
    detail["bytes"] = memory(line.output_bytes)
    choice = node.kernel
    if isinstance(node.op, Group):
        choice = graph.table_kernels.get("embeddings")
    if choice is not None and choice.layer != "auto":
        detail["kernel"] = {"asked": choice.asked, "chosen": choice.chosen, "why": choice.why}
    if side := graph.side(node):
        detail["runs"] = SIDES[side]
    for key, value in (("shares", node.shares), ("was", node.was), ("note", node.note)):
        if value:
            detail[key] = value
    return detail


def _doc(node: Node) -> str:
    if isinstance(node.op, Block):
        return " ".join((type(node.op).__doc__ or "").split("\n\n")[0].split())
    if isinstance(node.op, Group):
        if node.op.sequence:
            return f"A history of {len(node.op.keys)} features, step by step."
        return "Features, looked up and put side by side."
    return f"Expression: {node.op.text}"


def _written(node: Node, recipe: Recipe) -> Detail:
    if node.span is not None:
        return said(recipe, node.span)
    if node.name == "all":
        return {"at": "built in: every feature that is no sequence"}
    return {}


def _features(group: Group, graph: Graph, recipe: Recipe) -> list[Detail]:
    """Every column of a group with its table, and where the recipe declares it."""
    lookups = {x.column: x for x in (*graph.first_order, *graph.lookups)}
    tables = {table.name: table for table in graph.tables}
    columns = []
    for column in dict.fromkeys((*group.features, *group.query, *group.keys)):
        sequence, _, base = column.partition(".")
        feature = recipe.features.get(sequence)
        what: str = feature.type if feature is not None else ""
        lookup = lookups.get(column)
        if lookup is not None and lookup.table is not None:
            table = tables.get(lookup.table)
            rows = "rows by the data" if table is None or table.rows is None else f"{table.rows:,}"
            what += f" · table {lookup.table} ({rows} × {lookup.dim})"
        span = recipe.origin.key(f"features.{sequence}") if recipe.origin else None
        columns.append({"name": column, "what": what, "at": said(recipe, span).get("at", "")})
    return columns


def _task(output: Output, graph: Graph, recipe: Recipe) -> Detail:
    span = output.span or (recipe.origin.key(f"tasks.{output.task}") if recipe.origin else None)
    detail: Detail = {"doc": f"Task: a {output.form} prediction.", **said(recipe, span)}
    ref = output.ref
    detail["inputs"] = [["", ref.node, ref.port, str(graph.shape(ref)), False]]
    task = recipe.tasks.get(output.task)
    if task is not None:
        rows = [
            ["label", task.label.column if task.label else "none: read by other tasks only"],
            ["loss", ", ".join(task.loss) or "none"],
            ["metrics", ", ".join(map(str, task.metrics))],
            ["space", f"{task.space.label} > 0" if task.space else ""],
        ]
        detail["settings"] = [row for row in rows if row[1]]
    return detail


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return "—" if value is None else str(value)
