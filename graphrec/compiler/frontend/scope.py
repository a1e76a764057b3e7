"""What names mean while nodes are built: references to values, ports and bundle keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphrec.compiler.frontend.context import Bundle, Context, Failed, GroupValue, Poison, Value
from graphrec.compiler.frontend.feature_columns import Features
from graphrec.graph import Node, Ref
from graphrec.ground.errors import Span, suggestion
from graphrec.ground.shapes import Shape

__all__ = ["Scope"]


class Scope:
    """Names visible at one place: the recipe's nodes and groups, or a composite's inputs and nodes.

    `values` maps names to what they give; None marks a name that failed (its readers stay silent).
    `keys` are the names of the copy being made by `each` or `parallel`: a bundle gives its member.
    """

    def __init__(
        self,
        context: Context,
        features: Features | None,
        nodes: dict[str, Node],
        ports: dict[str, dict[str, Shape]],
        values: dict[str, Value | None] | None = None,
    ) -> None:
        self.context = context
        self.features = features
        self.nodes = nodes
        self.ports = ports
        self.values: dict[str, Value | None] = {} if values is None else values

    def inner(self, values: Mapping[str, Value | None]) -> Scope:
        """The scope inside a composite: only its inputs, no outer names."""
        return Scope(self.context, None, self.nodes, self.ports, dict(values))

    def known(self, path: str = "") -> list[str]:
        """Names for suggestions: nodes (but the one at `path`), then groups."""
        if self.features is None:
            return list(self.values)
        nodes = [n for n in self.context.recipe.graph if not f"{path}.".startswith(f"graph.{n}.")]
        return [*nodes, *(g for g in self.features.group_names if g not in self.values)]

    def resolve(self, text: str, path: str, span: Span | None = None) -> Value:
        """What a reference means; reports GR301/GR302 and raises Failed when it means nothing."""
        name, _, rest = text.partition(".")
        if name in self.values:
            value = self.values[name]
            if value is None:
                raise Failed
            return self._member(value, rest, text, path, span)
        if self.features is not None:
            if self.features.group(name) is not None:
                return self._member(GroupValue(name), rest, text, path, span)
            if name in self.features.features:
                raise self.context.fail(
                    "GR303",
                    path,
                    f"`{name}` is a feature, not a node or group",
                    f"make a group of it:  groups: {{{name}_only: [{name}]}}",
                    span,
                )
        if self._is_broken(name):
            raise Failed
        raise self.context.fail(
            "GR301", path, f"no node or group `{name}`", suggestion(name, self.known(path)), span
        )

    def _is_broken(self, name: str) -> bool:
        places = (f"graph.{name}", f"groups.{name}", f"features.{name}")
        # what can't be read may have declared any name
        return any(p in self.context.broken for p in (*places, "features", "groups", "graph"))

    def _member(self, value: Value, rest: str, text: str, path: str, span: Span | None) -> Value:
        before = text.partition(".")[0]
        while rest:
            key, _, rest = rest.partition(".")
            if isinstance(value, GroupValue):
                if rest:
                    raise self.context.fail(
                        "GR302", path, f"`{text}` goes too deep: a port has no ports", "", span
                    )
                return self._group_port(value, key, path)
            if isinstance(value, Poison) or (isinstance(value, Ref) and not value.port):
                raise self.context.fail(
                    "GR302",
                    path,
                    f"`{before}` has one output: it has no port `{key}`",
                    f"write `{before}`",
                    span,
                )
            if not isinstance(value, Bundle) or key not in value.items:
                known = list(value.items) if isinstance(value, Bundle) else []
                raise self.context.fail(
                    "GR302", path, f"`{text}`: no output `{key}`", suggestion(key, known), span
                )
            member, before = value.items[key], f"{before}.{key}"
            if member is None:
                raise Failed
            value = member
        if isinstance(value, Poison):
            raise Failed
        return value

    def _group_port(self, group: GroupValue, port: str, path: str) -> Ref:
        assert self.features is not None or group.name in self.ports
        if self.features is not None:
            shape = self.features.port(group.name, port, path)
            self.ports.setdefault(group.name, {})[port] = shape
        return Ref(group.name, port)

    def one(
        self,
        value: Value | None,
        text: str,
        path: str,
        keys: Iterable[str] = (),
        span: Span | None = None,
    ) -> Ref:
        """The single tensor a value gives: of a bundle, the member for the copy being made."""
        keys = tuple(keys)
        while isinstance(value, Bundle):
            key = next((k for k in keys if k in value.items), None)
            if key is None:
                names = ", ".join(f"{text}.{k}" for k in value.items)
                raise self.context.fail(
                    "GR304",
                    path,
                    f"`{text}` is a bundle of {len(value.items)} outputs; one tensor is needed",
                    f"name one: {names}   or give the node a `join:`",
                    span,
                )
            value = value.items[key]
        if value is None or isinstance(value, Poison):
            raise Failed
        if isinstance(value, GroupValue):
            assert self.features is not None
            group = self.features.group(value.name)
            assert group is not None
            return self._group_port(
                value, "keys" if group.sequence and not group.query else "", path
            )
        if value.node in self.nodes and self.nodes[value.node].is_loss:
            message = f"`{text}` is a term of the loss: it is added to it, nothing can read it"
            raise self.context.fail("GR501", path, message, "", span)
        return value

    def shape(self, ref: Ref) -> Shape:
        """Shape of a resolved reference."""
        if ref.node in self.nodes:
            return self.nodes[ref.node].outputs[ref.port]
        return self.ports[ref.node][ref.port]
