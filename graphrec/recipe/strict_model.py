"""What all parts of a recipe are made of: the strict base model, and the types of small values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic import PositiveInt as Positive
from pydantic_core import PydanticKnownError

from graphrec.ground.errors import nearest
from graphrec.recipe.calls import Call, parse_call
from graphrec.recipe.tree import shown

__all__ = [
    "CallText",
    "Integers",
    "Model",
    "Numbers",
    "Positive",
    "Later",
    "Texts",
    "Unhashed",
    "Vocab",
    "as_call",
    "as_tuple",
    "expect_one_of",
]


class Model(BaseModel):
    """Strict, frozen, closed: an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


@dataclass(frozen=True)
class Later:
    """Marks a field that came after version 0.1.0: at its default it is no part of a recipe's hash.

    So a run that was begun before the field was there is still a run of the same recipe.
    """


@dataclass(frozen=True)
class Unhashed:
    """Marks a field that says where or how fast, not what: no part of a recipe's hash."""


_VOCAB = "an integer, hash(N), file(path), fit or fit(min_count=5)"


def _vocab(value: Any) -> Call:
    if isinstance(value, int) and not isinstance(value, bool):
        value = Call("range", (value,))
    try:
        call = as_call(value)
    except ValueError:
        call = None
    if not isinstance(call, Call):
        raise ValueError(f"expected {_VOCAB}, got {shown(value)}")
    name, args, kwargs = call.name, call.args, call.kwargs
    size = args[0] if len(args) == 1 and not kwargs else None
    if name in ("range", "hash"):
        if type(size) is int and size > 0:
            return call
        got = f"got {size}" if name == "range" else f"got `{call}`"
        raise ValueError(f"expected a number of rows above 0: 1000 or hash(1_000), {got}")
    if name == "file":
        if isinstance(size, str) and size:
            return call
        raise ValueError(f"expected file(path), got `{call}`")
    if name != "fit":
        near = nearest(name, ("hash", "file", "fit"))
        hint = f"; did you mean `{near}`?" if near else ""
        raise ValueError(f"expected {_VOCAB}, got `{call}`{hint}")
    least = kwargs.get("min_count", 1)
    if args or set(kwargs) - {"min_count"} or type(least) is not int or least < 1:
        raise ValueError(f"expected fit or fit(min_count=N) with N above 0, got `{call}`")
    return call


def _plain_vocab(call: Call) -> int | str:
    return int(call.args[0]) if call.name == "range" else str(call)


def expect_one_of(names: Iterable[str], value: str) -> str:
    """The value, which is one of these names: as a `Literal`, where the names are a table's."""
    known = list(names)
    if value not in known:
        expected = ", ".join(repr(name) for name in known)
        raise PydanticKnownError("literal_error", {"expected": expected})
    return value


def as_call(value: Any) -> Any:
    """A text as a Call, anything else as it is."""
    return parse_call(value) if isinstance(value, str) else value


def _call_text(value: Any) -> Any:
    if not isinstance(value, str | Call):
        raise ValueError(f"expected a name or name(arguments), got {shown(value)}")
    return as_call(value)


Vocab = Annotated[
    Call,
    BeforeValidator(_vocab),
    PlainSerializer(_plain_vocab),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^(hash\(.+\)|file\(.+\)|fit(\(.*\))?)$"},
            ]
        }
    ),
]
"""`range(N)` (written N), `hash(N)`, `file(path)` or `fit(min_count=k)`."""

CallText = Annotated[
    Call, BeforeValidator(_call_text), PlainSerializer(str), WithJsonSchema({"type": "string"})
]


def as_tuple(value: Any) -> Any:
    """A list as a tuple, anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Integers = Annotated[tuple[Positive, ...], BeforeValidator(as_tuple)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(as_tuple)]
