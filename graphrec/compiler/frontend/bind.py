"""What a node reads: the `in:` of a recipe bound to the ports of its block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.blocks.base import Block, Port
from graphrec.compiler.frontend.context import Bundle, Context, Failed, GroupValue, Place
from graphrec.compiler.frontend.feature_columns import PAIRED_PORTS
from graphrec.compiler.frontend.scope import Scope
from graphrec.graph import Ref
from graphrec.ground.errors import suggestion
from graphrec.ground.shapes import Shape, ShapeError
from graphrec.recipe.model import Composite, NodeSpec

__all__ = ["Binder", "joined_shape"]


class Binder:
    """Binds inputs to ports by name; the block's signature decides, never a run-time value."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def ports(self, spec: NodeSpec, place: Place) -> tuple[Port, ...]:
        block = self.block(spec, place)
        if isinstance(block, Composite):
            return tuple(Port(name, True, False) for name in block.inputs)
        return block.ports()

    def block(self, spec: NodeSpec, place: Place) -> type[Block] | Composite:
        declared = self.context.recipe.blocks.get(spec.block) or self.context.library.get(
            spec.block
        )
        if declared is None:
            if {f"blocks.{spec.block}", "blocks"} & self.context.broken:
                raise Failed
            known = sorted({*self.context.library.names, *self.context.recipe.blocks})
            raise self.context.fail(
                "GR305",
                f"{place.path}.block",
                f"no block `{spec.block}`",
                suggestion(spec.block, known, 60),
            )
        return declared

    def bind(
        self, spec: NodeSpec, scope: Scope, place: Place, bundles: bool = False
    ) -> dict[str, Any]:
        """Port -> reference (a tuple of them: concatenated, or a variadic port's list)."""
        ports = self.ports(spec, place)
        path = f"{place.path}.in"
        written = spec.inputs
        if written is None:
            if any(port.required and not port.variadic for port in ports):
                raise self.context.fail("GR206", place.path, "`in` is missing", _wanted(ports))
            return {}
        if isinstance(written, Mapping):
            return self._bind_map(written, ports, spec, scope, place)
        if isinstance(written, str):
            value = scope.resolve(written, path)
            paired = (
                self._bind_pair(value, ports, scope, path)
                if isinstance(value, GroupValue)
                else None
            )
            if paired is not None:
                return paired
            if bundles and isinstance(value, Bundle):
                return {ports[0].name: value}
        port = self._single(ports, spec, place)
        if isinstance(written, str) and not port.variadic:
            return {port.name: scope.one(value, written, path, place.keys)}
        return {port.name: self._list(written, port, scope, path, place)}

    def _single(self, ports: tuple[Port, ...], spec: NodeSpec, place: Place) -> Port:
        required = [port for port in ports if port.required]
        if len(required) == 1:
            return required[0]
        raise self.context.fail(
            "GR306",
            f"{place.path}.in",
            f"block `{spec.block}` has the ports {', '.join(p.name for p in ports)}",
            _wanted(ports),
        )

    def _bind_map(
        self,
        written: Mapping[str, Any],
        ports: tuple[Port, ...],
        spec: NodeSpec,
        scope: Scope,
        place: Place,
    ) -> dict[str, Any]:
        by_name = {port.name: port for port in ports}
        for name in written:
            if name not in by_name:
                raise self.context.fail(
                    "GR302",
                    f"{place.path}.in.{name}",
                    f"block `{spec.block}` has no port `{name}`",
                    suggestion(name, by_name),
                    self.context.key(f"{place.path}.in.{name}"),
                )
        missing = [p.name for p in ports if p.required and not p.variadic and p.name not in written]
        if missing:
            raise self.context.fail(
                "GR306",
                f"{place.path}.in",
                f"block `{spec.block}` also needs the port `{missing[0]}`",
                _wanted(ports),
            )
        bound: dict[str, Any] = {}
        failed = False
        for port in ports:
            if port.name in written:
                try:
                    path, text = f"{place.path}.in.{port.name}", written[port.name]
                    bound[port.name] = self._list(text, port, scope, path, place)
                except Failed:
                    failed = True
        if failed:
            raise Failed
        return bound

    def _bind_pair(
        self, value: GroupValue, ports: tuple[Port, ...], scope: Scope, path: str
    ) -> dict[str, Any] | None:
        """A paired group or sequence binds to the ports of its own names."""
        assert scope.features is not None
        group = scope.features.group(value.name)
        names = {port.name for port in ports}
        if group is None or group.sequence is None or "keys" not in names:
            return None
        if "query" in names and not group.query:
            raise self.context.fail(
                "GR306",
                path,
                f"`{value.name}` is a sequence without a query",
                f"pair it:  groups: {{seq: {{query: [...], keys: {value.name}}}}}",
            )
        offered = PAIRED_PORTS if group.query else PAIRED_PORTS[1:]
        # what a block may do without is left out: a history carries its own mask and length
        wanted = {port.name for port in ports if port.required} | {"query", "keys"}
        missing = sorted(p.name for p in ports if p.required and p.name not in offered)
        if missing:
            shown = ", ".join(
                f"{p.name}: {f'{value.name}.{p.name}' if p.name in offered else '...'}"
                for p in ports
                if p.required
            )
            raise self.context.fail(
                "GR306",
                path,
                f"`{value.name}` has no `{missing[0]}` for that port of the block",
                f"write a map:  in: {{{shown}}}",
            )
        return {
            port: scope.resolve(f"{value.name}.{port}", path)
            for port in offered
            if port in names & wanted
        }

    def _list(
        self, written: str | tuple[str, ...], port: Port, scope: Scope, path: str, place: Place
    ) -> Any:
        texts = (written,) if isinstance(written, str) else tuple(written)
        refs: list[Ref] = []
        failed = False
        for i, text in enumerate(texts):
            try:
                place_path = path if isinstance(written, str) else f"{path}.{i}"
                refs.extend(self._element(text, port, scope, place_path, place))
            except Failed:
                failed = True  # the next one may be wrong too
        if failed:
            if len(refs) > 1 and not port.variadic:
                self._judge_ranks(refs, scope, path)
            raise Failed
        if not refs:
            raise self.context.fail("GR206", path, "an empty list has nothing to read")
        return refs[0] if len(refs) == 1 and not port.variadic else tuple(refs)

    def _judge_ranks(self, refs: list[Ref], scope: Scope, path: str) -> None:
        """What is known of a list may be wrong in itself: vectors beside a history."""
        try:
            joined_shape(tuple(refs), scope)
        except ShapeError as error:
            self.context.report("GR501", path, str(error))

    def _element(self, text: str, port: Port, scope: Scope, path: str, place: Place) -> list[Ref]:
        """What one element of a list gives: all of a bundle where the port takes many."""
        value = scope.resolve(text, path)
        if port.variadic and isinstance(value, Bundle) and not set(place.keys) & set(value.items):
            return [scope.one(v, f"{text}.{k}", path) for k, v in value.items.items()]
        return [scope.one(value, text, path, place.keys)]


def joined_shape(value: Ref | tuple[Ref, ...], scope: Scope) -> Shape:
    """Shape of a port; several references into one tensor are concatenated, last dimension."""
    if isinstance(value, Ref):
        return scope.shape(value)
    shapes = [scope.shape(ref) for ref in value]
    first = shapes[0]
    for ref, shape in zip(value[1:], shapes[1:], strict=True):
        if shape.dims[:-1] != first.dims[:-1]:
            mend = ""
            if first.is_jagged != shape.is_jagged:
                history = ref if shape.is_jagged else value[0]
                mend = f"; make one vector of `{history}` first, with pooling or attention"
            raise ShapeError(
                f"can't concatenate `{value[0]}` {first} and `{ref}` {shape}:"
                f" they differ before the last dimension{mend}"
            )
    return shapes[0].resize(sum(shape.width for shape in shapes))


def _wanted(ports: tuple[Port, ...]) -> str:
    if len(ports) == 1:
        return "write:  in: a node or group, or a list of them"
    shown = ", ".join(f"{p.name}: ..." for p in ports if p.required)
    return f"write a map:  in: {{{shown}}}"
