"""The recipe's `retrieval:` -> the two outputs that meet in an inner product, each of one side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from graphrec.compiler.frontend.context import Context, Failed
from graphrec.compiler.frontend.scope import Scope
from graphrec.graph import Graph, Group, Ref, Vectors
from graphrec.ground.errors import Problem, suggestion
from graphrec.ground.shapes import B, Shape
from graphrec.recipe.model import Recipe, SequenceFeature
from graphrec.recipe.retrieval import wrong_metric
from graphrec.recipe.seen_items import key_feature

__all__ = ["check_sides", "retrieval_ends"]

_SIDES: Mapping[str, tuple[str, ...]] = {"query": ("user", "context"), "item": ("item",)}
_OTHERS: Mapping[str, str] = {
    "query": "it is computed from a row of the data: features with side: user or context",
    "item": "it is computed from the file of items: features with side: item",
}


def retrieval_ends(scope: Scope) -> Vectors | None:
    """The vectors of queries and of items; what can't work is reported."""
    context = scope.context
    retrieval = context.recipe.retrieval
    if retrieval is None:
        return None
    _check_company(context)
    _check_seen(context)
    for number, call in enumerate(retrieval.metrics):
        wrong = wrong_metric(call)
        if wrong is not None:
            context.report("GR234", f"retrieval.metrics.{number}", *wrong)
    ends: dict[str, Ref] = {}
    for word, text in (("query", retrieval.query), ("item", retrieval.item)):
        with suppress(Failed):
            ends[word] = _end(scope, word, text)
    if len(ends) < 2:
        return None
    query, item = (scope.shape(ends[word]) for word in ("query", "item"))
    if query.width != item.width:
        what = f"`{retrieval.query}` is {query} and `{retrieval.item}` is {item}"
        help = "an inner product is of equally wide vectors"
        context.report("GR506", "retrieval.item", what, help)
        return None
    return Vectors(ends["query"], ends["item"], retrieval.similarity == "cosine")


def _end(scope: Scope, word: str, text: str) -> Ref:
    path = f"retrieval.{word}"
    ref = scope.one(scope.resolve(text, path), text, path)
    shape = scope.shape(ref)
    several = word == "query" and shape.rank == 3 and not shape.is_jagged
    if shape != Shape((B, shape.dims[-1])) and not several:
        kinds = "[B, D], or [B, K, D] for several interests" if word == "query" else "[B, D]"
        raise scope.context.fail("GR506", path, f"expected {kinds}, `{text}` is {shape}")
    return ref


def _check_company(context: Context) -> None:
    """What does not go with two sides that never share rows."""
    recipe = context.recipe
    for section, parts in (("tasks", recipe.tasks), ("losses", recipe.losses)):
        if parts:
            what = (
                f"`retrieval` and `{section}`: a retriever computes no value of a row and its item"
            )
            help = "a recipe of its own for the ranker; both may extend one base"
            context.report("GR241", section, what, help, context.key(section))
    for name, group in recipe.groups.items():
        if getattr(group, "regularize", None) is not None:
            what = f"`{name}` learns which features to drop, which needs a task"
            context.report("GR241", f"groups.{name}.regularize", what, "leave `regularize` out")
    hard = recipe.retrieval.candidates if recipe.retrieval else None
    if hard is not None and (hard.hard is None) != (hard.hard_by is None):
        what = "`hard` and `hard_by` go together: a file of edges, and the column of its queries"
        help = "hard: edges.parquet, hard_by: user_id"
        context.report("GR205", "retrieval.candidates", what, help)


def _check_seen(context: Context) -> None:
    """Histories of `seen` hold the key of items."""
    recipe, retrieval = context.recipe, context.recipe.retrieval
    assert retrieval is not None
    for number, name in enumerate(retrieval.seen):
        path, feature = f"retrieval.seen.{number}", recipe.features.get(name)
        if not isinstance(feature, SequenceFeature):
            known = [n for n, f in recipe.features.items() if isinstance(f, SequenceFeature)]
            context.report("GR301", path, f"no history `{name}`", suggestion(name, known))
        elif key_feature(recipe, name) is None:
            key = retrieval.candidates.key
            what = f"no column of history `{name}` holds items by `{key}`"
            help = f"declare {{type: id, side: item, names: {key}}} and let the history be `of` it"
            context.report("GR241", path, what, help)


def check_sides(graph: Graph, recipe: Recipe) -> list[Problem]:
    """A finding for every column that one side can't read, as its rows don't have it."""
    if graph.vectors is None:
        return []
    origin = recipe.origin
    problems = []
    for word, ref in (("query", graph.vectors.query), ("item", graph.vectors.item)):
        path = f"retrieval.{word}"
        columns = sorted({*_columns(graph, ref)})
        for column in columns:
            name = column.partition(".")[0]
            side = recipe.features[name].side
            if side not in _SIDES[word]:
                what = f"`{ref}` reads feature `{name}`, whose side is {side or 'not said'}"
                span = origin.value(path) if origin else None
                problems.append(Problem("GR241", what, span, path, _OTHERS[word]))
        if not columns:
            what = f"`{ref}` depends on no feature"
            span = origin.value(path) if origin else None
            problems.append(Problem("GR241", what, span, path, _OTHERS[word]))
    return problems


def _columns(graph: Graph, end: Ref) -> Iterator[str]:
    """Columns that an output depends on."""
    for name in graph.behind([end]):
        op = graph[name].op
        if isinstance(op, Group):
            yield from _of_group(op)


def _of_group(group: Group) -> Sequence[str]:
    return (*group.features, *group.query, *group.keys)
