"""Whether every task's losses, metrics and classes fit together: findings GR230 to GR238."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Set
from functools import partial

from pydantic import ValidationError

from graphrec.ground.errors import Problem, suggestion
from graphrec.recipe.calls import Call
from graphrec.recipe.metric_table import Decay
from graphrec.recipe.model import CrossFeature, Recipe, SequenceFeature, Task
from graphrec.recipe.tasks.spec import (
    Form,
    decay_parameters,
    form_of,
    key,
    loss_parameters,
    metric_parameters,
    selection,
)

__all__ = ["check_tasks"]


def check_tasks(recipe: Recipe, broken: frozenset[str] = frozenset()) -> list[Problem]:
    """Every loss, metric, label and class count that can't work, as findings (GR230 to GR240).

    `broken` are parts of the recipe that were left out: what follows from them is silent.
    """
    problems = [
        p for name, task in sorted(recipe.tasks.items()) for p in _check_task(recipe, name, task)
    ]
    wrong = {".".join(p.path.split(".")[:2]) for p in problems} | broken
    if not any(path.partition(".")[0] == "tasks" for path in wrong):
        problems.extend(_check_balance(recipe))
    if "tasks" not in wrong:
        problems.extend(_check_selection(recipe, wrong))
    problems.extend(_check_labels(recipe))
    problems.extend(_check_teachers(recipe))
    origin = recipe.origin
    if origin is None:
        return problems
    keys = ("GR201", "GR230")
    return [p.at((origin.key if p.code in keys else origin.value)(p.path)) for p in problems]


def _check_task(recipe: Recipe, name: str, task: Task) -> Iterator[Problem]:
    path, wanted = f"tasks.{name}", form_of(recipe, name)
    yield from _check_losses(path, recipe, task, wanted)
    yield from _check_heads(path, recipe, task)
    yield from _check_classes(path, recipe, task, wanted)
    if task.label is None and (task.loss or task.metrics or task.train_metrics):
        yield Problem(
            "GR237",
            "needs a label for its losses and metrics",
            path=path,
            help="add `label:`, or `loss: none` for a task that is only read by others",
        )
    for where, calls in (("metrics", task.metrics), ("train_metrics", task.train_metrics)):
        for number, call in enumerate(calls):
            place = f"{path}.{where}.{number}"
            training = where == "train_metrics"
            yield from _check_metric(place, call, recipe, name, training=training)


def _check_losses(path: str, recipe: Recipe, task: Task, wanted: Form) -> Iterator[Problem]:
    losses = recipe.measures.losses
    for name, given in task.loss.items():
        place = f"{path}.loss.{name}"
        if name not in losses:
            yield Problem(
                "GR230", f"no loss `{name}`", path=place, help=suggestion(name, sorted(losses))
            )
            continue
        known = list(losses[name].model_fields)
        read = partial(loss_parameters, recipe, name, given)
        yield from _invalid("GR231", place, name, read, known)
        if wanted not in losses[name].forms:
            fits = sorted(n for n, loss in losses.items() if wanted in loss.forms)
            product = "a task with `prob`" if task.prob else "the child of a product"
            what = {"prob": product, "softmax": "a task over classes"}.get(
                wanted, f"a {task.kind} task"
            )
            yield Problem(
                "GR232",
                f"loss {name} does not fit {what}",
                path=place,
                help=f"fits here: {', '.join(fits)}",
            )


def _check_heads(path: str, recipe: Recipe, task: Task) -> Iterator[Problem]:
    """Losses that read other numbers of the head than the rest do."""
    losses = recipe.measures.losses
    three = [name for name in task.loss if name in losses and losses[name].lognormal]
    others = [name for name in task.loss if name in losses and not losses[name].lognormal]
    if three and others:
        yield Problem(
            "GR232",
            f"loss {three[0]} reads three numbers of the head, {others[0]} one",
            path=f"{path}.loss.{others[0]}",
            help=f"leave {others[0]} out, or make a task of its own",
        )


def _check_classes(path: str, recipe: Recipe, task: Task, wanted: Form) -> Iterator[Problem]:
    place, losses = f"{path}.classes", recipe.measures.losses
    pairs = [name for name in task.loss if name in losses and losses[name].two_classes]
    if wanted != "softmax":
        if task.classes not in (None, 1):
            yield Problem(
                "GR236",
                f"classes: {task.classes} has no meaning for a {task.kind} task with this loss",
                path=place,
                help="leave it out, or use kind: multiclass or loss: softmax",
            )
    elif task.classes is None:
        yield Problem("GR236", "needs `classes`", path=path, help="say how many, e.g. classes: 2")
    elif task.classes < 2:
        yield Problem("GR236", f"needs at least 2 classes, got {task.classes}", path=place)
    elif task.classes != 2 and (task.kind == "binary" or pairs):
        why = f"loss {pairs[0]}" if pairs else "a binary task"
        yield Problem("GR236", f"{why} needs classes: 2, got {task.classes}", path=place)


def _check_metric(
    place: str, call: Call, recipe: Recipe, name: str, *, training: bool
) -> Iterator[Problem]:
    metrics, task, wanted = recipe.measures.metrics, recipe.tasks[name], form_of(recipe, name)
    known = sorted(n for n, m in metrics.items() if m.decays or not training)
    if call.name not in known:
        kind = "training metric" if training else "metric"
        yield Problem(
            "GR233", f"no {kind} `{call.name}`", path=place, help=suggestion(call.name, known)
        )
        return
    metric, classes = metrics[call.name], task.classes or 2
    read: Callable[[], object] = partial(metric_parameters, recipe, call)
    if training:
        read = partial(decay_parameters, call)
    fields = Decay.model_fields if training else metric.model_fields
    wrong = [*_invalid("GR234", place, str(call), read, list(fields))]
    yield from wrong
    if wanted not in metric.forms or (wanted == "softmax" and metric.two_classes and classes != 2):
        fits = [n for n in known if wanted in metrics[n].forms]
        if wanted == "softmax" and classes != 2:
            fits = [n for n in fits if not metrics[n].two_classes]
        what = f"{classes} classes" if wanted == "softmax" else f"a {task.kind} task"
        yield Problem(
            "GR235",
            f"metric {call} does not fit {what}",
            path=place,
            help=f"fits here: {', '.join(fits)}",
        )
    elif not wrong and not training:
        why = metric_parameters(recipe, call).refusal(wanted, classes)
        if why is not None:
            yield Problem("GR235", f"metric {call}: {why}", path=place)


def _invalid(
    code: str, place: str, what: str, read: Callable[[], object], known: list[str]
) -> Iterator[Problem]:
    try:
        read()
    except ValidationError as error:
        for detail in error.errors():
            name = ".".join(str(part) for part in detail["loc"])
            path = f"{place}.{name}" if code == "GR231" and name and detail["input"] else place
            if detail["type"] == "extra_forbidden":
                message, help = f"has no `{name}`", suggestion(name, known)
            elif detail["type"] == "missing":
                message, help, path = f"needs `{name}`", f"for example  {name}: ...", place
                if code == "GR234":
                    help = f"write  {what.partition('(')[0]}({name})"
            else:
                message = f"{name}: {detail['msg'].removeprefix('Value error, ')}"
                message, help = message[:1].lower() + message[1:], ""
            yield Problem(code, f"{what}: {message}", path=path, help=help)
    except ValueError as error:
        yield Problem(code, f"{what}: {error}", path=place)


def _check_balance(recipe: Recipe) -> Iterator[Problem]:
    balance, path = recipe.train.balance, "train.balance"
    counts = {name: len(task.loss) for name, task in recipe.tasks.items()}
    if balance.kind != "none" and sum(counts.values()) < 2:
        yield Problem("GR205", "there is one loss: nothing to balance", path=path)
    for name in balance.min:
        if not counts.get(name):
            known = sorted(task for task, count in counts.items() if count)
            yield Problem(
                "GR301", f"no task `{name}` with a loss", path=path, help=suggestion(name, known)
            )
    least = sum(value * counts.get(name, 0) for name, value in balance.min.items())
    if least >= 1:
        yield Problem(
            "GR205",
            f"the least weights of all losses are {least:g} together",
            path=f"{path}.min",
            help="below 1, so that something is left to distribute",
        )


def _check_teachers(recipe: Recipe) -> Iterator[Problem]:
    """Who is taught by a run."""
    for name, term in sorted(recipe.losses.items()):
        path = f"losses.{name}.teacher"
        if term.teacher is None:
            continue
        task = term.teacher.task
        if task is None and len(recipe.tasks) != 1:
            known = ", ".join(recipe.tasks) or "none"
            what = "needs `task`: which one is taught"
            yield Problem("GR206", what, path=path, help=f"tasks here: {known}")
        elif task is not None and task not in recipe.tasks:
            help = suggestion(task, recipe.tasks)
            yield Problem("GR301", f"no task `{task}`", path=f"{path}.task", help=help)
        else:
            taught = task or next(iter(recipe.tasks))
            if form_of(recipe, taught) == "prob":
                what = f"task `{taught}` has no logit that a teacher could pull"
                yield Problem("GR302", what, path=path)


def _check_labels(recipe: Recipe) -> Iterator[Problem]:
    """A model that reads its own label or row weights learns nothing else."""
    columns: dict[str, str] = {}
    for name, feature in recipe.features.items():
        if isinstance(feature, SequenceFeature):
            columns |= dict.fromkeys(feature.columns.values(), name)
        elif not isinstance(feature, CrossFeature):
            columns[feature.column or name] = name
    for name, task in sorted(recipe.tasks.items()):
        own_columns = {
            "label": task.label.column if task.label else None,
            "sample_weight": task.sample_weight,
        }
        for word, column in own_columns.items():
            reader = columns.get(column or "")
            if reader is not None:
                what = "label" if word == "label" else "row weight"
                yield Problem(
                    "GR240",
                    f"column `{column}` is the {what} here, and feature `{reader}` reads it",
                    path=f"tasks.{name}.{word}",
                    help=f"leave the feature out, or name the {what}'s own column",
                )


def _check_selection(recipe: Recipe, wrong: Set[str]) -> Iterator[Problem]:
    train = recipe.train
    metrics = {"train.save.best": train.save.best}
    if train.early_stop is not None:
        metrics["train.early_stop.metric"] = train.early_stop.metric
    for path, wanted in metrics.items():
        if wanted is None or _rests_on(wanted, wrong, recipe.measures.metrics):
            continue
        if not selection(recipe, wanted)[0]:
            known = [
                key(name, call) for name, task in recipe.tasks.items() for call in task.metrics
            ]
            yield Problem(
                "GR238",
                f"no task evaluates `{wanted}`",
                path=path,
                help=suggestion(wanted, [*known, "loss"]),
            )


def _rests_on(wanted: str, wrong: Set[str], metrics: Collection[str]) -> bool:
    """Whether a metric may be one of a task that has findings of its own."""
    task, dot, metric = wanted.partition(".")
    known = {name.partition("(")[0] for name in (metric, wanted)} & {*metrics, "loss"}
    if not dot:
        return any(path.startswith("tasks.") for path in wrong)
    return f"tasks.{task}" in wrong and bool(known)
