"""`search:`: what `graphrec tune` may change, a range of values for each path of the recipe.

search:
  train.lr.dense: log(1e-4, 1e-2)
  train.batch: choice(512, 2048)
  graph.tower.hidden: [[64], [128, 64]]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from graphrec.ground.errors import Problem, nearest
from graphrec.recipe.calls import Call
from graphrec.recipe.problem_text import Report
from graphrec.recipe.strict_model import as_call
from graphrec.recipe.tree import Tree, shown

__all__ = ["Range", "as_range", "read_range"]

_FORMS = "log(1e-4, 1e-2), uniform(0, 0.5), int(1, 8), choice(8, 16, 32) or a list of values"
_NAMED = ("features", "groups", "blocks", "graph", "tasks", "losses")


def as_range(value: Any) -> Call:
    """One range; a list is a choice of its values, whatever they are.

    Raises ValueError with what is wrong.
    """
    call = Call("choice", tuple(value)) if isinstance(value, list | tuple) else as_call(value)
    if not isinstance(call, Call):
        raise ValueError(f"expected {_FORMS}, got {shown(value)}")
    name, args = call.name, call.args
    if call.kwargs or name not in ("log", "uniform", "int", "choice"):
        near = nearest(name, ("log", "uniform", "int", "choice"))
        hint = f"; did you mean `{near}`?" if near and near != name else ""
        raise ValueError(f"expected {_FORMS}, got `{call}`{hint}")
    if name == "choice":
        if len(args) < 2:
            raise ValueError(f"a choice is between two values or more, got {len(args)}")
        return call
    kinds = (int,) if name == "int" else (int, float)
    if len(args) != 2 or any(type(value) not in kinds for value in args):
        numbers = "two whole numbers" if name == "int" else "two numbers"
        raise ValueError(f"expected {numbers}: {name}(least, largest), got `{call}`")
    if not args[0] < args[1] or (name == "log" and args[0] <= 0):
        above = " above 0" if name == "log" else ""
        raise ValueError(f"expected the least{above} first, then the largest, got `{call}`")
    return call


def _plain(call: Call) -> Any:
    """As it may be written: a choice as its list, so that lists and texts keep their form."""
    return list(call.args) if call.name == "choice" else str(call)


Range = Annotated[
    Call,
    BeforeValidator(as_range),
    PlainSerializer(_plain),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*(log|uniform|int|choice)\(.+\)\s*$"},
                {"type": "array", "minItems": 2},
            ]
        }
    ),
]
"""`log(a, b)`, `uniform(a, b)`, `int(a, b)`, `choice(a, b, ...)` or a list of values."""


def read_range(recipe: Tree, report: Report, path: str, value: Tree, where: str) -> Call | None:
    """The range of one path, or nothing, once it is reported why."""
    problem = _path_problem(path, recipe)
    if problem is not None:
        report(replace(problem, span=value.key, path=where))
        return None
    try:
        return as_range(value.plain())
    except ValueError as error:
        report(Problem("GR202", str(error), value.span, where))
        return None


def _path_problem(path: str, recipe: Tree) -> Problem | None:
    """Why this path leads nowhere, if it does; deeper steps are tried by `tune`."""
    first, _, rest = path.partition(".")
    name = rest.partition(".")[0]
    sections = ("data", *_NAMED, "kernels", "train")
    if first not in sections:
        near = nearest(first, sections)
        help = f"did you mean `{near}`?" if near else f"one of {', '.join(sections)}"
        return Problem("GR205", f"`{first}` is nothing to search in", path=path, help=help)
    if not name:
        help = "the path of one value, as behind -o: train.lr.dense"
        return Problem("GR205", f"the whole of `{first}` can't be searched", path=path, help=help)
    part = recipe.at(first)
    known = part.value if part is not None else {}
    if first in _NAMED and isinstance(known, dict) and name not in known:
        near = nearest(name, known)
        help = f"did you mean `{near}`?" if near else f"it has {', '.join(known) or 'none'}"
        return Problem("GR205", f"no `{name}` in {first}", path=path, help=help)
    return None
