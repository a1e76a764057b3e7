"""The recipe's `losses:` -> nodes whose means over the rows, or numbers, are minimised."""

from __future__ import annotations

from dataclasses import replace

from graphrec.blocks.base import Block
from graphrec.compiler.frontend.context import Failed, Place, Value
from graphrec.compiler.frontend.heads import TaskBuilder
from graphrec.compiler.frontend.scope import Scope
from graphrec.ground.errors import Span, suggestion
from graphrec.ground.shapes import B, Shape
from graphrec.recipe.expressions import ExpressionError, parse_expression
from graphrec.recipe.model import NodeSpec

__all__ = ["add_loss_terms"]


def add_loss_terms(heads: TaskBuilder, scope: Scope) -> None:
    """Add a node `loss.<name>` for every term; what is wrong with one is reported."""
    beside = _TermScope(heads, scope)
    for name, term in scope.context.recipe.losses.items():
        if term.teacher is not None:
            continue  # it is no part of the graph: the trainer has it
        path = f"losses.{name}" if term.value is None else f"losses.{name}.value"
        place = Place(path, f"loss.{name}", role="loss")
        try:
            if name in scope.nodes and scope.nodes[name].is_loss:
                message = f"a loss block and a term are both called `{name}`"
                raise scope.context.fail("GR307", path, message)
            spec = term.node
            if isinstance(spec, str):
                _add_expression(heads, beside, name, spec, place)
            else:
                _add_block(heads, beside, name, spec, place)
        except Failed:
            continue


def _add_expression(heads: TaskBuilder, scope: Scope, name: str, text: str, place: Place) -> None:
    context, path = scope.context, place.path
    try:
        parsed = parse_expression(text)
    except ExpressionError as error:
        span = context.within(path, error.column, 1)
        raise context.fail("GR207", path, str(error), error.help, span) from None
    values: dict[str, Value | None] = {}
    for used in parsed.names():
        span = context.within(path, used.column, len(used.ref))
        value = scope.resolve(used.ref, path, span)
        values[used.ref] = scope.one(value, used.ref, path, (), span)
    ref = heads.builder.express(f"loss.{name}", text, values, scope, place)
    shape = scope.shape(ref)
    if shape != Shape((B, 1)):
        help = "reduce it with sum(...) or mean(...)"
        raise context.fail("GR506", path, f"a loss is one number a row, [B, 1], not {shape}", help)
    scope.nodes[ref.node] = replace(scope.nodes[ref.node], role="loss")


def _add_block(heads: TaskBuilder, scope: Scope, name: str, spec: NodeSpec, place: Place) -> None:
    context, builder = scope.context, heads.builder
    declared = builder.binder.block(spec, place)
    if not (isinstance(declared, type) and declared.is_loss):
        known = [n for n in context.library.names if _is_loss(context.library.get(n))]
        message = f"block `{spec.block}` gives no term of a loss"
        help = f"one of {', '.join(known)}; or `value:` with an expression"
        raise context.fail("GR501", f"{place.path}.block", message, help)
    settled, inputs = builder.settle(spec, place), builder.binder.bind(spec, scope, place)
    if not isinstance(settled, Block):
        raise Failed
    builder.primitive(f"loss.{name}", settled, inputs, scope, place, spec)


def _is_loss(block: object) -> bool:
    return isinstance(block, type) and issubclass(block, Block) and block.is_loss


class _TermScope(Scope):
    """The recipe's names, and beside them the logits and probabilities of its tasks."""

    def __init__(self, heads: TaskBuilder, scope: Scope) -> None:
        super().__init__(scope.context, scope.features, scope.nodes, scope.ports, scope.values)
        self.heads = heads

    def resolve(self, text: str, path: str, span: Span | None = None) -> Value:
        """What a reference means; a node's name comes before a task's."""
        owner, _, port = text.partition(".")
        if port not in ("logit", "prob") or owner in self.values:
            return super().resolve(text, path, span)
        tasks = self.context.recipe.tasks
        if owner not in tasks:
            help = suggestion(text, [f"{task}.{port}" for task in tasks])
            message = f"no task `{owner}` for `{text}`"
            raise self.context.fail("GR301", path, message, help, span)
        output = self.heads.output(owner)
        if port == "prob":
            return self.heads.probability(owner)
        if output.form == "prob":
            help = f"`{owner}.prob` is what it has"
            raise self.context.fail("GR302", path, f"task `{owner}` has no logit", help, span)
        return output.ref
