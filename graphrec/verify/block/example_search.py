"""A block's class and a few parameters -> examples that its `infer` accepts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from graphrec.blocks.base import Block
from graphrec.ground.errors import Problem, RecipeError, suggestion
from graphrec.ground.shapes import B, Shape, ShapeError, length
from graphrec.verify.block.example import LENGTHS, Example

__all__ = ["find_examples", "guessed_parameters", "parse_shape"]

_L = length("history")
_VARIADIC = 2
_WIDTH, _FIELDS = 6, 4
KINDS = (Shape((B, _WIDTH)), Shape((B, _FIELDS, _WIDTH)), Shape((B, _L, _WIDTH)))
"""What a port is offered, in this order: a vector, fields, a history."""
_NARROW = tuple(shape.resize(1) for shape in KINDS)
_MOST = 4
"""Examples of one block."""
_TRIED = 3**7


def guessed_parameters(kind: type[Block], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the parameters that must be given and are not, from their types."""
    schema = kind.model_json_schema()
    guesses = {}
    for name in schema.get("required", ()):
        if name not in given:
            value = _guess(schema["properties"][name], schema.get("$defs", {}))
            if value is not None:
                guesses[name] = value
    return guesses


def _guess(part: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """A small legal value of a JSON schema, None where that is anybody's guess."""
    if "$ref" in part:
        return _guess(known[part["$ref"].rpartition("/")[2]], known)
    if "anyOf" in part:
        return next((v for form in part["anyOf"] if (v := _guess(form, known)) is not None), None)
    if "enum" in part or "const" in part:
        return part.get("const", part.get("enum", [None])[0])
    kind = part.get("type")
    if kind == "integer":
        low = part.get("minimum", part.get("exclusiveMinimum", 0))
        return int(min(max(4, low + 1), part.get("maximum", 4)))
    if kind == "number":
        low, high = part.get("minimum", part.get("exclusiveMinimum", 0.0)), part.get("maximum")
        return float(low + 0.5 if high is None else (low + high) / 2)
    if kind == "boolean":
        return True
    if kind == "string":
        return "a"
    if kind == "array":
        inner = part.get("items", {})
        if inner.get("type") == "string":
            return ["a", "b"]
        value = _guess(inner, known)
        return None if value is None else [value] * max(2, part.get("minItems", 0))
    return None


def find_examples(
    kind: type[Block],
    params: Mapping[str, Any],
    inputs: Mapping[str, Shape] | None = None,
    *,
    longest: int | None = None,
    stops_gradients: bool = False,
) -> list[Example]:
    """The shapes that `infer` accepts, of those in `KINDS` for every port not in `inputs`.

    A variadic port gets two inputs; optional ports none, unless they are given. `longest` is the
    most steps that the block reads. RecipeError when the parameters or all shapes are refused.
    """
    block = _configured(kind, params)
    inputs = dict(inputs or {})
    _known_ports(kind, inputs)
    lengths = LENGTHS if longest is None else tuple(min(n, longest) for n in LENGTHS)
    refusals: list[str] = []
    for kinds in (KINDS, (*KINDS, *_NARROW)):
        valid = [s for s in _offers(kind, inputs, kinds) if _accepted(block, s, refusals)][:_MOST]
        if valid:
            return [
                Example(block, shapes, lengths, stops_gradients, _by_accident(shapes, valid[0]))
                for shapes in valid
            ]
    names = ", ".join(port.name for port in kind.ports() if port.required or port.variadic)
    reasons = "\n".join(refusals[: len(KINDS) ** 2])
    help = f"name the shapes:  --input PORT=B,8   (ports: {names})\n{reasons}"
    raise _fault(kind, "infer accepts none of the inputs tried", help)


def _accepted(block: Block, shapes: tuple[Shape, ...], refusals: list[str]) -> bool:
    shown = ", ".join(map(str, shapes))
    try:
        block.infer(*shapes)
    except ShapeError as error:
        refusals.append(f"{shown}: {error}")
        return False
    except Exception as error:
        raise _fault(
            type(block),
            f"infer fails on {shown}: {type(error).__name__}: {error}",
            "infer raises ShapeError for inputs it can't use, nothing else",
        ) from error
    return True


def _by_accident(shapes: tuple[Shape, ...], first: tuple[Shape, ...]) -> bool:
    """Whether a port that takes vectors takes something else too: then infer is just not strict."""
    return any(a != b and b.rank == 2 for a, b in zip(shapes, first, strict=True))


def _configured(kind: type[Block], params: Mapping[str, Any]) -> Block:
    import json

    try:
        return kind.model_validate_json(json.dumps(dict(params)))
    except ValidationError as error:
        problems = []
        for line in error.errors():
            name = ".".join(map(str, line["loc"]))
            known = suggestion(name, kind.model_fields) if line["type"] == "extra_forbidden" else ""
            help = known or f"--param {name or 'NAME'}=VALUE"
            message = f"{name or kind.block_name}: {line['msg'].removeprefix('Value error, ')}"
            problems.append(Problem("GR202", message, path=name, help=help))
        raise RecipeError(problems) from None


def _known_ports(kind: type[Block], inputs: Mapping[str, Shape]) -> None:
    ports = [port.name for port in kind.ports()]
    for name in inputs:
        if name not in ports:
            raise RecipeError(
                Problem("GR302", f"no port `{name}`", path=name, help=suggestion(name, ports))
            )


def _offers(
    kind: type[Block], inputs: Mapping[str, Shape], kinds: tuple[Shape, ...]
) -> Iterator[tuple[Shape, ...]]:
    """Shapes for all inputs, in the order of the ports."""
    choices: list[list[tuple[Shape, ...]]] = []
    for port in kind.ports():
        times = _VARIADIC if port.variadic else 1
        if port.name in inputs:
            choices.append([(inputs[port.name],) * times])
        elif port.required or port.variadic:
            choices.append([(shape,) * times for shape in kinds])
    for combination in itertools.islice(itertools.product(*choices), _TRIED):
        yield tuple(itertools.chain.from_iterable(combination))


def parse_shape(text: str) -> Shape:
    """A shape as written on the command line.

    >>> str(parse_shape("B,4,8")), parse_shape("B,L,8").is_jagged
    ('[B, 4, 8]', True)
    """
    parts = [part.strip() for part in text.strip("[] ").split(",")]
    dims = [_L if part == "L" else int(part) if part.isdecimal() else part for part in parts]
    wrong = [d for d in dims[1:] if d != _L and not (isinstance(d, int) and d > 0)]
    if dims[0] != B or wrong or len(dims) < 2:
        raise ValueError(f"`{text}` is no shape: B,8 (a vector), B,4,8 (fields), B,L,8 (a history)")
    return Shape(tuple(dims))


def _fault(kind: type[Block], message: str, help: str) -> RecipeError:
    name = kind.__name__
    return RecipeError(Problem("GR501", f"{name}: {message}", path=name, help=help))
