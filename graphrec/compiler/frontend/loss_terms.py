"""The recipe's `losses:` -> nodes whose means over the rows are minimised."""

from __future__ import annotations

from dataclasses import replace

from graphrec.compiler.frontend.context import Failed, Place, Value
from graphrec.compiler.frontend.heads import TaskBuilder
from graphrec.compiler.frontend.scope import Scope
from graphrec.graph import Ref
from graphrec.ground.errors import suggestion
from graphrec.ground.shapes import B, Shape
from graphrec.recipe.expressions import ExpressionError, Name, parse_expression

__all__ = ["add_loss_terms"]


def add_loss_terms(heads: TaskBuilder, scope: Scope) -> None:
    """Add a node `loss.<name>` for every term; what is wrong with one is reported."""
    for name, term in scope.context.recipe.losses.items():
        path = f"losses.{name}.value"
        place = Place(path, f"loss.{name}", role="loss")
        try:
            _add(heads, scope, name, term.value, place)
        except Failed:
            continue


def _add(heads: TaskBuilder, scope: Scope, name: str, text: str, place: Place) -> None:
    context, path = scope.context, place.path
    try:
        parsed = parse_expression(text)
    except ExpressionError as error:
        span = context.within(path, error.column, 1)
        raise context.fail("GR207", path, str(error), error.help, span) from None
    if name in scope.nodes and scope.nodes[name].is_loss:
        raise context.fail("GR307", path, f"a loss block and a term are both called `{name}`")
    values = {used.ref: _value(heads, scope, used, path) for used in parsed.names()}
    ref = heads.builder.express(f"loss.{name}", text, values, scope, place)
    shape = scope.shape(ref)
    if shape != Shape((B, 1)):
        help = "reduce it with sum(...) or mean(...)"
        raise context.fail("GR506", path, f"a loss is one number a row, [B, 1], not {shape}", help)
    scope.nodes[ref.node] = replace(scope.nodes[ref.node], role="loss")


def _value(heads: TaskBuilder, scope: Scope, used: Name, path: str) -> Value | None:
    """What a name stands for: a task's logit or probability, or what it is in the graph."""
    context = scope.context
    owner, _, port = used.ref.partition(".")
    span = context.within(path, used.column, len(used.ref))
    if port not in ("logit", "prob") or owner in scope.values:
        value = scope.resolve(used.ref, path, span)
        return scope.one(value, used.ref, path, (), span)
    tasks = context.recipe.tasks
    if owner not in tasks:
        known = [f"{task}.{port}" for task in tasks]
        help = suggestion(used.ref, known)
        raise context.fail("GR301", path, f"no task `{owner}` for `{used.ref}`", help, span)
    output = heads.output(owner)
    if port == "prob":
        return heads.probability(owner)
    if output.form == "prob":
        help = f"`{owner}.prob` is what it has"
        raise context.fail("GR302", path, f"task `{owner}` has no logit", help, span)
    ref: Ref = output.ref
    return ref
