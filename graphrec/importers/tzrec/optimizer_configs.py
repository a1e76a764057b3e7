"""`sparse_optimizer` and `dense_optimizer` -> rates, optimizers and one schedule."""

from __future__ import annotations

from typing import Any

from graphrec.importers.tzrec.section import Section

__all__ = ["optimizers"]

_NAMES = {
    "adagrad_optimizer": "adagrad",
    "adam_optimizer": "adam",
    "adamw_optimizer": "adamw",
    "ftrl_optimizer": "adagrad",
    "lamb_optimizer": "adam",
    "lars_sgd_optimizer": "sgd",
    "partial_rowwise_adam_optimizer": "adam",
    "partial_rowwise_lamb_optimizer": "adam",
    "rowwise_adagrad_optimizer": "rowwise_adagrad",
    "sgd_optimizer": "sgd",
}
_EXACT = ("adagrad", "adam", "adamw", "rowwise_adagrad", "sgd")
_USUAL = {"dense": "adam", "sparse": "adagrad"}
_RATE = 0.002


def optimizers(train: Section) -> dict[str, Any]:
    """`lr`, `optim` and `schedule` of a `train_config`."""
    rates: dict[str, float] = {}
    chosen: dict[str, Any] = {}
    schedules: dict[str, dict[str, Any]] = {}
    for side in ("dense", "sparse"):
        section = train.section(f"{side}_optimizer")
        if section is None:
            continue
        rates[side] = _RATE
        for kind in section.names():
            inner = section.section(kind) if kind.endswith("_optimizer") else None
            if inner is not None:
                rates[side] = float(inner.number("lr", _RATE))
                optimizer = _optimizer(kind, inner, side)
                if optimizer != _USUAL[side]:
                    chosen[side] = optimizer
        schedules[side] = _schedule(section, rates[side])
    settings: dict[str, Any] = {}
    if rates:
        settings["lr"] = rates  # one number would leave the tables their own default
    if chosen:
        settings["optim"] = chosen
    schedule = schedules.get("dense", schedules.get("sparse", {}))
    if schedule:
        settings["schedule"] = schedule
    if schedules.get("sparse", schedule) != schedule:
        settings["table_schedule"] = schedules["sparse"] or {"kind": "constant"}
    return settings


def _optimizer(kind: str, section: Section, side: str) -> Any:
    name = _NAMES.get(kind, _USUAL[side])
    if kind.removesuffix("_optimizer") not in _EXACT:
        what = f"{kind} has no counterpart: {name}, at its rate"
        section.notes.add(section.span, what, "rates of one optimizer rarely suit another")
    if side == "sparse" and name == "adamw":
        section.notes.add(section.span, "adamw is not for tables here: adam, at its rate")
        name = "adam"
    if side == "dense" and name == "rowwise_adagrad":
        section.notes.add(section.span, "rowwise_adagrad is for tables: adagrad, at its rate")
        name = "adagrad"
    settings: dict[str, Any] = {}
    if name in ("adam", "adamw") and ("beta1" in section or "beta2" in section):
        settings["betas"] = [
            float(section.number("beta1", 0.9)),
            float(section.number("beta2", 0.999)),
        ]
    decay = _weight_decay(name, section, side)
    if decay:
        settings["weight_decay"] = decay
    if name == "sgd" and side == "dense" and section.number("momentum"):
        settings["momentum"] = float(section.number("momentum"))
    if not section.flag("gradient_clipping"):
        section.ignore("max_gradient")
    else:
        section.remark("gradient_clipping", "gradients of tables are not clipped here")
    return {name: settings} if settings else name


def _weight_decay(name: str, section: Section, side: str) -> float:
    """The L2 penalty (adamw: the decoupled decay); 0 where the other system does not decay."""
    decay, mode = float(section.number("weight_decay")), section.text("weight_decay_mode", "NONE")
    if not decay or side == "dense":
        return decay
    if name == "adam":
        what = "weight_decay of tables is decoupled from adam's moments there: here it is L2"
        section.remark("weight_decay", what)
    elif name == "rowwise_adagrad" and mode == "NONE":
        what = "weight_decay without weight_decay_mode decays nothing there: left out"
        section.remark("weight_decay", what)
        return 0.0
    elif mode == "DECOUPLE":
        section.remark("weight_decay_mode", "weight_decay_mode: DECOUPLE has no counterpart: L2")
    return decay


# ---- schedules --------------------------------------------------------------------------------


def _schedule(section: Section, rate: float) -> dict[str, Any]:
    for kind in section.names():
        if not kind.endswith("_learning_rate") or kind == "constant_learning_rate":
            if kind == "constant_learning_rate":
                section.section(kind)
            continue
        inner = section.section(kind)
        if inner is None:
            continue
        if inner.flag("by_epoch"):
            inner.notes.add(inner.span, f"{kind} by epochs has no counterpart: constant")
            inner.ignore(*inner.names())
            return {}
        if kind == "exponential_decay_learning_rate":
            return _exponential(inner, rate)
        if kind == "manual_step_learning_rate":
            return _steps(inner, rate)
        if "cosine" in kind:
            return _cosine(inner, kind, rate)
        section.remark(kind, f"{kind} has no counterpart: constant")
    return {}


def _warmup(section: Section, rate: float) -> dict[str, Any]:
    warmup = section.integer("warmup_size") or 0
    start = section.number("warmup_learning_rate")
    if not warmup:
        return {}
    return {"warmup": warmup, **({"warmup_from": round(start / rate, 12)} if start else {})}


def _minimum(section: Section, rate: float) -> dict[str, Any]:
    low = section.number("min_learning_rate")
    return {"minimum": round(low / rate, 12)} if low else {}


def _exponential(section: Section, rate: float) -> dict[str, Any]:
    schedule: dict[str, Any] = {"kind": "exponential"}
    schedule["gamma"] = float(section.number("decay_factor", 0.95))
    schedule["every"] = section.integer("decay_size") or 1000
    if section.flag("staircase", True):
        schedule["staircase"] = True
    return {**schedule, **_warmup(section, rate), **_minimum(section, rate)}


def _steps(section: Section, rate: float) -> dict[str, Any]:
    """Rates that shrink by one factor become `steps`; others have no counterpart."""
    at, rates = section.integers("schedule_sizes"), section.numbers("learning_rates")
    if len(rates) == len(at) + 1:
        rates = rates[1:] if rates[0] == rate else rates
    factors = [b / a for a, b in zip([rate, *rates], rates, strict=False) if a]
    regular = factors and all(abs(f - factors[0]) < 1e-6 * abs(factors[0]) for f in factors)
    if len(rates) != len(at) or not regular or factors[0] <= 0 or at != sorted(set(at)):
        section.notes.add(section.span, "manual steps of unequal factors: a constant rate")
        return {}
    if section.flag("warmup"):
        section.remark("warmup", "the warm-up of manual steps has no counterpart")
    return {"kind": "steps", "at": at, "gamma": round(factors[0], 12)}


def _cosine(section: Section, kind: str, rate: float) -> dict[str, Any]:
    period = next((section.integer(n) for n in ("T_max", "t_max", "decay_size") if n in section), 0)
    first = next((section.integer(n) for n in ("T_0", "t_0") if n in section), 0)
    tail = {**_warmup(section, rate), **_minimum(section, rate)}
    if "restart" in kind:
        return {"kind": "restarts", "every": first or period or 1000, **tail}
    if period:
        section.notes.add(section.span, "the cosine ends with the run, not after its own period")
    return {"kind": "cosine", **tail}
