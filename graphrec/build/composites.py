"""Composite blocks: typed whole-value substitution of `$param`, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.build.context import Context
from graphrec.errors import suggestion
from graphrec.recipe.composites import fits, node_of
from graphrec.recipe.model import Composite, NodeSpec

__all__ = ["check_parameters", "substitute"]


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
                suggestion(name, block.params),
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
            raise context.fail(
                "GR202", f"{path}.{name}", f"expected {parameter.type}, got {value!r}"[:200]
            )
        values[name] = value
    return values


def substitute(
    block: Composite, params: Mapping[str, Any], kernel: str | None
) -> dict[str, NodeSpec | str]:
    """The composite's nodes with `$param` replaced, in an order where each follows what it reads.

    A `kernel:` on the use of a composite is asked of each of its nodes that has none of its own.
    """
    made: dict[str, NodeSpec | str] = {}
    for name in block.order:
        body = block.graph[name]
        if isinstance(body, str):
            made[name] = body
            continue
        spec = node_of({key: _value(value, params) for key, value in body.items()})
        made[name] = (
            spec.model_copy(update={"kernel": kernel}) if kernel and not spec.kernel else spec
        )
    return made


def _value(value: Any, params: Mapping[str, Any]) -> Any:
    return params[value[1:]] if isinstance(value, str) and value.startswith("$") else value
