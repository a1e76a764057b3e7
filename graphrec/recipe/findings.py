"""pydantic's errors as findings: expected ..., got ..., at the key or value that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from graphrec.ground.errors import Problem, Span, nearest, suggestion
from graphrec.recipe.model import Origin
from graphrec.recipe.tree import Invalid, shown

__all__ = ["from_pydantic"]

_EXPECTED = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a map",
    "mapping_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "{min_length} or more elements",
    "too_long": "{max_length} elements at most",
    "missing_positional_only_argument": "more elements",
    "string_too_short": "a text that is not empty",
}
_MOST = 50
_NUMBER = re.compile(r"[+-]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_SHORT = {
    "train.lr": "a number, or {dense: 1e-3, sparse: 0.02}",
    "train.schedule": "the name of a schedule, or a map of its settings",
    "train.balance": "none, uncertainty, or {pareto: {...}}",
    "train.optim.*": "the name of an optimizer, or {name: {settings}}",
    "train.early_stop": "a map: {metric: ctr.auc, patience: 2}",
    "train.save": "a map: {best: ctr.auc, keep: 3}",
    "data.limits": "a map: {unseen: 0.5, quarantined: 0.1}",
    "data.split": "a map: {by: column, eval: last(1)}",
    "tasks.*.label": "the name of a column, or a map: {column: rating, above: 3.5}",
    "tasks.*.space": "the name of a label or column, or a map: {label, inside, outside}",
    "tasks.*.loss": "the name of a loss, or a map of losses and their settings",
    "groups.*": "a list of features and groups, or a map: {of: [...], except: [...]}",
    "losses.*": "an expression, or a map: {value, weight, from_step}",
}
"""Path of a map that has a short form -> what may stand there."""


def from_pydantic(
    error: ValidationError,
    path: str,
    origin: Origin | None,
    known: Iterable[str] = (),
    what: str = "",
    docs: Mapping[str, str] | None = None,
) -> list[Problem]:
    """The findings of one element at `path`.

    `known` are its legal keys, for suggestions, `what` its name in messages (`block `mlp``), `docs`
    a sentence for each key. Values that could not be read are silent: they are reported already.
    """
    details = [d for d in error.errors(include_url=False) if not isinstance(d["input"], Invalid)]
    details = details[:_MOST]  # a long list of wrong elements says nothing new
    reader = _Reader(path, origin, list(known), what, docs or {})
    places = [reader.resolve(detail) for detail in details]
    unknown = [d["loc"][-1] for d in details if d["type"] == "extra_forbidden"]
    groups: dict[str, list[dict[str, Any]]] = {}
    for place, detail in zip(places, details, strict=True):
        if any(other.startswith(f"{place}.") for other in places) and detail["type"] != "missing":
            continue  # a union: the branch that got further says more
        if detail["type"] == "missing" and _is_slip(str(detail["loc"][-1]), unknown):
            continue
        groups.setdefault(f"{place} {detail['type'] in _KEYS}", []).append(dict(detail))
    return [reader.problem(k.partition(" ")[0], group) for k, group in groups.items()]


_KEYS = ("missing", "extra_forbidden")


def _is_slip(missing: str, unknown: Sequence[Any]) -> bool:
    return any(nearest(str(key), [missing]) is not None for key in unknown)


class _Reader:
    """Turns the details of one element into findings."""

    def __init__(
        self, path: str, origin: Origin | None, known: list[str], what: str, docs: Mapping[str, str]
    ) -> None:
        self.path = path
        self.origin = origin
        self.known = known
        self.what = what
        self.docs = docs

    def resolve(self, detail: Any) -> str:
        """The path of the wrong value; steps that are no keys are branches of pydantic's unions."""
        path, steps = self.path, list(detail["loc"])
        last = steps.pop() if detail["type"] in _KEYS else None
        for step in steps:
            inner = _join(path, step)
            if self.origin is None or inner in self.origin.values:
                path = inner
        return path if last is None else _join(path, last)

    def problem(self, path: str, details: list[dict[str, Any]]) -> Problem:
        first = details[0]
        if first["type"] == "extra_forbidden":
            return self._unknown(path)
        if first["type"] == "missing":
            name = path.rpartition(".")[2]
            message = f"{self.what} needs `{name}`" if self.what else f"`{name}` is required"
            place = self._whole(path.rpartition(".")[0])
            return Problem("GR206", message, place, path, self.docs.get(name, ""))
        place = self.origin.value(path) if self.origin else None
        given, help = first["input"], ""
        own = [str(d["ctx"]["error"]) for d in details if d["type"] == "value_error"]
        if own and (len(own) == len(details) or isinstance(given, str)):
            return Problem("GR202", own[0].removeprefix("Value error, "), place, path)
        options = list(dict.fromkeys(_expected(d) for d in details if d["type"] != "value_error"))
        if options == ["a map"]:
            options = [next((s for p, s in _SHORT.items() if fnmatchcase(path, p)), "a map")]
        literal = next((d for d in details if d["type"] == "literal_error"), None)
        if literal is not None:
            near = nearest(str(given), _options(literal)) if given is not None else None
            help = f"did you mean `{near}`?" if near else ""
        elif given in ("True", "False", "yes", "no", "on", "off") and "true or false" in options:
            help = "only `true` and `false` are booleans"
        elif isinstance(given, int | float | bool) and "a text" in options:
            help = "put quotes around it to make it a text"
        elif _is_number(given) and any("number" in o or "integer" in o for o in options):
            help = f"without quotes: {given}"
        elif isinstance(given, float) and given.is_integer() and "an integer" in options:
            help = f"an integer has no point and no exponent: {given:.0f}"
        elif isinstance(given, int | float | bool) and any("column" in o for o in options):
            text = str(given).lower() if isinstance(given, bool) else given
            help = f'a name that looks like something else stands in quotes: "{text}"'
        message = f"expected {' or '.join(options)}, got {shown(given)}"
        return Problem("GR202", message, place, path, help)

    def _whole(self, path: str) -> Span | None:
        """The part that lacks something: its key, or its family, which lacks it for all names."""
        if self.origin is None:
            return None
        feature = path.startswith("features.") and path.count(".") == 1
        return self.origin.value(path) if feature else self.origin.key(path)

    def _unknown(self, path: str) -> Problem:
        parent, _, name = path.rpartition(".")
        place = self.origin.key(path) if self.origin else None
        known = self.known if parent == self.path else _known_below(self.docs, parent, self.path)
        message = f"{self.what} has no parameter `{name}`" if self.what else f"unknown key `{name}`"
        return Problem("GR201", message, place, path, suggestion(name, known, 20))


def _is_number(given: object) -> bool:
    """Whether a text is written like a number."""
    return isinstance(given, str) and _NUMBER.fullmatch(given) is not None


def _join(path: str, step: object) -> str:
    return f"{path}.{step}" if path else str(step)


def _known_below(docs: Mapping[str, str], parent: str, path: str) -> list[str]:
    """Legal keys of a nested map: `docs` has them as `schedule.warmup`."""
    prefix = parent.removeprefix(path).lstrip(".") + "."
    return [
        k.removeprefix(prefix) for k in docs if k.startswith(prefix) and "." not in k[len(prefix) :]
    ]


def _options(detail: Mapping[str, Any]) -> list[str]:
    return [
        quoted or plain
        for quoted, plain in re.findall(r"'([^']*)'|([^\s,']+)", str(detail["ctx"]["expected"]))
        if (quoted or plain) != "or"
    ]


def _expected(detail: Mapping[str, Any]) -> str:
    if detail["type"] == "literal_error":
        options = _options(detail)
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    form = _EXPECTED.get(str(detail["type"]))
    return form.format(**detail.get("ctx", {})) if form else str(detail["msg"])
