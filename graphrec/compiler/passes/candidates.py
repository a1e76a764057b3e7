"""The candidate split: a second graph for one request beside its candidates.

What depends on the request alone stays one row; where it meets the candidates, explicit nodes
split, concatenate or broadcast it. The scores are those of the plain graph on rows that repeat the
request, for less work: with 500 candidates a user's tower runs once instead of 500 times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from graphrec.blocks.base import Block
from graphrec.compiler.layer_args import is_mask, layer
from graphrec.compiler.passes.group_sides import GroupSides
from graphrec.compiler.passes.sides import side_of_term, sides_of
from graphrec.compiler.target import Target
from graphrec.graph import Graph, Group, Node, Ref, Side
from graphrec.recipe.expressions import (
    Apply,
    Arithmetic,
    Compare,
    Expression,
    Name,
    Negative,
    Term,
)

__all__ = ["candidate_split"]


def candidate_split(graph: Graph, target: Target) -> Graph:
    """For inference, rewrite the graph for one request with many candidates, as `scoring`.

    Nothing changes where all features are of one side: then there is nothing to split.
    """
    if target.purpose != "inference":
        return graph
    sides = sides_of(graph)
    if not sides:
        return graph
    graph = replace(graph, sides=sides)
    return replace(graph, scoring=_Rewriting(graph).graph())


class _Rewriting(GroupSides):
    """The nodes of the scoring graph, added one by one; groups when something reads them."""

    def graph(self) -> Graph:
        for node in self.plain.nodes:
            if isinstance(node.op, Group) or self.plain.side(node) is None:
                continue
            if isinstance(node.op, Expression):
                self._expression(node, node.op)
            else:
                self._block(node)
        outputs = [replace(o, ref=self.every_row(o.ref)) for o in self.plain.outputs]
        exports = tuple(self.every_row(ref) for ref in self.plain.exports)
        scoring = replace(self.plain, outputs=tuple(outputs), exports=exports, sides={})
        return scoring.with_nodes(self.nodes.values())

    # ---- blocks -----------------------------------------------------------------------------

    def _block(self, node: Node) -> None:
        assert isinstance(node.op, Block)
        side = self.plain.side(node)
        assert side is not None
        if side == "both":  # a concatenation: its readers take it in two parts
            refs = tuple(self.value(ref) for _, ref in node.refs())
            self.concat(node.name, refs, node)
            return
        inputs: dict[str, Ref | tuple[Ref, ...]] = {}
        for port in node.op.ports():
            value = node.inputs.get(port.name)
            if value is None:
                continue
            if isinstance(value, Ref) and is_mask(self.plain, value):
                inputs[port.name] = self.value(value)
                continue
            refs = (value,) if isinstance(value, Ref) else value
            if side == "request":
                read = tuple(self.value(ref) for ref in refs)
                inputs[port.name] = read[0] if isinstance(value, Ref) else read
            elif port.variadic:
                inputs[port.name] = tuple(
                    self._argument(node, port.name, (ref,), True) for ref in refs
                )
            else:
                inputs[port.name] = self._argument(node, port.name, refs, False)
        outputs = {port: self.sized(shape, side) for port, shape in node.outputs.items()}
        self.add(replace(node, inputs=inputs, outputs=outputs))

    def _argument(self, node: Node, port: str, refs: tuple[Ref, ...], variadic: bool) -> Ref:
        """What a layer that runs for every candidate reads at a port, as one value."""
        splits, spreads = (port in ports for ports in _promises(node))
        read = {self.sides[ref] for ref in refs}
        name = f"{node.name}.{port}"
        if read == {"request"}:
            joined = self._joined(name, [self.value(ref) for ref in refs])
            # the layer repeats the row itself, or takes it as the request's part of a split
            if spreads or (splits and variadic):
                return joined
            return self.broadcast(refs[0] if len(refs) == 1 else joined, joined)
        vectors = all(self.plain.shape(ref).rank == 2 for ref in refs)
        if splits and vectors and read != {"candidates"}:
            values = [self.value(ref) for ref in refs]
            return values[0] if len(values) == 1 else self.concat(name, tuple(values))
        return self._joined(name, [self.every_row(ref) for ref in refs])

    def _joined(self, name: str, refs: list[Ref]) -> Ref:
        """Values of equally many rows side by side."""
        if len(refs) == 1:
            return refs[0]
        names = [str(ref) for ref in refs]
        tree = Apply("concat", tuple(Name(written) for written in names))
        return self.express(name, tree, dict(zip(names, refs, strict=True)))

    # ---- expressions ------------------------------------------------------------------------

    def _expression(self, node: Node, expression: Expression) -> None:
        refs = {written: ref for written, ref in node.inputs.items() if isinstance(ref, Ref)}
        side, tree = self.sides[Ref(node.name)], expression.tree
        if side == "both" and isinstance(tree, Apply):
            parts = [self._part(f"{node.name}.{i}", arg, refs) for i, arg in enumerate(tree.args)]
            self.concat(node.name, tuple(parts), node)
            return
        read: dict[str, Ref] = {}
        if side == "candidates":
            tree = self._with_rows(node.name, tree, refs, read)
        else:
            read = {written: self.value(ref) for written, ref in refs.items()}
        outputs = {port: self.sized(shape, side) for port, shape in node.outputs.items()}
        self.add(replace(node, op=replace(expression, tree=tree), inputs=read, outputs=outputs))

    def _part(self, name: str, term: Term, refs: dict[str, Ref]) -> Ref:
        """A part of a concatenation as a node: a reference is one already."""
        if isinstance(term, Name):
            return self.value(refs[term.ref])
        read: dict[str, Ref] = {}
        sides = {written: self.sides[ref] for written, ref in refs.items()}
        if side_of_term(term, sides) == "request":
            read = {n.ref: self.value(refs[n.ref]) for n in Expression("", term).names()}
        else:
            term = self._with_rows(name, term, refs, read)
        return self.express(name, term, read)

    def _with_rows(self, name: str, term: Term, refs: dict[str, Ref], read: dict[str, Ref]) -> Term:
        """The term for all candidates, and in `read` the values that it names.

        Arithmetic repeats a row by itself; joining does not, and a history or a split value has
        to be whole.
        """
        if isinstance(term, Name):
            ref = refs[term.ref]
            whole = self.sides[ref] == "both" or self.plain.shape(ref).is_jagged
            return self._named(self.every_row(ref) if whole else self.value(ref), read)
        if isinstance(term, Negative):
            return replace(term, operand=self._with_rows(name, term.operand, refs, read))
        if isinstance(term, Arithmetic | Compare):
            left = self._with_rows(name, term.left, refs, read)
            return replace(term, left=left, right=self._with_rows(name, term.right, refs, read))
        if not isinstance(term, Apply):
            return term
        joins = term.function in ("concat", "stack") and not self._is_of_request(term, refs)
        args: list[Term] = []
        for arg in term.args:
            if joins and self._is_of_request(arg, refs):
                row = self._part(f"{name}.{len(read)}", arg, refs)
                source = refs[arg.ref] if isinstance(arg, Name) else row
                args.append(self._named(self.broadcast(source, row), read))
            else:
                args.append(self._with_rows(name, arg, refs, read))
        return replace(term, args=tuple(args))

    def _is_of_request(self, term: Term, refs: dict[str, Ref]) -> bool:
        """Whether the term has one row here: histories of the request are repeated already."""
        sides: dict[str, Side] = {
            written: "candidates" if self.plain.shape(ref).is_jagged else self.sides[ref]
            for written, ref in refs.items()
        }
        return side_of_term(term, sides) == "request"

    @staticmethod
    def _named(ref: Ref, read: dict[str, Ref]) -> Name:
        read[str(ref)] = ref
        return Name(str(ref))


def _promises(node: Node) -> tuple[Iterable[str], Iterable[str]]:
    """Ports that take a split value and ports that take one row, for the layer that runs."""
    assert isinstance(node.op, Block)
    named = ":".join(layer(node))
    kernels = (node.op.kernel(name) for name in node.op.kernels)
    torch = node.op.kernel("torch")
    kept = any(k and k.layer == named and (k.splits or k == torch) for k in kernels)
    return (node.op.splits, node.op.spreads) if kept else ((), ())
