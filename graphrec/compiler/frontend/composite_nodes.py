"""Composite blocks: typed whole-value substitution of `$param`, and nothing more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from graphrec.compiler.frontend.context import Context, Failed, Place
from graphrec.ground.errors import suggestion
from graphrec.recipe.composites import fits, node_of, ordered
from graphrec.recipe.findings import from_pydantic
from graphrec.recipe.model import NODE_WORDS, Composite, NodeSpec
from graphrec.recipe.tree import shown

__all__ = ["check_parameters", "given_paths", "substitute"]


def check_parameters(
    block: Composite, given: Mapping[str, Any], path: str, context: Context
) -> dict[str, Any]:
    """The value of every parameter of a composite; reports wrong, unknown and missing ones."""
    for name in given:
        if name not in block.params:
            raise context.fail(
                "GR201",
                f"{path}.{name}",
                f"block `{block.block}` has no parameter `{name}`",
                suggestion(name, [*block.params, *NODE_WORDS], 20),
                context.key(f"{path}.{name}"),
            )
    values = {}
    for name, parameter in block.params.items():
        if name not in given and parameter.default is None:
            raise context.fail(
                "GR206",
                path,
                f"block `{block.block}` needs the parameter `{name}` ({parameter.type})",
            )
        value = given.get(name, parameter.default)
        if not fits(value, parameter.type):
            raise _unfit(value, parameter.type, f"{path}.{name}", context)
        values[name] = value
    return values


_WORDS = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "a text"}


def _unfit(value: Any, wanted: str, path: str, context: Context) -> Failed:
    """A finding about a value of the wrong type, at the element that is wrong."""
    if wanted.startswith("list[") and isinstance(value, list | tuple):
        inner = wanted[5:-1]
        number = next(i for i, item in enumerate(value) if not fits(item, inner))
        return _unfit(value[number], inner, f"{path}.{number}", context)
    what = _WORDS.get(wanted, f"a list of {wanted[5:-1]}")
    return context.fail("GR202", path, f"expected {what}, got {shown(value)}")


def given_paths(block: Composite, node: str, place: Place) -> dict[str, str]:
    """Key of a node inside the composite -> path of the value that its `$parameter` was given."""
    body = block.graph[node]
    if isinstance(body, str):
        return {}
    used = {key: names[0] for key, value in body.items() if (names := list(_names(value)))}
    if place.inside:  # a composite in a composite: what its own parameters were given
        return {key: place.given.get(name, place.path) for key, name in used.items()}
    return {key: f"{place.path}.{name}" for key, name in used.items()}


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith("$"):
        yield value[1:]
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _names(inner)


def substitute(
    block: Composite, params: Mapping[str, Any], kernel: str | None, place: Place, context: Context
) -> dict[str, NodeSpec | str]:
    """The composite's nodes with `$param` replaced, in an order where each follows what it reads.

    A `kernel:` on the use of a composite is asked of each of its nodes that has none of its own.
    Values that fit the parameter's type but not the word they are given to are reported.
    """
    nodes: dict[str, NodeSpec | str] = {}
    for name in ordered(block.graph):
        body = block.graph[name]
        if isinstance(body, str):
            nodes[name] = body
            continue
        try:
            spec = node_of({key: _value(value, params) for key, value in body.items()})
        except ValidationError as error:
            _report(error, block, name, place, context)
            raise Failed from None
        nodes[name] = (
            spec.model_copy(update={"kernel": kernel}) if kernel and not spec.kernel else spec
        )
    return nodes


def _report(
    error: ValidationError, block: Composite, node: str, place: Place, context: Context
) -> None:
    given = given_paths(block, node, place)
    for problem in from_pydantic(error, place.path, None):
        word = problem.path.removeprefix(f"{place.path}.").partition(".")[0]
        context.report(
            problem.code,
            given.get(word, place.path),
            f"{problem.message}, for `{word}` of `{node}` in block `{block.block}`",
        )


def _value(value: Any, params: Mapping[str, Any]) -> Any:
    """The value with every `$param` in it replaced, as a whole value or element."""
    if isinstance(value, str):
        return params[value[1:]] if value.startswith("$") else value
    if isinstance(value, Mapping):
        return {key: _value(inner, params) for key, inner in value.items()}
    return [_value(inner, params) for inner in value] if isinstance(value, list | tuple) else value
