"""Tasks and relations -> heads, relation nodes and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphrec.blocks.base import Block
from graphrec.blocks.library import Library
from graphrec.compiler.frontend.context import Failed, Place, Value
from graphrec.compiler.frontend.modifiers import NodeBuilder
from graphrec.compiler.frontend.scope import Scope
from graphrec.compiler.frontend.task_relations import classes_of
from graphrec.graph import Output, Ref
from graphrec.ground.errors import suggestion
from graphrec.ground.shapes import B, Shape
from graphrec.recipe.expressions import ExpressionError, parse_expression
from graphrec.recipe.model import Relation, Task
from graphrec.recipe.tasks import is_lognormal, own_form

__all__ = ["TaskBuilder"]


class TaskBuilder:
    """Adds relation nodes, heads and outputs, in an order where each follows what it reads."""

    def __init__(
        self,
        builder: NodeBuilder,
        scope: Scope,
        relations: Mapping[str, tuple[int, Relation]],
        library: Library,
    ) -> None:
        self.builder = builder
        self.scope = scope
        self.context = scope.context
        self.relations = relations
        self.library = library
        self.towers: dict[str, Ref | None] = {}
        self.outputs: dict[str, Output | None] = {}
        self.probabilities: dict[str, Ref] = {}
        self.own_logits: list[Ref] = []
        """Of children of a product: their own factor, which the product alone does not tell."""
        self._making: list[str] = []

    def _block(self, name: str, params: Mapping[str, Any], place: Place) -> Block:
        """A built-in block that tasks and relations are made of."""
        kind = self.library.get(name)
        assert isinstance(kind, type)
        return self.builder.configure(kind, params, place)

    def tower(self, name: str) -> Ref:
        """What a task's head reads: its relation node, or the node of its `in`."""
        if name not in self.towers:
            self.towers[name] = None
            self.towers[name] = self._tower(name)
        tower = self.towers[name]
        if tower is None:
            raise Failed
        return tower

    def _tower(self, name: str) -> Ref:
        task, path = self.context.recipe.tasks[name], f"tasks.{name}.in"
        text = task.inputs or ""
        own = self.scope.one(self.scope.resolve(text, path), text, path, (name,))
        index, relation = self.relations.get(name, (0, None))
        if relation is None or relation.via == "product":
            return own
        place = Place(f"relations.{index}", f"rel.{name}", role="relation")
        parents = [
            self._parent(name, parent, relation, place) for parent in sorted(relation.parents)
        ]
        if relation.via == "mlp":
            params = {
                "hidden": list(relation.hidden),
                "activation": relation.activation,
                "norm": relation.norm,
                "dropout": relation.dropout,
                "bias": relation.bias,
            }
            block = self._block("relation_mlp", params, place)
            inputs: dict[str, Ref | tuple[Ref, ...]] = {"xs": (own, *parents)}
        else:
            block = self._block("aitm", {}, place)
            inputs = {"own": own, "parents": tuple(parents)}
        self.builder.primitive(f"rel.{name}", block, inputs, self.scope, place)
        node = self.builder.nodes[f"rel.{name}"]
        self.builder.nodes[node.name] = replace(node, parents=tuple(parents))
        return Ref(node.name)

    def _parent(self, child: str, parent: str, relation: Relation, place: Place) -> Ref:
        tower = self.tower(parent)
        if not relation.detach:
            return tower
        values: dict[str, Value | None] = {"tower": tower}
        name = f"rel.{child}.{parent}"
        return self.builder.express(
            name, "detach(tower)", values, self.scope, replace(place, role="expression")
        )

    # ---- heads --------------------------------------------------------------------------------

    def output(self, name: str) -> Output:
        """The task's output; reports and raises Failed when it can't be built."""
        if name in self._making:
            self._report_cycle(self._making[self._making.index(name) :])
        if name not in self.outputs:
            self.outputs[name] = None
            self._making.append(name)
            try:
                self.outputs[name] = self._output(name)
            finally:
                self._making.pop()
        output = self.outputs[name]
        if output is None:
            raise Failed
        return output

    def _report_cycle(self, tasks: list[str]) -> None:
        """Tasks whose probabilities are made of each other."""
        start = tasks.index(min(tasks))
        names = tasks[start:] + tasks[:start]
        steps = " -> ".join(f"{n} ({self.context.line(f'tasks.{n}')})" for n in names)
        message = f"probabilities form a cycle, each read by the one before: {steps} -> {names[0]}"
        help = "a task's `prob` is made of other tasks' probabilities"
        if not any(p.code == "GR401" and p.message == message for p in self.context.problems):
            self.context.report("GR401", f"tasks.{names[0]}.prob", message, help)

    def _output(self, name: str) -> Output:
        task = self.context.recipe.tasks[name]
        span = self.context.key(f"tasks.{name}")
        classes = classes_of(self.context.recipe, name)
        if task.prob is not None:
            return Output(name, self._prob(name, task), "prob", 1, span)
        logits = (
            self._logit(name, task, classes)
            if task.logit is not None
            else self._head(name, classes)
        )
        if name in self.relations and self.relations[name][1].via == "product":
            return Output(name, self._product(name, logits), "prob", 1, span)
        recipe = self.context.recipe
        form = "lognormal" if is_lognormal(recipe, name) else own_form(recipe, name)
        return Output(name, logits, form, classes, span)

    def _head(self, name: str, classes: int) -> Ref:
        place = Place(f"tasks.{name}", f"head.{name}", role="head")
        block = self._block("linear", {"out": classes}, place)
        tower = self.tower(name)
        shape = self.scope.shape(tower)
        if shape.rank != 2:
            raise self.context.fail(
                "GR506",
                f"tasks.{name}.in",
                f"a head needs one vector per row [B, D], `{tower}` is {shape}",
                "reduce it first, e.g. with a pooling or attention block",
            )
        self.builder.primitive(f"head.{name}", block, {"x": tower}, self.scope, place)
        return Ref(f"head.{name}")

    def _logit(self, name: str, task: Task, classes: int) -> Ref:
        place = Place(f"tasks.{name}.logit", f"logit.{name}", (name,), role="expression")
        ref = self.builder.expression(f"logit.{name}", task.logit or "", self.scope, place)
        shape = self.scope.shape(ref)
        if shape.dims != (B, classes):
            raise self.context.fail(
                "GR506",
                f"tasks.{name}.logit",
                f"a logit of this task is [B, {classes}], this is {shape}",
                "reduce it with sum(...), or use `in:` for a linear head",
            )
        return self._alone(ref)

    def _alone(self, ref: Ref) -> Ref:
        """A logit that only names a node needs no expression of its own."""
        node = self.builder.nodes[ref.node]
        refs = [r for _, r in node.refs()]
        if len(refs) == 1 and str(node.op.text) in node.inputs:  # type: ignore[union-attr]
            del self.builder.nodes[ref.node]
            return refs[0]
        return ref

    def _product(self, name: str, logits: Ref) -> Ref:
        self.own_logits.append(logits)
        index, relation = self.relations[name]
        place = Place(f"relations.{index}", f"prob.{name}", role="relation")
        values: dict[str, Value | None] = {"own": logits}
        text = "sigmoid(own)"
        parents = []
        for parent in sorted(relation.parents):
            ref = self.probability(parent)
            ref = self._detached(name, parent, ref, place) if relation.detach else ref
            values[f"{parent}_prob"] = ref
            parents.append(ref)
            text += f" * {parent}_prob"
        product = self.builder.express(f"prob.{name}", text, values, self.scope, place)
        node = self.builder.nodes[product.node]
        self.builder.nodes[node.name] = replace(node, parents=tuple(parents))
        return product

    def _detached(self, child: str, parent: str, ref: Ref, place: Place) -> Ref:
        values: dict[str, Value | None] = {"prob": ref}
        name = f"rel.{child}.{parent}"
        return self.builder.express(
            name, "detach(prob)", values, self.scope, replace(place, role="expression")
        )

    def probability(self, name: str) -> Ref:
        """The task's probability [B, 1], as other tasks' `prob:` read it."""
        output = self.output(name)
        if output.form == "prob":
            return output.ref
        if name not in self.probabilities:
            place = Place(f"tasks.{name}", f"prob.{name}", role="expression")
            values: dict[str, Value | None] = {"logit": output.ref}
            text = "sigmoid(logit)" if output.form == "binary" else "slice(softmax(logit), 1, 2)"
            self.probabilities[name] = self.builder.express(
                f"prob.{name}", text, values, self.scope, place
            )
        return self.probabilities[name]

    def _prob(self, name: str, task: Task) -> Ref:
        path = f"tasks.{name}.prob"
        try:
            parsed = parse_expression(task.prob or "")
        except ExpressionError as error:
            span = self.context.within(path, error.column, 1)
            raise self.context.fail("GR207", path, str(error), error.help, span) from None
        values: dict[str, Value | None] = {}
        for used in parsed.names():
            parent, _, port = used.ref.partition(".")
            span = self.context.within(path, used.column, len(used.ref))
            if port != "prob" or parent not in self.context.recipe.tasks:
                if {f"tasks.{parent}", "tasks"} & self.context.broken:
                    raise Failed
                known = [f"{t}.prob" for t in sorted(self.context.recipe.tasks) if t != name]
                raise self.context.fail(
                    "GR301", path, f"no probability `{used.ref}`", suggestion(used.ref, known), span
                )
            recipe = self.context.recipe
            if own_form(recipe, parent) == "regression" or classes_of(recipe, parent) > 2:
                raise self.context.fail(
                    "GR506", path, f"task `{parent}` has no single probability", "", span
                )
            values[used.ref] = self.probability(parent)
        place = Place(path, f"prob.{name}", role="expression")
        ref = self.builder.express(f"prob.{name}", task.prob or "", values, self.scope, place)
        if self.scope.shape(ref) != Shape((B, 1)):
            raise self.context.fail(
                "GR506", path, f"a probability is [B, 1], this is {self.scope.shape(ref)}"
            )
        return ref
