"""Settings of `train` and `data` that have to agree with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphrec.ground.errors import Problem
from graphrec.recipe.clashes import clash, wrong
from graphrec.recipe.optimizer_table import DENSE, OPTIMIZERS, SPARSE
from graphrec.recipe.training import Balance, Data, Optim, Optimizer, Schedule, Split, Train

__all__ = [
    "BALANCE_SETTINGS",
    "OPTIMIZER_SETTINGS",
    "SCHEDULE_SETTINGS",
    "check_data",
    "check_train",
]

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


def check_train(train: Train, path: str) -> Iterator[Problem]:
    if train.epochs is not None and train.steps is not None:
        yield clash(f"{path}.steps", "`epochs` and `steps`: say one of them")
    if train.memory == "low" and train.compile:
        yield clash(f"{path}.memory", "`low` and `compile`: torch.compile decides what is kept")
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
            yield wrong(f"{path}.{side}.name", what)
        yield from _settings(
            optimizer, f"{path}.{side}", optimizer.name, OPTIMIZER_SETTINGS, ("name",)
        )
        if not all(0 <= beta < 1 for beta in optimizer.betas):
            what = f"expected numbers from 0 to below 1, got {list(optimizer.betas)}"
            yield wrong(f"{path}.{side}.betas", what)
        if side == "sparse" and optimizer.momentum:
            yield clash(f"{path}.{side}.momentum", "`momentum` is for dense parameters only")


def _schedule(schedule: Schedule, path: str) -> Iterator[Problem]:
    common = ("kind", "warmup", "warmup_from")
    yield from _settings(schedule, path, schedule.kind, SCHEDULE_SETTINGS, common)
    if "warmup_from" in schedule.model_fields_set and not schedule.warmup:
        yield clash(f"{path}.warmup_from", "`warmup_from` needs `warmup`")
    if schedule.kind == "steps" and not schedule.at:
        yield Problem("GR206", "`at` is required: the updates at which the rate decays", path=path)
    if any(b <= a for a, b in zip(schedule.at, schedule.at[1:], strict=False)):
        yield wrong(f"{path}.at", "expected ascending updates")


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
        yield clash(f"{path}.{word}", f"{chosen} has no `{word}`", f"it has: {known}")


def check_data(data: Data, path: str) -> Iterator[Problem]:
    if data.synthetic is not None:
        for word in ("train", "eval", "split"):
            if word in data.model_fields_set:
                yield clash(
                    f"{path}.{word}", f"`{word}` and `synthetic`: rows come from one of them"
                )
    if data.split is not None:
        if data.eval:
            yield clash(
                f"{path}.split", "`eval` and `split`: evaluation rows come from one of them"
            )
        yield from _split(data.split, f"{path}.split")


def _split(split: Split, path: str) -> Iterator[Problem]:
    if (split.eval is None) == (split.random is None):
        what = "`split` says `eval: last(N)` by a column, or `random: SHARE`, one of them"
        yield clash(path, what, "{by: day, eval: last(1)}, or {random: 0.1}")
    elif split.eval is not None and split.by is None:
        yield clash(f"{path}.eval", "`eval` needs `by`: the column whose values are compared")
    elif split.eval is not None and not _is_last(split.eval):
        what = f"expected last(N) with N >= 1, got `{split.eval}`"
        yield wrong(f"{path}.eval", what)


def _is_last(text: str) -> bool:
    from graphrec.recipe.calls import parse_call

    try:
        call = parse_call(text)
    except ValueError:
        return False
    fine = call.name == "last" and len(call.args) == 1 and not call.kwargs
    return fine and type(call.args[0]) is int and call.args[0] > 0
