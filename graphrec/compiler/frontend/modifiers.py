"""The modifiers of nodes, outermost first: enabled, each, parallel, repeat, residual."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace

from graphrec.blocks.base import Block, TaskNames
from graphrec.compiler.frontend.context import Bundle, Failed, Place, Poison, Value
from graphrec.compiler.frontend.node_builder import PlainNodes
from graphrec.compiler.frontend.scope import Scope
from graphrec.graph import Ref
from graphrec.ground.errors import suggestion
from graphrec.recipe.model import NodeSpec

__all__ = ["NodeBuilder"]


class NodeBuilder(PlainNodes):
    """Adds nodes with their modifiers to a graph under construction."""

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
        copies = {}
        for key in keys:
            inner = replace(place, keys=(key, *place.keys))
            shared = self.shared_copy(spec.share, key)
            copies[key] = self._parallel(
                f"{name}.{key}", copy.model_copy(update={"share": shared}), scope, inner
            )
        return Bundle(copies)

    def poison(self, name: str, spec: NodeSpec | str) -> Value | None:
        """What is known of a node that failed: the keys of its bundle, if it is to give one."""
        if not isinstance(spec, NodeSpec):
            return Poison()
        keys: tuple[str, ...] = ()
        if spec.each is not None:
            keys = self.task_names if isinstance(spec.each, str) else spec.each
        elif spec.join is None:
            keys = self._written_outputs(spec)
        if keys:
            return Bundle(dict.fromkeys(keys))
        return Poison() if spec.each is None and self._gives_one(spec) else None

    def _gives_one(self, spec: NodeSpec) -> bool:
        """Whether a node has one output whatever its inputs: `infer` says so."""
        if spec.join is not None:
            return True
        block = self.context.library.get(spec.block)
        if spec.parallel is not None or not isinstance(block, type):
            return False
        switched = any(value is True for value in spec.params.values())  # hidden_outputs: true
        declared = str(inspect.signature(block.infer).return_annotation)
        return "Shape" in declared and (
            "dict" not in declared or ("|" in declared and not switched)
        )

    def _written_outputs(self, spec: NodeSpec) -> tuple[str, ...]:
        """The outputs a block is told to have (`gates: tasks`), as the recipe writes them."""
        block = self.context.library.get(spec.block)
        if not isinstance(block, type):
            return ()
        for field, info in block.model_fields.items():
            names = spec.params.get(field)
            if any(m is TaskNames for m in info.metadata) and isinstance(names, str | list):
                return self.task_names if names == "tasks" else tuple(map(str, names))
        return ()

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
        copies = {}
        for k in keys:
            own = copy.model_copy(update={"share": self.shared_copy(spec.share, k)})
            there = replace(place, keys=(k, *place.keys))
            copies[k] = self._repeat(f"{name}.{k}", own, scope, there)
        if spec.join is None:
            return Bundle(copies)
        refs = [scope.one(v, f"{name}.{k}", f"{place.path}.join") for k, v in copies.items()]
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
            tied = bool(step) and spec.tied
            share = f"{name}.s0" if tied else self.shared_copy(spec.share, f"s{step}")
            copy = copy.model_copy(update={"share": share})
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
        settled, inputs = self.settle(spec, place), self.binder.bind(spec, scope, place)
        if settled is None:
            raise Failed
        inputs.update(fed or {})
        if isinstance(settled, Block):
            value = self.primitive(name, settled, inputs, scope, place, spec)
        else:
            value = self.composite(name, settled, spec, inputs, scope, place)
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
        """`enabled: false`: the node gives its first input, if that has the shape of its output.

        A loss is left out.
        """
        before = set(self.nodes)
        value_if_enabled = self.add(name, spec.model_copy(update={"enabled": True}), scope, place)
        if self._is_loss(value_if_enabled):
            for added in set(self.nodes) - before:
                del self.nodes[added]
            return Bundle({})
        inputs = self.binder.bind(
            spec.model_copy(update={"each": None}), scope, place, bundles=True
        )
        first = next(iter(inputs.values()))
        pairs = (
            list(value_if_enabled.items.items())
            if isinstance(value_if_enabled, Bundle)
            else [("", value_if_enabled)]
        )
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
        return Bundle(given) if isinstance(value_if_enabled, Bundle) else given[""]

    def _is_loss(self, value: Value | None) -> bool:
        if isinstance(value, Bundle):
            return all(self._is_loss(member) for member in value.items.values())
        return (
            isinstance(value, Ref) and value.node in self.nodes and self.nodes[value.node].is_loss
        )
