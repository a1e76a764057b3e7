"""Settings of one part that have to agree with each other, once each is right by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphrec.ground.errors import Problem
from graphrec.recipe.clashes import clash, twice, wrong
from graphrec.recipe.feature_checks import (
    check_bucket,
    check_cross,
    check_dense,
    check_id,
    check_paired,
    check_sequence,
)
from graphrec.recipe.model import (
    BucketFeature,
    CrossFeature,
    DenseFeature,
    IdFeature,
    LabelSpec,
    LossTerm,
    NodeSpec,
    PairedGroup,
    Relation,
    Retrieval,
    SequenceFeature,
    Task,
)
from graphrec.recipe.names import node_name
from graphrec.recipe.setting_checks import (
    check_data,
    check_train,
)
from graphrec.recipe.training import Data, Train

__all__ = ["CHECKS"]


def _term(term: LossTerm, path: str) -> Iterator[Problem]:
    words = {"value": term.value, "block": term.block, "teacher": term.teacher}
    given = [word for word, what in words.items() if what is not None]
    if not given:
        help = "value: an expression, block: a loss block, or teacher: a run folder"
        what = "one of `value`, `block` and `teacher` is required"
        yield Problem("GR206", what, path=path, help=help)
    elif len(given) > 1:
        yield clash(f"{path}.{given[0]}", f"`{given[0]}` and `{given[1]}`: a term has one of them")
    elif term.block is None and term.inputs is not None:
        yield clash(f"{path}.in", "`in` belongs to a block")


def _node(node: NodeSpec, path: str) -> Iterator[Problem]:
    for word in ("each", "parallel"):
        names = getattr(node, word)
        if names == ():
            yield wrong(f"{path}.{word}", "expected one name or more, got an empty list")
        for i, name in enumerate(names if isinstance(names, tuple) else ()):
            why = node_name(name, task=True)
            if why is not None:
                yield Problem("GR320", f"`{name[:60]}`: {why}", path=f"{path}.{word}.{i}")
    why = node_name(node.was) if node.was is not None else None
    if why is not None:
        yield Problem("GR320", f"`{node.was}` was no name of a node: {why}", path=f"{path}.was")


def _task(task: Task, path: str) -> Iterator[Problem]:
    given = [k for k, v in (("in", task.inputs), ("logit", task.logit), ("prob", task.prob)) if v]
    if len(given) > 1:
        what = f"`{given[0]}` and `{given[1]}`: a task has one of in, logit and prob"
        yield clash(f"{path}.{given[1]}", what)
    if not given:
        help = "in: a node (adds a linear head), logit: an expression, or prob: over other tasks"
        yield Problem("GR206", "one of `in`, `logit` and `prob` is required", path=path, help=help)
    if task.prob is not None and task.kind != "binary":
        yield clash(f"{path}.kind", f"a task with `prob` is binary, not {task.kind}")
    label = task.label
    if label is not None:
        yield from _label(label, task, f"{path}.label")
    if label is not None and label.transform != "none" and task.kind != "regression":
        what = f"`transform` is for regression; this task is {task.kind}"
        yield clash(f"{path}.label.transform", what)


def _label(label: LabelSpec, task: Task, path: str) -> Iterator[Problem]:
    words = {"above": label.above is not None, "below": label.below is not None, "soft": label.soft}
    given = [word for word, is_set in words.items() if is_set]
    for word in given:
        if task.kind != "binary":
            what = f"`{word}` makes a binary label; this task is {task.kind}"
            yield clash(f"{path}.{word}", what)
    if label.above is not None and label.below is not None and label.above >= label.below:
        what = f"no value is above {label.above:g} and below {label.below:g}"
        yield wrong(f"{path}.below", what)
    if label.soft and len(given) > 1:
        what = f"`soft` and `{given[0]}`: a label is a probability, or made of a number"
        yield clash(f"{path}.soft", what)
    if label.classes:
        number = task.classes or 2
        if given or task.kind == "regression":
            other = f"`{given[0]}` reads numbers" if given else "this task is a regression"
            yield clash(f"{path}.classes", f"`classes` are texts; {other}")
        elif len(label.classes) != number:
            what = f"expected {number} classes, got {len(label.classes)}"
            yield wrong(f"{path}.classes", what)
        yield from twice(label.classes, f"{path}.classes")


def _retrieval(retrieval: Retrieval, path: str) -> Iterator[Problem]:
    """The label says whether an item was wanted: it is binary."""
    if retrieval.label is None:
        return
    task = Task(label=retrieval.label, logit="", loss={}, metrics=())
    yield from _label(retrieval.label, task, f"{path}.label")
    if retrieval.label.transform != "none":
        what = "`transform` is for regression; an item was wanted or not"
        yield clash(f"{path}.label.transform", what)


def _relation(relation: Relation, path: str) -> Iterator[Problem]:
    if relation.via != "mlp":
        for word in ("hidden", "activation", "norm", "dropout", "bias"):
            if word in relation.model_fields_set:
                yield clash(f"{path}.{word}", f"`{word}` belongs to via: mlp, not {relation.via}")


CHECKS: Mapping[type, Callable[[Any, str], Iterator[Problem]]] = {
    IdFeature: check_id,
    BucketFeature: check_bucket,
    CrossFeature: check_cross,
    DenseFeature: check_dense,
    SequenceFeature: check_sequence,
    PairedGroup: check_paired,
    NodeSpec: _node,
    Task: _task,
    LossTerm: _term,
    Relation: _relation,
    Retrieval: _retrieval,
    Train: check_train,
    Data: check_data,
}
"""Model -> what it has to fulfil as a whole."""
