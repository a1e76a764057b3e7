"""One node of the recipe -> nodes of the graph: modifiers, composites, shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from graphrec.block import Block, TaskNames
from graphrec.build.bind import Binder, Place
from graphrec.build.composites import check_parameters, substitute
from graphrec.build.context import Bundle, Failed, Value
from graphrec.build.express import ExpressionBuilder
from graphrec.build.scope import Scope
from graphrec.errors import suggestion
from graphrec.graph import KernelChoice, Node, Ref
from graphrec.recipe.findings import from_pydantic
from graphrec.recipe.model import Composite, NodeSpec
from graphrec.shapes import Shape, ShapeError

__all__ = ["NodeBuilder"]


class NodeBuilder(ExpressionBuilder):
    """Adds nodes to a graph under construction."""

    def __init__(self, scope: Scope, task_names: tuple[str, ...]) -> None:
        super().__init__(scope.context, scope.nodes)
        self.task_names = task_names
        self.binder = Binder(scope.context)
        self._depth = 0

    # ---- modifiers, outermost first -----------------------------------------------------------

    def add(self, name: str, spec: NodeSpec | str, scope: Scope, place: Place) -> Value:
        """Build one entry of a `graph:`; returns what its name means."""
        if isinstance(spec, str):
            return self.expression(name, spec, scope, place)
        if not spec.enabled:
            return self._identity(name, spec, scope, place)
        if spec.each is None:
            return self._parallel(name, spec, scope, place)
        keys = self._names(spec.each, f"{place.path}.each")
        copy = spec.model_copy(update={"each": None})
        made = {}
        for key in keys:
            inner = replace(place, keys=(key, *place.keys))
            shared = (
                f"{spec.share}.{key}"
                if spec.share and f"{spec.share}.{key}" in self.nodes
                else spec.share
            )
            made[key] = self._parallel(
                f"{name}.{key}", copy.model_copy(update={"share": shared}), scope, inner
            )
        return Bundle(made)

    def _names(self, value: str | tuple[str, ...], path: str) -> tuple[str, ...]:
        if value == "tasks":
            return self.task_names
        if isinstance(value, str):
            raise self.context.fail(
                "GR204", path, f"expected `tasks` or a list of names, got `{value}`"
            )
        return value

    def _parallel(self, name: str, spec: NodeSpec, scope: Scope, place: Place) -> Value:
        if spec.parallel is None:
            if spec.join is not None:
                raise self.context.fail(
                    "GR205",
                    f"{place.path}.join",
                    "`join` needs `parallel`: there is nothing to join",
                )
            return self._repeat(name, spec, scope, place)
        count = spec.parallel
        keys = tuple(f"p{i}" for i in range(count)) if isinstance(count, int) else count
        copy = spec.model_copy(update={"parallel": None, "join": None})
        made = {
            k: self._repeat(f"{name}.{k}", copy, scope, replace(place, keys=(k, *place.keys)))
            for k in keys
        }
        if spec.join is None:
            return Bundle(made)
        refs = [scope.one(v, f"{name}.{k}", f"{place.path}.join") for k, v in made.items()]
        return self.join(name, spec.join, refs, scope, place)

    def _repeat(self, name: str, spec: NodeSpec, scope: Scope, place: Place) -> Value:
        if spec.repeat is None:
            for field in ("carry", "tied"):
                if getattr(spec, field):
                    raise self.context.fail(
                        "GR205", f"{place.path}.{field}", f"`{field}` needs `repeat`"
                    )
            return self._residual(name, spec, scope, place)
        carry = self._carried(spec, place)
        copy = spec.model_copy(update={"repeat": None, "carry": None, "tied": False})
        value: Value | None = None
        for step in range(spec.repeat):
            step_name = f"{name}.s{step}"
            if step and spec.tied:
                copy = copy.model_copy(update={"share": f"{name}.s0"})
            fed = (
                {}
                if value is None
                else {carry: scope.one(value, step_name, f"{place.path}.repeat")}
            )
            value = self._residual(step_name, copy, scope, place, fed)
        assert value is not None
        return value

    def _carried(self, spec: NodeSpec, place: Place) -> str:
        ports = [port.name for port in self.binder.ports(spec, place) if port.required]
        if spec.carry is None:
            if len(ports) == 1:
                return ports[0]
            raise self.context.fail(
                "GR205",
                f"{place.path}.repeat",
                f"`repeat` of a block with ports {', '.join(ports)} needs `carry`",
                f"say which port the output feeds next time:  carry: {ports[-1] if ports else 'x'}",
            )
        if spec.carry not in ports:
            raise self.context.fail(
                "GR302",
                f"{place.path}.carry",
                f"block `{spec.block}` has no port `{spec.carry}`",
                suggestion(spec.carry, ports),
            )
        return spec.carry

    def _residual(
        self,
        name: str,
        spec: NodeSpec,
        scope: Scope,
        place: Place,
        fed: Mapping[str, Ref] | None = None,
    ) -> Value:
        # parameters and inputs are judged apart, so that mistakes in both are told at once
        settled, inputs = self._settle(spec, place), self.binder.bind(spec, scope, place)
        if settled is None:
            raise Failed
        inputs.update(fed or {})
        if isinstance(settled, Block):
            value = self.primitive(name, settled, inputs, scope, place, spec)
        else:
            value = self._composite(name, settled, spec, inputs, scope, place)
        if not spec.residual:
            return value
        first = next(iter(inputs.values()))
        out = scope.one(value, name, f"{place.path}.residual")
        if isinstance(first, tuple) or scope.shape(first) != scope.shape(out):
            given = "several inputs" if isinstance(first, tuple) else str(scope.shape(first))
            raise self.context.fail(
                "GR504",
                f"{place.path}.residual",
                f"`residual` adds the input to the output, but {given} is not {scope.shape(out)}",
            )
        values: dict[str, Value | None] = {"given": first, "made": out}
        return self.express(
            f"{name}.residual", "given + made", values, scope, replace(place, role="expression")
        )

    def _identity(self, name: str, spec: NodeSpec, scope: Scope, place: Place) -> Value:
        """`enabled: false`: the node gives its first input, if that has the shape of its output."""
        before = set(self.nodes)
        made = self.add(name, spec.model_copy(update={"enabled": True}), scope, place)
        inputs = self.binder.bind(
            spec.model_copy(update={"each": None}), scope, place, bundles=True
        )
        first = next(iter(inputs.values()))
        pairs = list(made.items.items()) if isinstance(made, Bundle) else [("", made)]
        given: dict[str, Value] = {}
        for key, value in pairs:
            out = scope.one(value, name, place.path)
            source = first.items.get(key) if isinstance(first, Bundle) else first
            if isinstance(source, tuple) or source is None:
                shape = None
            else:
                given[key] = scope.one(source, name, place.path)
                shape = scope.shape(scope.one(source, name, place.path))
            if shape is None or shape != scope.shape(out):
                raise self.context.fail(
                    "GR504",
                    f"{place.path}.enabled",
                    f"`enabled: false` makes the node its input, but {shape or 'several inputs'}"
                    f" is not {scope.shape(out)}",
                    "remove the node, or give its readers another input",
                )
        for added in set(self.nodes) - before:
            del self.nodes[added]
        return Bundle(given) if isinstance(made, Bundle) else given[""]

    # ---- the node itself ----------------------------------------------------------------------

    def _settle(
        self, spec: NodeSpec, place: Place
    ) -> Block | tuple[Composite, Mapping[str, Any]] | None:
        """The block with its parameters, or None when they are wrong (reported)."""
        block = self.binder.block(spec, place)
        try:
            if isinstance(block, Composite):
                return block, check_parameters(block, spec.params, place.path, self.context)
            return self.configure(block, spec.params, place.path)
        except Failed:
            return None

    def configure(self, block: type[Block], params: Mapping[str, Any], path: str) -> Block:
        """A block with its parameters, or GR2 findings at each wrong one."""
        given = dict(params)
        for field, info in block.model_fields.items():
            if given.get(field) == "tasks" and any(m is TaskNames for m in info.metadata):
                given[field] = list(self.task_names)
        try:
            return block.model_validate_json(json.dumps(given))
        except ValidationError as error:
            known = list(block.model_fields)
            found = from_pydantic(
                error, path, self.context.recipe.origin, known, what=f"block `{block.block_name}`"
            )
            self.context.problems.extend(found)
            raise Failed from None

    def primitive(
        self,
        name: str,
        block: Block,
        inputs: Mapping[str, Ref | tuple[Ref, ...]],
        scope: Scope,
        place: Place,
        spec: NodeSpec | None = None,
    ) -> Value:
        """Add a node for a configured block; its shapes are inferred at once."""
        variadic = {port.name for port in block.ports() if port.variadic}
        try:
            shapes = {
                port: tuple(scope.shape(ref) for ref in value)
                if port in variadic and isinstance(value, tuple)
                else _joined(value, scope)
                for port, value in inputs.items()
            }
            positional, named = block.spread(shapes)
            outputs = block.infer(*positional, **named)
        except ShapeError as error:
            raise self._misfit(block, str(error), inputs, scope, place) from None
        ports = outputs if isinstance(outputs, dict) else {"": outputs}
        self.add_node(
            Node(
                name=name,
                op=block,
                inputs=dict(inputs),
                outputs=ports,
                role=place.role,
                kernel=KernelChoice(asked=spec.kernel or "") if spec else None,
                span=self.context.key(place.path),
                origin=place.origin,
                shares=self._shared(name, block, spec, place) if spec and spec.share else None,
                was=spec.was if spec else None,
                note=spec.note if spec else None,
            ),
            place,
        )
        return Ref(name) if list(ports) == [""] else Bundle({key: Ref(name, key) for key in ports})

    def _shared(self, name: str, block: Block, spec: NodeSpec, place: Place) -> str:
        other = self.nodes.get(spec.share or "")
        path = f"{place.path}.share"
        if other is None:
            known = [n for n, node in self.nodes.items() if isinstance(node.op, Block)]
            raise self.context.fail(
                "GR301", path, f"no node `{spec.share}`", suggestion(spec.share or "", known)
            )
        if other.op != block:
            raise self.context.fail(
                "GR313",
                path,
                f"`{spec.share}` is {other.label} with other parameters: weights can't be shared",
                "give both nodes the same block and parameters",
            )
        return other.shares or other.name

    def _misfit(
        self, block: Block, message: str, inputs: Mapping[str, Any], scope: Scope, place: Place
    ) -> Failed:
        came = []
        for port, value in inputs.items():
            for ref in value if isinstance(value, tuple) else (value,):
                node = self.nodes.get(ref.node)
                span = node.span if node else self.context.key(f"groups.{ref.node}")
                where = (
                    f"  ({span})"
                    if span and (node or f"groups.{ref.node}" in self._origin_keys())
                    else ""
                )
                came.append(f"{port} = {ref} {scope.shape(ref)}{where}")
        return self.context.fail(
            "GR501", f"{place.path}.in", f"{block.block_name} {message}", "\n".join(came)
        )

    def _origin_keys(self) -> Mapping[str, Any]:
        return self.context.recipe.origin.keys if self.context.recipe.origin else {}

    # ---- composites ---------------- -----------------------------------------------------------

    def _composite(
        self,
        name: str,
        settled: tuple[Composite, Mapping[str, Any]],
        spec: NodeSpec,
        inputs: dict[str, Any],
        scope: Scope,
        place: Place,
    ) -> Value:
        block, params = settled
        self._depth += 1
        try:
            if self._depth > 16:
                raise self.context.fail(
                    "GR404",
                    f"{place.path}.block",
                    f"block `{block.block}` uses itself, or is nested over 16 deep",
                )
            values: dict[str, Value | None] = {}
            for port, value in inputs.items():
                values[port] = (
                    self._concat(f"{name}.{port}", value, scope, place)
                    if isinstance(value, tuple)
                    else value
                )
            inner = scope.inner(values)
            for part, body in substitute(block, params, spec.kernel).items():
                inner.values[part] = self.add(f"{name}.{part}", body, inner, place)
            return inner.resolve(block.output, place.path)
        finally:
            self._depth -= 1

    def _concat(self, name: str, refs: tuple[Ref, ...], scope: Scope, place: Place) -> Ref:
        return self.join(name, "concat", list(refs), scope, place)


def _joined(value: Ref | tuple[Ref, ...], scope: Scope) -> Shape:
    """Shape of a port; several references into one tensor are concatenated, last dimension."""
    if isinstance(value, Ref):
        return scope.shape(value)
    shapes = [scope.shape(ref) for ref in value]
    for shape in shapes[1:]:
        if shape.dims[:-1] != shapes[0].dims[:-1]:
            raise ShapeError(
                f"can't concatenate {shapes[0]} and {shape}: they differ before the last dimension"
            )
    return shapes[0].resize(sum(shape.width for shape in shapes))
