"""One node of the recipe, its modifiers apart -> nodes of the graph: blocks, composites, shapes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from graphrec.blocks.base import Block, TaskNames
from graphrec.compiler.frontend.bind import Binder, joined_shape
from graphrec.compiler.frontend.composite_nodes import check_parameters, given_paths, substitute
from graphrec.compiler.frontend.context import Bundle, Failed, Place, Value
from graphrec.compiler.frontend.expression_nodes import ExpressionBuilder
from graphrec.compiler.frontend.scope import Scope
from graphrec.graph import KernelChoice, Node, Ref
from graphrec.ground.errors import Problem, suggestion
from graphrec.ground.shapes import ShapeError, length
from graphrec.recipe.findings import from_pydantic
from graphrec.recipe.model import NODE_WORDS, Composite, NodeSpec, SequenceFeature

__all__ = ["PlainNodes"]


class PlainNodes(ExpressionBuilder, ABC):
    """Adds nodes to a graph under construction; `add` is in `modifiers`, which come first."""

    def __init__(self, scope: Scope, task_names: tuple[str, ...]) -> None:
        super().__init__(scope.context, scope.nodes)
        self.task_names = task_names
        self.binder = Binder(scope.context)
        self._depth = 0
        self.judged: set[str] = set()
        """Nodes of the recipe whose block and parameters were looked at."""

    @abstractmethod
    def add(self, name: str, spec: NodeSpec | str, scope: Scope, place: Place) -> Value:
        """Build one entry of a `graph:`; returns what its name means."""

    # ---- the node itself ----------------------------------------------------------------------

    def settle(
        self, spec: NodeSpec, place: Place
    ) -> Block | tuple[Composite, Mapping[str, Any]] | None:
        """The block with its parameters, or None when they are wrong (reported)."""
        self.judged.add(place.origin)
        block = self.binder.block(spec, place)
        try:
            if isinstance(block, Composite):
                return block, check_parameters(block, spec.params, place.path, self.context)
            return self.configure(block, spec.params, place)
        except Failed:
            return None

    def configure(self, block: type[Block], params: Mapping[str, Any], place: Place) -> Block:
        """A block with its parameters, or GR2 findings at each wrong one."""
        given = dict(params)
        for field, info in block.model_fields.items():
            if given.get(field) == "tasks" and any(m is TaskNames for m in info.metadata):
                given[field] = list(self.task_names)
        known_here = {"activations": self.context.library.activations}
        try:
            return block.model_validate_json(json.dumps(given), context=known_here)
        except ValidationError as error:
            known = [*block.model_fields, *NODE_WORDS]
            docs = {name: field.description or "" for name, field in block.model_fields.items()}
            what = f"block `{block.block_name}`"
            for problem in from_pydantic(
                error, place.path, self.context.recipe.origin, known, what, docs
            ):
                told = self._as_given(problem, place)
                if told not in self.context.problems:  # copies of one node say it once
                    self.context.problems.append(told)
            wrong = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]}
        try:  # what is left tells the shapes, so that readers can be judged too
            rest = json.dumps(_without(given, wrong))
            return block.model_validate_json(rest, context=known_here)
        except ValidationError:
            raise Failed from None

    def _as_given(self, problem: Problem, place: Place) -> Problem:
        """A finding about a composite's node, at the parameter that gave the value."""
        word = problem.path.removeprefix(f"{place.path}.").partition(".")[0]
        if not place.inside:
            return problem
        path = place.given.get(word, place.path)
        message = f"{problem.message}, for `{word}` of `{place.inside}`"
        span = self.context.value(path) if path != place.path else self.context.key(path)
        return replace(problem, message=message, path=path, span=span)

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
                else joined_shape(value, scope)
                for port, value in inputs.items()
            }
            positional, named = block.spread(shapes)
            outputs = block.infer(*positional, **named)
            self._check_lengths(block, shapes)
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
                note=spec.note if spec else None,
                for_training=spec is not None and spec.when == "train",
            ),
            place,
        )
        return Ref(name) if list(ports) == [""] else Bundle({key: Ref(name, key) for key in ports})

    def _check_lengths(self, block: Block, shapes: Mapping[str, Any]) -> None:
        """Raise ShapeError where a history may be longer than the block's layer takes."""
        most = block.longest()
        given = [
            s for value in shapes.values() for s in (value if type(value) is tuple else [value])
        ]
        for name, feature in self.context.recipe.features.items():
            if most is None or not isinstance(feature, SequenceFeature):
                continue
            if feature.max_len > most and any(length(name) in shape.dims for shape in given):
                raise ShapeError(
                    f"takes {most} steps, and `{name}` has up to {feature.max_len} (max_len): "
                    "set keep: first or last, widen the windows, or lower max_len"
                )

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

    def composite(
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
            if spec.share and not self._parts(spec.share):
                raise self.context.fail(
                    "GR313",
                    f"{place.path}.share",
                    f"`{spec.share}` is no `{block.block}`: weights can't be shared",
                    "give both nodes the same block and parameters",
                )
            for part, body in substitute(block, params, spec.kernel, place, self.context).items():
                inside = f"{place.inside or place.origin}.{part}"
                given = given_paths(block, part, place)
                there = replace(place, inside=inside, given=given)
                if isinstance(body, NodeSpec) and (body.share or spec.share):
                    whose = f"{name}.{body.share}" if body.share else f"{spec.share}.{part}"
                    body = body.model_copy(update={"share": whose})
                if isinstance(body, NodeSpec) and spec.when == "train":
                    body = body.model_copy(update={"when": "train"})
                inner.values[part] = self.add(f"{name}.{part}", body, inner, there)
            return inner.resolve(block.output, place.path)
        finally:
            self._depth -= 1

    def _parts(self, name: str) -> bool:
        """Whether nodes stand inside or below `name`: copies, steps, parts of a composite."""
        return any(node.startswith(f"{name}.") for node in self.nodes)

    def shared_copy(self, share: str | None, key: str) -> str | None:
        """The copy or step `key` of the node whose weights are used, if it has such."""
        copy = f"{share}.{key}"
        return copy if share and (copy in self.nodes or self._parts(copy)) else share

    def _concat(self, name: str, refs: tuple[Ref, ...], scope: Scope, place: Place) -> Ref:
        return self.join(name, "concat", list(refs), scope, place)


def _without(given: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}
