"""The method `score`: one request beside its candidates, what depends on the request alone once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphrec.blocks.base import Block
from graphrec.compiler.codegen.forward import comment, group_text, is_mask, results
from graphrec.compiler.codegen.stacks import is_follower, reserve, stack
from graphrec.compiler.codegen.state import State, dropout, group_columns, layer, port_columns
from graphrec.compiler.codegen.terms import render
from graphrec.compiler.codegen.writer import Call, Raw, Writer, literal
from graphrec.compiler.passes.candidates import roots, side_of_columns, side_of_term
from graphrec.graph import Group, Node, Ref, Side
from graphrec.recipe.expressions import Apply, Arithmetic, Compare, Expression, Name, Negative, Term
from graphrec.shapes import Shape

__all__ = ["score", "split_constants"]

_COLLECTIONS = {"embeddings": ("asked", "embedded"), "first_order": ("asked_first", "first")}
"""The variables with what was looked up: of the request, of the candidates."""
_LOCALS = frozenset({"request", "candidates", "asked", "asked_first"})
_ROWS = Name("<rows>")
_SIDES: tuple[Side, Side] = ("request", "candidates")


def split_constants(state: State) -> None:
    """The columns of groups with both sides, each side by itself: ALL_REQUEST, ALL_CANDIDATES."""
    for node in state.graph.nodes:
        if not isinstance(node.op, Group):
            continue
        for suffix, columns in group_columns(state.graph, node).items():
            if _both(state, node, suffix, columns):
                for side in _SIDES:
                    name = state.constants.take(f"{node.name}{suffix}_{side}".upper())
                    state.groups[node.name, f"{suffix}_{side}"] = name
                    own = tuple(c for c in columns if side_of_columns(state.graph, (c,)) == side)
                    state.writer.assign(name, own, 0)


def score(state: State) -> str:
    """Write the method, where the graph has two sides; its name, or nothing."""
    if not state.graph.sides:
        return ""
    taken = any(state.attributes.take(node.name) == "score" for node in state.graph.nodes)
    name = "score_" if taken else "score"  # a node of that name keeps its attribute and its keys
    writer = state.writer
    state.locals, state.writer = state.locals.fresh(_LOCALS), Writer()
    reserve(state)
    method = _Method(state)
    for node in state.graph.nodes:
        if any(ref.node == node.name for ref in state.graph.sides):
            method.node(node)
    method.ends()
    body, state.writer = state.writer, writer
    writer.line()
    writer.line(f"def {name}(self, request: Batch, candidates: Batch) -> dict[str, Tensor]:", 4)
    writer.line('"""The predictions of `forward` for the B candidates of one request."""', 8)
    if method.counted:
        writer.line("rows = candidates.num_rows", 8)
    for place, batch in enumerate(("F.one_row(request)", "candidates.features")):
        like: dict[str, Raw] = {}
        for collection, variables in _COLLECTIONS.items():
            if variables[place] in method.embedded:
                named = {"partial": Raw("True"), **like}
                call = Call(f"self.{collection}", [Raw(batch)], named)
                writer.assign(variables[place], call, 8)
                like = {"like": Raw(variables[place])}
    start = len(writer.lines)
    writer.lines += body.lines
    writer.owner.update({start + line: owner for line, owner in body.owner.items()})
    state.uses_functions = True
    return name


class _Method:
    """The body: statements node by node, and what they need from before them."""

    def __init__(self, state: State) -> None:
        self.state, self.graph = state, state.graph
        self.sides = state.graph.sides
        self.embedded: set[str] = set()
        self.counted = False
        self.wholes: set[Ref] = set()

    def node(self, node: Node) -> None:
        if isinstance(node.op, Group):
            self._group(node, node.op)
        elif isinstance(node.op, Expression):
            self._assign(node, Ref(node.name), Raw(self._expression(node, node.op)))
        elif self._together(node):
            if not is_follower(node):
                rows = "1" if self.sides[Ref(node.name)] == "request" else "B"
                stack(self.state, node, lambda _, one: self._arguments(one), comment(node, rows))
        else:
            self._apply(node)

    def ends(self) -> None:
        """Every result with one row per candidate, and the return."""
        for ref in dict.fromkeys(roots(self.graph)):
            if self.sides[ref] != "candidates":
                value, shape = self._rows(self._variable(ref)), str(self.graph.shape(ref))
                self.state.writer.assign(self.state.variable(ref), value, 8, shape, ref.node)
        results(self.state, losses=False)

    # ---- values ------------------------------------------------------------------------------

    def _assign(self, node: Node, ref: Ref, value: Any) -> None:
        side = self.sides[ref]
        shape = str(self.graph.shape(ref))
        if side != "candidates":
            shape = shape.replace("[B", "[1" if side == "request" else "[1|B")
        self.state.writer.assign(self.state.variable(ref), value, 8, shape, node.name)

    def _variable(self, ref: Ref) -> Raw:
        return Raw(self.state.variable(ref))

    def _rows(self, value: Any) -> Call:
        self.counted = True
        return Call("F.rows", [value, Raw("rows")])

    def _whole(self, ref: Ref) -> Raw:
        """The variable with a split value as one tensor, made when it is first needed."""
        name = self.state.locals.take(f"{ref}.whole")
        if ref not in self.wholes:
            self.wholes.add(ref)
            value = self._rows(self._variable(ref))
            self.state.writer.assign(name, value, 8, str(self.graph.shape(ref)), ref.node)
        return Raw(name)

    def _full(self, ref: Ref) -> Raw | Call:
        """The value with one row for each candidate."""
        side, variable = self.sides[ref], self._variable(ref)
        if side == "both":
            return self._whole(ref)
        return variable if side == "candidates" else self._rows(variable)

    # ---- groups ------------------------------------------------------------------------------

    def _group(self, node: Node, group: Group) -> None:
        columns = group_columns(self.graph, node)
        for port, shape in node.outputs.items():
            ref, suffix = Ref(node.name, port), port_columns(group, port)
            if not _is_read(self.state, ref):
                continue
            both = (node.name, f"{suffix}_request") in self.state.groups
            if dropout(group) and port in ("", "fields"):
                value = self._dropped(node, group, port, shape)
            elif both:
                value = self._of_both(node, group, port, shape)
            else:
                side = side_of_columns(self.graph, columns[suffix])
                value = self._read(group, port, shape, self.state.groups[node.name, suffix], side)
            self._assign(node, ref, value)

    def _read(self, group: Group, port: str, shape: Shape, columns: str, side: Side) -> Raw:
        place = _SIDES.index(side)
        embedded, first = (variables[place] for variables in _COLLECTIONS.values())
        self.embedded.add(first if port == "linear" else embedded)
        return Raw(group_text(group, port, shape, columns, embedded, first))

    def _of_both(self, node: Node, group: Group, port: str, shape: Shape) -> Any:
        """A port whose columns are of both sides."""
        suffix, read = port_columns(group, port), "" if port == "fields" else port
        names = [self.state.groups[node.name, f"{suffix}_{side}"] for side in _SIDES]
        if port == "fields" and _is_read(self.state, Ref(node.name)):
            whole = self._whole(Ref(node.name))
            return Raw(f"{whole.text}.unflatten(1, ({shape.dims[1]}, -1))")
        ours, theirs = (
            self._read(group, read, shape, name, side)
            for name, side in zip(names, _SIDES, strict=True)
        )
        if port == "linear":
            name = self.state.variable(Ref(node.name, port))
            self.state.writer.assign(name, ours, 8, str(shape).replace("[B", "[1"), node.name)
            return Raw(f"{name} + {theirs.text}")
        columns = group_columns(self.graph, node)[suffix]
        split = Call(self.state.use("Split"), [ours, theirs, self._layout(columns, port)])
        if port != "fields":
            return split
        name = self.state.variable(Ref(node.name, port))
        self.state.writer.assign(name, split, 8, f"[1|B, {shape.width}] each", node.name)
        return Raw(f"{name}.whole().unflatten(1, ({shape.dims[1]}, -1))")

    def _layout(self, columns: tuple[str, ...], port: str) -> list[int]:
        """Widths of neighbours of one side, in turn, those of the request first."""
        known = {lookup.column: lookup for lookup in self.graph.lookups}
        layout: list[int] = [0]
        for column in columns:
            lookup = known[column]
            if (len(layout) - 1) % 2 != _SIDES.index(lookup.side):
                layout.append(0)
            layout[-1] += lookup.width if port == "values" else lookup.dim
        return layout

    def _dropped(self, node: Node, group: Group, port: str, shape: Shape) -> Raw:
        """What variational dropout has scaled; its penalty is no prediction."""
        name = self.state.variable(Ref(node.name))
        if port == "fields":
            return Raw(f"{name}.unflatten(1, ({shape.dims[1]}, -1))")
        columns = group_columns(self.graph, node)[""]
        side = side_of_columns(self.graph, columns)
        if side == "both":
            value = self._of_both(node, group, "", shape)
        else:
            value = self._read(group, "", shape, self.state.groups[node.name, ""], side)
        self.state.writer.assign(name, value, 8, "", node.name)
        end = ".whole()" if side == "both" else ""
        dropped = self.state.attributes.take(f"{node.name}.dropout")
        return Raw(f"self.{dropped}({name}{end})[0]")

    # ---- blocks ------------------------------------------------------------------------------

    def _together(self, node: Node) -> bool:
        """Whether the node's stack runs at once here too: all it reads is whole, of one side."""
        members = node.kernel.stack if node.kernel is not None else ()
        sides = {self.sides[ref] for name in members for _, ref in self.graph[name].refs()}
        return sides in ({"request"}, {"candidates"})

    def _apply(self, node: Node) -> None:
        targets = [Ref(node.name, port) for port in node.outputs]
        sides = {self.sides[ref] for ref in targets}
        names = [self.state.variable(ref) for ref in targets]
        target = ", ".join(names) + ("," if len(names) == 1 and "" not in node.outputs else "")
        owner = self.state.attributes.take(node.shares or node.name)
        args = self._arguments(node)
        call = Call("F.beside" if sides == {"both"} else f"self.{owner}", args)
        rows = {"request": "1", "both": "1|B"}.get(next(iter(sides)), "B")
        self.state.writer.assign(target, call, 8, comment(node, rows), node.name)

    def _arguments(self, node: Node) -> list[Any]:
        """What the node's layer is called with."""
        assert isinstance(node.op, Block)
        sides = {self.sides[Ref(node.name, port)] for port in node.outputs}
        args: list[Any] = []
        for port in node.op.ports():
            value = node.inputs.get(port.name)
            if value is None or is_mask(self.state, value):
                continue
            refs = (value,) if isinstance(value, Ref) else value
            if sides == {"request"}:
                found = [self._variable(ref) for ref in refs]
                args += found if port.variadic else [_joined("F.concat", found)]
            elif port.variadic:
                args += [self._argument(node, port.name, (ref,), True) for ref in refs]
            else:
                args.append(self._argument(node, port.name, refs, False))
        return args

    def _argument(self, node: Node, port: str, refs: tuple[Ref, ...], variadic: bool) -> Any:
        """What a layer that runs for every candidate reads at a port, side by side."""
        splits, spreads = (port in ports for ports in _promises(node))
        sides = {self.sides[ref] for ref in refs}
        if sides == {"request"}:
            value = _joined("F.concat", [self._variable(ref) for ref in refs])
            return value if spreads or (splits and variadic) else self._rows(value)
        vectors = all(self.graph.shape(ref).rank == 2 for ref in refs)
        if splits and vectors and sides != {"candidates"}:
            return _joined("F.beside", [self._variable(ref) for ref in refs])
        return _joined("F.concat", [self._full(ref) for ref in refs])

    # ---- expressions -------------------------------------------------------------------------

    def _expression(self, node: Node, expression: Expression) -> str:
        refs = {written: ref for written, ref in node.inputs.items() if isinstance(ref, Ref)}
        sides = {written: self.sides[ref] for written, ref in refs.items()}
        names = {written: self.state.variable(ref) for written, ref in refs.items()}
        side = self.sides[Ref(node.name)]
        if side == "request":
            return render(expression.tree, names)
        if side == "both":
            return self._beside(expression.tree, refs, sides)
        return self._spread(expression.tree, refs, sides)

    def _beside(self, tree: Term, refs: Mapping[str, Ref], sides: Mapping[str, Side]) -> str:
        if isinstance(tree, Name):
            return self.state.variable(refs[tree.ref])
        assert isinstance(tree, Apply)
        variables = {written: self.state.variable(ref) for written, ref in refs.items()}
        plain = [
            isinstance(arg, Name) or side_of_term(arg, sides) == "request" for arg in tree.args
        ]
        args = [
            render(arg, variables) if kept else self._spread(arg, refs, sides)
            for arg, kept in zip(tree.args, plain, strict=True)
        ]
        return f"F.beside({', '.join(args)})"

    def _spread(self, tree: Term, refs: Mapping[str, Ref], sides: Mapping[str, Side]) -> str:
        """A term with one row per candidate; arithmetic spreads a row, joining does not."""
        names = {
            name.ref: literal(self._full(refs[name.ref]))
            if sides[name.ref] == "both" or self.graph.shape(refs[name.ref]).is_jagged
            else self.state.variable(refs[name.ref])
            for name in Expression("", tree).names()
        }
        jagged = {written for written, ref in refs.items() if self.graph.shape(ref).is_jagged}
        made = _with_rows(tree, {w: "candidates" if w in jagged else s for w, s in sides.items()})
        self.counted |= made != tree
        return render(made, {**names, _ROWS.ref: "rows"})


def _with_rows(term: Term, sides: Mapping[str, Side]) -> Term:
    """The term with `rows` around what is joined to candidates and has one row."""
    if isinstance(term, Negative):
        return Negative(_with_rows(term.operand, sides))
    if isinstance(term, Arithmetic | Compare):
        left, right = (_with_rows(side, sides) for side in (term.left, term.right))
        return replace(term, left=left, right=right)
    if not isinstance(term, Apply) or side_of_term(term, sides) == "request":
        return term
    args = tuple(_with_rows(arg, sides) for arg in term.args)
    if term.function in ("concat", "stack"):
        args = tuple(
            Apply("rows", (arg, _ROWS)) if side_of_term(was, sides) == "request" else arg
            for arg, was in zip(args, term.args, strict=True)
        )
    return replace(term, args=args)


def _joined(function: str, values: Sequence[Raw | Call]) -> Raw | Call:
    return values[0] if len(values) == 1 else Call(function, values)


def _promises(node: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ports that take a split value and ports that take one row, for the layer that runs."""
    assert isinstance(node.op, Block)
    named = ":".join(layer(node))
    kernels = (node.op.kernel(name) for name in node.op.kernels)
    torch = node.op.kernel("torch")
    kept = any(k and k.layer == named and (k.splits or k == torch) for k in kernels)
    return (node.op.splits, node.op.spreads) if kept else ((), ())


def _is_read(state: State, ref: Ref) -> bool:
    """Whether something of the score reads an output."""
    wanted = {node.node for node in state.graph.sides}
    readers = (node for node in state.graph.nodes if node.name in wanted)
    return ref in roots(state.graph) or any(
        ref == read and not (isinstance(node.op, Block) and is_mask(state, read))
        for node in readers
        for _, read in node.refs()
    )


def _both(state: State, node: Node, suffix: str, columns: tuple[str, ...]) -> bool:
    """Whether the columns are of both sides and the score reads them."""
    group = node.op
    assert isinstance(group, Group)
    if not state.graph.sides or side_of_columns(state.graph, columns) != "both":
        return False
    ports = [port for port in node.outputs if port_columns(group, port) == suffix]
    return any(_is_read(state, Ref(node.name, port)) for port in ports)
