"""What a model is made of, in numbers: nodes, tables, totals; as text or as data.

Shapes, kernels and tables come from the graph. Parameters and FLOPs need the module itself:
`measure` counts them, and without its `Cost`s those columns stay open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphrec.compiler.kernel_lock import NAME
from graphrec.graph import Graph, KernelChoice, Lookup, Node, Side, Table
from graphrec.ground.errors import printable
from graphrec.ground.shapes import Shape
from graphrec.ground.text import aligned, count, memory

__all__ = ["Cost", "Description", "NodeLine", "TableLine", "describe"]

_BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Cost:
    """What the module says of one node: its own parameters, and floating point operations a row.

    A multiplication and an addition count as two. `flops` is None where they can't be counted.
    """

    parameters: int = 0
    flops: int | None = 0


@dataclass(frozen=True)
class NodeLine:
    """One node. `output_bytes` are the bytes of its outputs for one row, fp32."""

    name: str
    block: str
    role: str
    outputs: Mapping[str, str]
    parameters: int | None
    flops_per_row: int | None
    output_bytes: int
    kernel_asked: str | None
    kernel: str | None
    kernel_why: str
    line: str | None
    side: Side | None = None
    """For inference on a model of two sides: `request` runs once, the others per candidate."""


@dataclass(frozen=True)
class TableLine:
    """One embedding table; `rows` is None where the training data decides (`vocab: fit`)."""

    name: str
    rows: int | None
    dim: int
    bytes: int | None
    dtype: str
    trainable: bool
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """Everything `graphrec describe` tells."""

    name: str
    description: str
    nodes: tuple[NodeLine, ...]
    tables: tuple[TableLine, ...]
    tasks: Mapping[str, str]
    remarks: tuple[str, ...] = field(default=())
    table_kernels: Mapping[str, KernelChoice] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The description as plain data, with totals."""
        return {**asdict(self), "totals": self.totals()}

    def totals(self) -> dict[str, int | None]:
        """Sums over nodes and tables; None where a summand is not known."""
        return {
            "parameters": _sum(node.parameters for node in self.nodes),
            "flops_per_row": _sum(node.flops_per_row for node in self.nodes),
            "table_rows": _sum(table.rows for table in self.tables),
            "table_bytes": _sum(table.bytes for table in self.tables),
        }

    def as_text(self) -> str:
        """The description as aligned columns."""
        parts = [self._nodes(), self._tables(), *self.remarks]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _nodes(self) -> str:
        totals = self.totals()
        split = any(node.side for node in self.nodes)
        head = ["node", "block", "output", "parameters", "FLOPs/row", "bytes/row"]
        rows = [[*head, *(["runs"] if split else []), "kernel"]]
        for node in self.nodes:
            source = node.role == "group"
            rows.append(
                [
                    node.name,
                    node.block,
                    _outputs(node.outputs),
                    "" if source else _number(node.parameters),
                    "" if source else _number(node.flops_per_row),
                    memory(node.output_bytes),
                    *([_RUNS[node.side]] if split else []),
                    _kernel(node),
                ]
            )
        last = [_number(totals["parameters"]), _number(totals["flops_per_row"])]
        rows.append([f"total: {len(self.nodes)} nodes", "", "", *last])
        return "\n".join(
            [
                *(printable(text) for text in (self.name, self.description) if text),
                *("", ""),
            ]
        ) + aligned(rows, right=frozenset({3, 4, 5}))

    def _tables(self) -> str:
        if not self.tables:
            return ""
        rows = [["table", "rows", "dim", "memory", "columns"]]
        for table in self.tables:
            size = "fit: after the scan" if table.rows is None else f"{table.rows:,}"
            columns = list(table.columns)
            shown = ", ".join(columns[:4]) + (f", +{len(columns) - 4}" if columns[4:] else "")
            frozen = "" if table.trainable else " (frozen)"
            used = "" if table.bytes is None else memory(table.bytes)
            rows.append([table.name, size, str(table.dim), used, shown + frozen])
        known = [table for table in self.tables if table.rows is not None]
        total = sum(table.rows or 0 for table in known), sum(table.bytes or 0 for table in known)
        more = "" if len(known) == len(self.tables) else " and what is fitted"
        count_of = f"total: {len(self.tables)} tables"
        rows.append([count_of, f"{total[0]:,}", "", memory(total[1]), more.strip()])
        chosen = [[f"kernel of {s}", str(choice)] for s, choice in self.table_kernels.items()]
        return "\n\n".join([aligned(rows, right=frozenset({1, 2, 3})), aligned(chosen)]).rstrip()


def describe(
    graph: Graph,
    costs: Mapping[str, Cost] | None = None,
    *,
    lengths: Mapping[str, int] | None = None,
    rows: Mapping[str, int] | None = None,
    remarks: tuple[str, ...] = (),
) -> Description:
    """Describe `graph`: `costs` by node, `lengths` of sequences, `rows` of fitted tables."""
    lengths, rows = lengths or {}, rows or {}
    return Description(
        name=graph.name,
        description=graph.description,
        nodes=tuple(_node(graph, node, costs, lengths) for node in graph.nodes),
        tables=tuple(
            _table(table, lookups, rows)
            for tables, lookups in (
                (graph.tables, graph.lookups),
                (graph.first_order_tables, graph.first_order),
            )
            for table in tables
        ),
        tasks={output.task: output.form for output in graph.outputs},
        remarks=remarks,
        table_kernels=graph.table_kernels,
    )


def _node(
    graph: Graph, node: Node, costs: Mapping[str, Cost] | None, lengths: Mapping[str, int]
) -> NodeLine:
    cost = (costs or {}).get(node.name, Cost(0, 0) if costs is not None else None)
    return NodeLine(
        name=node.name,
        block=node.label,
        role=node.role,
        outputs={port: str(shape) for port, shape in node.outputs.items()},
        parameters=cost.parameters if cost else None,
        flops_per_row=cost.flops if cost else None,
        output_bytes=sum(_size(shape, lengths) for shape in node.outputs.values()),
        kernel_asked=node.kernel.asked if node.kernel else None,
        kernel=node.kernel.chosen if node.kernel else None,
        kernel_why=node.kernel.why if node.kernel else "",
        line=str(node.span) if node.span else None,
        side=graph.side(node),
    )


def _size(shape: Shape, lengths: Mapping[str, int]) -> int:
    """Bytes a row: a history counts at its longest."""
    size = 1 if shape.dtype == "bool" else 4
    for dim in shape.dims[1:]:
        size *= dim if isinstance(dim, int) else lengths.get(dim.partition(".")[2], 1)
    return size


def _table(table: Table, lookups: tuple[Lookup, ...], rows: Mapping[str, int]) -> TableLine:
    number = table.rows if table.rows is not None else rows.get(table.name)
    return TableLine(
        name=table.name,
        rows=number,
        dim=table.dim,
        bytes=None if number is None else number * table.dim * _BYTES[table.dtype],
        dtype=table.dtype,
        trainable=table.trainable,
        columns=tuple(lookup.column for lookup in lookups if lookup.table == table.name),
    )


_RUNS: Mapping[Side | None, str] = {
    "request": "once per request",
    "candidates": "per candidate",
    "both": "in two parts",
    None: "",
}
"""`both`: features of user and item side by side, which a layer reads part by part."""


def _outputs(outputs: Mapping[str, str]) -> str:
    if len(outputs) > 1 and len(set(outputs.values())) == 1:
        return f"{len(outputs)} x {next(iter(outputs.values()))}"
    return "  ".join(f"{port} {shape}".strip() for port, shape in outputs.items())


def _kernel(node: NodeLine) -> str:
    if node.kernel is None:
        return ""
    plain = node.kernel_asked == "auto" and node.kernel == "torch"
    if node.kernel_asked == node.kernel and node.kernel_why:
        return f"{node.kernel}: {node.kernel_why}"
    if node.kernel_asked == node.kernel or (plain and NAME not in node.kernel_why):
        return node.kernel
    return f"{node.kernel_asked} -> {node.kernel}: {node.kernel_why}"


def _number(number: int | None) -> str:
    return "?" if number is None else count(number)


def _sum(numbers: Any) -> int | None:
    known = list(numbers)
    return None if None in known else sum(known)
