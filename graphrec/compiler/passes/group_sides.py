"""Groups of a scoring graph: what is read of the request's batch, what of the candidates'.

A group that mixes both is kept in two parts as long as its reader can take them so: the request's
columns beside each candidate's would be the same numbers, written and read once a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphrec.compiler.layer_args import columns_of
from graphrec.compiler.passes.sides import side_of_columns
from graphrec.graph import (
    Broadcast,
    Concat,
    Dropped,
    Graph,
    Group,
    Lookup,
    Node,
    Operation,
    Ref,
    Side,
    Split,
)
from graphrec.ground.shapes import SPLIT, B, Dim, Shape
from graphrec.recipe import expressions
from graphrec.recipe.expressions import Apply, Arithmetic, Expression, Name, Term

__all__ = ["GroupSides"]

_SIDES: tuple[Side, Side] = ("request", "candidates")
_ROWS: Mapping[Side, Dim] = {"request": 1, "candidates": B, "both": SPLIT}


class GroupSides:
    """A scoring graph under construction: its nodes, and values by references of the plain graph.

    A value has one row (`request`), a row for every candidate, or is split (`both`); `value` gives
    it as it is, `every_row` with a row for every candidate.
    """

    def __init__(self, plain: Graph) -> None:
        self.plain = plain
        self.sides = plain.sides
        self.nodes: dict[str, Node] = {}
        self._columns = {c.column: c for c in (*plain.first_order, *plain.lookups)}
        self._values: dict[Ref, Ref] = {}
        self._splits: dict[Ref, Ref] = {}
        self._broadcasts: dict[Ref, Ref] = {}

    # ---- nodes ------------------------------------------------------------------------------

    def add(self, node: Node) -> Ref:
        self.nodes[node.name] = node
        return Ref(node.name)

    def fresh(
        self, wish: str, op: Operation, inputs: Mapping[str, Ref | tuple[Ref, ...]], shape: Shape
    ) -> Ref:
        """Add a node that the plain graph does not have, under a name like `wish`."""
        name = wish
        while name in self.nodes or name in self.plain.by_name:
            name += "_"
        return self.add(Node(name, op, inputs, {"": shape}, role="expression", origin=wish))

    def sized(self, shape: Shape, side: Side) -> Shape:
        """The shape with the rows that a value of that side has."""
        return replace(shape, dims=(_ROWS[side], *shape.dims[1:]))

    def shape(self, ref: Ref) -> Shape:
        return self.nodes[ref.node].outputs[ref.port]

    def express(self, name: str, tree: Term, read: Mapping[str, Ref]) -> Ref:
        """Add an expression; it has one row if all it reads does."""
        rows = {self.shape(ref).dims[0] for ref in read.values()}
        whole = {
            written: replace(self.shape(ref), dims=(B, *self.shape(ref).dims[1:]))
            for written, ref in read.items()
        }
        side: Side = "request" if rows == {1} else "candidates"
        shape = self.sized(expressions.infer(tree, whole), side)
        return self.fresh(name, Expression("", tree), dict(read), shape)

    def concat(self, name: str, refs: tuple[Ref, ...], instead_of: Node | None = None) -> Ref:
        """Values of both sides side by side, to be read in two parts."""
        shape = Shape((SPLIT, sum(self.shape(ref).width for ref in refs)))
        if instead_of is None:
            return self.fresh(name, Concat(), {"xs": refs}, shape)
        inputs: dict[str, Ref | tuple[Ref, ...]] = {"xs": refs}
        return self.add(replace(instead_of, op=Concat(), inputs=inputs, outputs={"": shape}))

    def broadcast(self, source: Ref, value: Ref) -> Ref:
        """The value with a row for every candidate, made once for all readers of `source`."""
        if source not in self._broadcasts:
            shape = self.sized(self.shape(value), "candidates")
            self._broadcasts[source] = self.fresh(
                f"{source}.rows", Broadcast(), {"x": value}, shape
            )
        return self._broadcasts[source]

    # ---- values -----------------------------------------------------------------------------

    def value(self, ref: Ref) -> Ref:
        """What became of an output of the plain graph."""
        node = self.plain[ref.node]
        if not isinstance(node.op, Group):
            return ref
        if ref not in self._values:
            self._values[ref] = self._port(node, node.op, ref)
        return self._values[ref]

    def every_row(self, ref: Ref) -> Ref:
        """The same with a row for every candidate."""
        value = self.value(ref)
        return value if self.sides[ref] == "candidates" else self.broadcast(ref, value)

    def _port(self, node: Node, group: Group, ref: Ref) -> Ref:
        shape = node.outputs[ref.port]
        if group.regularize and ref.port in ("", "fields"):
            return self._dropped(node, group, ref)
        columns = columns_of(self.plain, group, ref.port)
        side = side_of_columns(self.plain, columns)
        if side != "both":
            return self._read(node.name, group, ref.port, shape, side)
        if ref.port == "fields":
            return self._fields(str(ref), self._whole(node, group, ""), shape)
        if ref.port == "linear":
            return self._sum(node, group, shape)
        joined = self._split(node, group, ref.port)
        return joined if self.sides[ref] == "both" else self.broadcast(ref, joined)

    def _read(self, name: str, group: Group, port: str, shape: Shape, side: Side) -> Ref:
        """A port of columns of one side, read from the batch of that side."""
        known = self.nodes.get(name)
        outputs = {**(known.outputs if known else {}), port: self.sized(shape, side)}
        op = replace(group, regularize={})
        self.add(Node(name, op, {}, outputs, role="group", origin=name))
        return Ref(name, port)

    def _pieces(self, node: Node, group: Group, port: str) -> list[Ref]:
        """The columns of each side by themselves."""
        pieces = []
        for side in _SIDES:
            features, query = (
                tuple(c for c in columns if self._columns[c].side == side)
                for columns in (group.features, group.query)
            )
            own = replace(group, features=features, query=query)
            widths = [self._width(c, port) for c in columns_of(self.plain, own, port)]
            width = node.outputs[port].width if port == "linear" else sum(widths)
            pieces.append(self._read(f"{node.name}.{side}", own, port, Shape((B, width)), side))
        return pieces

    def _width(self, column: str, port: str) -> int:
        lookup = self._columns[column]
        return lookup.width if port == "values" else lookup.dim

    def _split(self, node: Node, group: Group, port: str) -> Ref:
        """Columns of both sides in their order, as a split value."""
        ref = Ref(node.name, port)
        if ref not in self._splits:
            columns = columns_of(self.plain, group, port)
            pieces = self._pieces(node, group, port)
            layout = self._layout(columns, port)
            shape = Shape((SPLIT, sum(layout)))
            inputs = {"request": pieces[0], "candidates": pieces[1]}
            self._splits[ref] = self.fresh(f"{ref}.both", Split(layout), inputs, shape)
        return self._splits[ref]

    def _layout(self, columns: Sequence[str], port: str) -> tuple[int, ...]:
        """Widths of neighbours of one side, in turn, those of the request first."""
        layout: list[int] = [0]
        for column in columns:
            lookup: Lookup = self._columns[column]
            if (len(layout) - 1) % 2 != _SIDES.index(lookup.side):
                layout.append(0)
            layout[-1] += self._width(column, port)
        return tuple(layout)

    def _whole(self, node: Node, group: Group, port: str) -> Ref:
        """Columns of both sides with a row for every candidate."""
        return self.broadcast(Ref(node.name, port), self._split(node, group, port))

    def _fields(self, name: str, vector: Ref, shape: Shape) -> Ref:
        sizes = tuple(size for size in shape.dims[1:] if isinstance(size, int))
        tree = Apply("reshape", (Name("x"),), sizes)
        return self.express(name, tree, {"x": vector})

    def _sum(self, node: Node, group: Group, shape: Shape) -> Ref:
        """First-order terms are a sum: one row of the request's, added to every candidate's."""
        ours, theirs = self._pieces(node, group, "linear")
        tree = Arithmetic("+", Name("ours"), Name("theirs"))
        read = {"ours": ours, "theirs": theirs}
        return self.express(f"{node.name}.linear", tree, read)

    def _dropped(self, node: Node, group: Group, ref: Ref) -> Ref:
        """Features that variational dropout has scaled: its layer reads them as one tensor."""
        if ref.port == "fields":
            vector = self.value(Ref(node.name))
            return self._fields(str(ref), vector, node.outputs["fields"])
        side = side_of_columns(self.plain, group.features)
        width = sum(self._columns[c].dim for c in group.features)
        if side == "both":
            read = self._whole(node, group, "")
        else:
            name = f"{node.name}.features"
            read = self._read(name, group, "", Shape((B, width)), side)
        return self.fresh(f"{node.name}.dropped", Dropped(node.name), {"x": read}, self.shape(read))
