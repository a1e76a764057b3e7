"""Settings of one part that have to agree with each other, once each is right by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphrec.ground.errors import Problem
from graphrec.recipe.calls import Call
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
from graphrec.recipe.optimizer_table import DENSE, OPTIMIZERS, SPARSE
from graphrec.recipe.training import Balance, Data, Optim, Optimizer, Schedule, Split, Train

__all__ = ["BALANCE_SETTINGS", "CHECKS", "OPTIMIZER_SETTINGS", "SCHEDULE_SETTINGS"]

BALANCE_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "pareto": ("min", "over"),
    "uncertainty": (),
}

OPTIMIZER_SETTINGS = {name: row.settings for name, row in OPTIMIZERS.items()}
SCHEDULE_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "constant": (),
    "exponential": ("gamma", "every", "staircase", "minimum"),
    "steps": ("at", "gamma", "minimum"),
    "cosine": ("minimum",),
    "restarts": ("every", "minimum"),
    "linear": ("minimum",),
}


def _clash(path: str, message: str, help: str = "") -> Problem:
    return Problem("GR205", message, path=path, help=help)


def _wrong(path: str, message: str, help: str = "") -> Problem:
    return Problem("GR202", message, path=path, help=help)


_QUANTILES = 100_000


def _term(term: LossTerm, path: str) -> Iterator[Problem]:
    words = {"value": term.value, "block": term.block, "teacher": term.teacher}
    given = [word for word, what in words.items() if what is not None]
    if not given:
        help = "value: an expression, block: a loss block, or teacher: a run folder"
        what = "one of `value`, `block` and `teacher` is required"
        yield Problem("GR206", what, path=path, help=help)
    elif len(given) > 1:
        yield _clash(f"{path}.{given[0]}", f"`{given[0]}` and `{given[1]}`: a term has one of them")
    elif term.block is None and term.inputs is not None:
        yield _clash(f"{path}.in", "`in` belongs to a block")


# ---- features ---------------------------------------------------------------------------------


def _looked(feature: IdFeature | BucketFeature | CrossFeature, path: str) -> Iterator[Problem]:
    if feature.sep is not None and feature.pool is None:
        yield _clash(
            f"{path}.sep", "`sep` needs `pool`: several values become one vector", "pool: sum"
        )
    name, args = feature.init.name, feature.init.args
    fine = {"normal": 1, "uniform": 1, "zeros": 0}.get(name) == len(
        args
    ) and not feature.init.kwargs
    if not fine or not all(type(a) in (int, float) and a >= 0 for a in args):
        what = f"expected normal(std), uniform(bound) or zeros, got `{feature.init}`"
        yield _wrong(f"{path}.init", what)


def _id(feature: IdFeature, path: str) -> Iterator[Problem]:
    yield from _looked(feature, path)
    if feature.weights is not None and feature.pool is None:
        yield _clash(f"{path}.weights", "`weights` needs `pool`: they weigh the values of one row")
    if feature.pad is not None and feature.pool is None:
        yield _clash(f"{path}.pad", "`pad` needs `pool`: it fills up lists of values", "pool: sum")


def _bucket(feature: BucketFeature, path: str) -> Iterator[Problem]:
    yield from _looked(feature, path)
    edges = feature.edges
    if isinstance(edges, Call):
        count = edges.args[0] if len(edges.args) == 1 and not edges.kwargs else None
        if edges.name != "quantile" or type(count) is not int or count < 2:
            what = f"expected ascending numbers or quantile(N) with N >= 2, got `{edges}`"
            yield _wrong(f"{path}.edges", what)
        elif count > _QUANTILES:
            what = f"expected quantile(N) with N up to {_QUANTILES:,}, got `{edges}`"
            yield _wrong(f"{path}.edges", what, "few rows tell more buckets than that apart")
    elif not edges:
        yield _wrong(f"{path}.edges", "expected one edge or more, got none")
    else:
        for i in range(1, len(edges)):
            if edges[i] <= edges[i - 1]:
                what = f"edges ascend, but {edges[i]:g} follows {edges[i - 1]:g}"
                yield _wrong(f"{path}.edges.{i}", what)
                return


def _cross(feature: CrossFeature, path: str) -> Iterator[Problem]:
    yield from _looked(feature, path)
    if feature.column is not None:
        what = "a cross has no column: its values come from the features in `of`"
        yield _clash(f"{path}.column", what)
    if feature.vocab.name != "hash":
        what = f"expected hash(N), got `{feature.vocab}`"
        yield _wrong(f"{path}.vocab", what, "combinations are hashed")
    if len(set(feature.of)) < 2:
        yield _wrong(f"{path}.of", "expected two or more features to combine")
    yield from _twice(feature.of, f"{path}.of")


def _dense(feature: DenseFeature, path: str) -> Iterator[Problem]:
    if feature.autodis is not None and feature.dim is None:
        yield _clash(
            f"{path}.autodis", "`autodis` needs `dim`: the width of the embedding it makes"
        )
    if feature.autodis is not None and feature.width > 1:
        what = "`autodis` makes one number an embedding; this feature has several"
        yield _clash(f"{path}.autodis", what, "leave out `autodis`: `dim` alone embeds a vector")
    if feature.stats is not None and feature.transform not in ("zscore", "minmax"):
        yield _clash(f"{path}.stats", "`stats` belongs to transform: zscore or minmax")
    if feature.stats is not None:
        low, high = feature.stats
        if feature.transform == "zscore" and high <= 0:
            yield _wrong(
                f"{path}.stats", f"expected [mean, standard deviation], got deviation {high:g}"
            )
        if feature.transform == "minmax" and high <= low:
            yield _wrong(f"{path}.stats", f"expected [minimum, maximum], got [{low:g}, {high:g}]")
    if feature.sep is not None and feature.width == 1:
        yield _clash(f"{path}.sep", "`sep` needs `width`: how many numbers a text holds")


def _sequence(feature: SequenceFeature, path: str) -> Iterator[Problem]:
    if feature.group is not None:
        what = "a sequence is a group of its own"
        yield _clash(f"{path}.group", what, f"write `{feature.name}` where a group is read")
    if not feature.of:
        yield _wrong(f"{path}.of", "expected one base feature or more")
    yield from _twice(feature.of, f"{path}.of")
    for name in feature.columns:
        if name not in feature.of:
            what = f"`{name}` is not in `of`: {', '.join(feature.of)}"
            yield _wrong(f"{path}.column.{name}", what)


def _twice(names: tuple[str, ...], path: str) -> Iterator[Problem]:
    for i, name in enumerate(names):
        if name in names[:i]:
            yield Problem("GR210", f"`{name}` is listed twice", path=f"{path}.{i}")


def _paired(group: PairedGroup, path: str) -> Iterator[Problem]:
    yield from _twice(group.query, f"{path}.query")
    yield from _twice(group.of, f"{path}.of")
    if not group.query and not group.of:
        help = f"name the query's features; the history alone is `{group.keys}` itself"
        yield Problem("GR312", "a pair without a query and without `of`", path=path, help=help)


def _node(node: NodeSpec, path: str) -> Iterator[Problem]:
    for word in ("each", "parallel"):
        names = getattr(node, word)
        if names == ():
            yield _wrong(f"{path}.{word}", "expected one name or more, got an empty list")
        for i, name in enumerate(names if isinstance(names, tuple) else ()):
            why = node_name(name, task=True)
            if why is not None:
                yield Problem("GR320", f"`{name[:60]}`: {why}", path=f"{path}.{word}.{i}")
    why = node_name(node.was) if node.was is not None else None
    if why is not None:
        yield Problem("GR320", f"`{node.was}` was no name of a node: {why}", path=f"{path}.was")


# ---- tasks ------------------------------------------------------------------------------------


def _task(task: Task, path: str) -> Iterator[Problem]:
    given = [k for k, v in (("in", task.inputs), ("logit", task.logit), ("prob", task.prob)) if v]
    if len(given) > 1:
        what = f"`{given[0]}` and `{given[1]}`: a task has one of in, logit and prob"
        yield _clash(f"{path}.{given[1]}", what)
    if not given:
        help = "in: a node (adds a linear head), logit: an expression, or prob: over other tasks"
        yield Problem("GR206", "one of `in`, `logit` and `prob` is required", path=path, help=help)
    if task.prob is not None and task.kind != "binary":
        yield _clash(f"{path}.kind", f"a task with `prob` is binary, not {task.kind}")
    label = task.label
    if label is not None:
        yield from _label(label, task, f"{path}.label")
    if label is not None and label.transform != "none" and task.kind != "regression":
        what = f"`transform` is for regression; this task is {task.kind}"
        yield _clash(f"{path}.label.transform", what)


def _label(label: LabelSpec, task: Task, path: str) -> Iterator[Problem]:
    words = {"above": label.above is not None, "below": label.below is not None, "soft": label.soft}
    given = [word for word, is_set in words.items() if is_set]
    for word in given:
        if task.kind != "binary":
            what = f"`{word}` makes a binary label; this task is {task.kind}"
            yield _clash(f"{path}.{word}", what)
    if label.above is not None and label.below is not None and label.above >= label.below:
        what = f"no value is above {label.above:g} and below {label.below:g}"
        yield _wrong(f"{path}.below", what)
    if label.soft and len(given) > 1:
        what = f"`soft` and `{given[0]}`: a label is a probability, or made of a number"
        yield _clash(f"{path}.soft", what)
    if label.classes:
        number = task.classes or 2
        if given or task.kind == "regression":
            other = f"`{given[0]}` reads numbers" if given else "this task is a regression"
            yield _clash(f"{path}.classes", f"`classes` are texts; {other}")
        elif len(label.classes) != number:
            what = f"expected {number} classes, got {len(label.classes)}"
            yield _wrong(f"{path}.classes", what)
        yield from _twice(label.classes, f"{path}.classes")


def _retrieval(retrieval: Retrieval, path: str) -> Iterator[Problem]:
    """The label says whether an item was wanted: it is binary."""
    if retrieval.label is None:
        return
    task = Task(label=retrieval.label, logit="", loss={}, metrics=())
    yield from _label(retrieval.label, task, f"{path}.label")
    if retrieval.label.transform != "none":
        what = "`transform` is for regression; an item was wanted or not"
        yield _clash(f"{path}.label.transform", what)


def _relation(relation: Relation, path: str) -> Iterator[Problem]:
    if relation.via != "mlp":
        for word in ("hidden", "activation", "norm", "dropout", "bias"):
            if word in relation.model_fields_set:
                yield _clash(f"{path}.{word}", f"`{word}` belongs to via: mlp, not {relation.via}")


# ---- settings ---------------------------------------------------------------------------------


def _train(train: Train, path: str) -> Iterator[Problem]:
    if train.epochs is not None and train.steps is not None:
        yield _clash(f"{path}.steps", "`epochs` and `steps`: say one of them")
    if train.memory == "low" and train.compile:
        yield _clash(f"{path}.memory", "`low` and `compile`: torch.compile decides what is kept")
    yield from _optim(train.optim, f"{path}.optim")
    yield from _schedule(train.schedule, f"{path}.schedule")
    if train.table_schedule is not None:
        yield from _schedule(train.table_schedule, f"{path}.table_schedule")
    yield from _balance(train.balance, f"{path}.balance")


def _optim(optim: Optim, path: str) -> Iterator[Problem]:
    for side, optimizer, legal in (
        ("dense", optim.dense, DENSE),
        ("sparse", optim.sparse, SPARSE),
    ):
        if optimizer.name not in legal:
            what = (
                f"expected one of {', '.join(legal)} for {side} parameters, got `{optimizer.name}`"
            )
            yield _wrong(f"{path}.{side}.name", what)
        yield from _settings(
            optimizer, f"{path}.{side}", optimizer.name, OPTIMIZER_SETTINGS, ("name",)
        )
        if not all(0 <= beta < 1 for beta in optimizer.betas):
            what = f"expected numbers from 0 to below 1, got {list(optimizer.betas)}"
            yield _wrong(f"{path}.{side}.betas", what)
        if side == "sparse" and optimizer.momentum:
            yield _clash(f"{path}.{side}.momentum", "`momentum` is for dense parameters only")


def _schedule(schedule: Schedule, path: str) -> Iterator[Problem]:
    common = ("kind", "warmup", "warmup_from")
    yield from _settings(schedule, path, schedule.kind, SCHEDULE_SETTINGS, common)
    if "warmup_from" in schedule.model_fields_set and not schedule.warmup:
        yield _clash(f"{path}.warmup_from", "`warmup_from` needs `warmup`")
    if schedule.kind == "steps" and not schedule.at:
        yield Problem("GR206", "`at` is required: the updates at which the rate decays", path=path)
    if any(b <= a for a, b in zip(schedule.at, schedule.at[1:], strict=False)):
        yield _wrong(f"{path}.at", "expected ascending updates")


def _balance(balance: Balance, path: str) -> Iterator[Problem]:
    yield from _settings(balance, path, balance.kind, BALANCE_SETTINGS, ("kind",))


def _settings(
    part: Optimizer | Schedule | Balance,
    path: str,
    chosen: str,
    table: Mapping[str, tuple[str, ...]],
    common: tuple[str, ...],
) -> Iterator[Problem]:
    """Settings that the chosen optimizer, schedule or balance does not read."""
    for word in sorted(part.model_fields_set - {*common, *table[chosen]}):
        known = ", ".join(table[chosen]) or "no settings"
        yield _clash(f"{path}.{word}", f"{chosen} has no `{word}`", f"it has: {known}")


def _data(data: Data, path: str) -> Iterator[Problem]:
    if data.synthetic is not None:
        for word in ("train", "eval", "split"):
            if word in data.model_fields_set:
                yield _clash(
                    f"{path}.{word}", f"`{word}` and `synthetic`: rows come from one of them"
                )
    if data.split is not None:
        if data.eval:
            yield _clash(
                f"{path}.split", "`eval` and `split`: evaluation rows come from one of them"
            )
        yield from _split(data.split, f"{path}.split")


def _split(split: Split, path: str) -> Iterator[Problem]:
    if (split.eval is None) == (split.random is None):
        what = "`split` says `eval: last(N)` by a column, or `random: SHARE`, one of them"
        yield _clash(path, what, "{by: day, eval: last(1)}, or {random: 0.1}")
    elif split.eval is not None and split.by is None:
        yield _clash(f"{path}.eval", "`eval` needs `by`: the column whose values are compared")
    elif split.eval is not None and not _is_last(split.eval):
        what = f"expected last(N) with N >= 1, got `{split.eval}`"
        yield _wrong(f"{path}.eval", what)


def _is_last(text: str) -> bool:
    from graphrec.recipe.calls import parse_call

    try:
        call = parse_call(text)
    except ValueError:
        return False
    fine = call.name == "last" and len(call.args) == 1 and not call.kwargs
    return fine and type(call.args[0]) is int and call.args[0] > 0


CHECKS: Mapping[type, Callable[[Any, str], Iterator[Problem]]] = {
    IdFeature: _id,
    BucketFeature: _bucket,
    CrossFeature: _cross,
    DenseFeature: _dense,
    SequenceFeature: _sequence,
    PairedGroup: _paired,
    NodeSpec: _node,
    Task: _task,
    LossTerm: _term,
    Relation: _relation,
    Retrieval: _retrieval,
    Train: _train,
    Data: _data,
}
"""Model -> what it has to fulfil as a whole."""
