"""Composite blocks: the order of their nodes, and what holds inside one before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphrec.ground.errors import Problem, nearest, suggestion
from graphrec.recipe.model import NODE_WORDS, TERM_WORDS, Composite, LossTerm, NodeSpec
from graphrec.recipe.names import node_name
from graphrec.recipe.tree import INVALID, Tree, shown

__all__ = ["check_composite", "fits", "node_of", "ordered", "term_of"]

_TYPES: Mapping[str, Any] = {"int": int, "float": (int, float), "bool": bool, "str": str}


def node_of(body: Mapping[str, Any]) -> NodeSpec:
    """A node's mapping as a NodeSpec: the words of nodes apart from the block's parameters."""
    words = {key: value for key, value in body.items() if key in NODE_WORDS}
    params = {key: value for key, value in body.items() if key not in NODE_WORDS}
    return NodeSpec.model_validate({**words, "params": params})


def term_of(body: Mapping[str, Any]) -> LossTerm:
    """A term's mapping as a LossTerm: the words of terms apart from its block's parameters."""
    words = {key: value for key, value in body.items() if key in TERM_WORDS}
    params = {key: value for key, value in body.items() if key not in TERM_WORDS}
    return LossTerm.model_validate({**words, "params": params})


def ordered(graph: Mapping[str, Mapping[str, Any] | str]) -> tuple[str, ...]:
    """Names of nodes, each after those it reads, otherwise by name; a cycle's nodes come last."""
    reads = {name: set(_reads(body)) & graph.keys() - {name} for name, body in graph.items()}
    done: dict[str, None] = {}
    while len(done) < len(graph):
        ready = sorted(n for n in graph if n not in done and reads[n] <= done.keys())
        done.update(dict.fromkeys(ready or sorted(n for n in graph if n not in done)))
    return tuple(done)


def _reads(body: Mapping[str, Any] | str) -> Iterator[str]:
    """First names of everything a node refers to."""
    if isinstance(body, str):
        from graphrec.recipe.expressions import ExpressionError, parse_expression

        try:
            yield from (name.ref.partition(".")[0] for name in parse_expression(body).names())
        except ExpressionError:
            return
        return
    waiting = [body.get("in"), body.get("share")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value.partition(".")[0]
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)


# ---- what holds inside ------------------------------------------------------------------------


def check_composite(block: Composite, path: str) -> Iterator[Problem]:
    """Names, unused inputs and parameters, unknown `$names`, defaults of another type."""
    prefix = f"{path}." if path else ""
    for name in block.graph:
        why = node_name(name)
        if why is not None or name in block.inputs:
            what = why or f"`{name}` is an input already"
            yield Problem("GR320" if why else "GR321", what, path=f"{prefix}graph.{name}")
    for name, parameter in block.params.items():
        if name in NODE_WORDS:
            yield Problem("GR321", f"`{name}` is a word of nodes", path=f"{prefix}params.{name}")
        if parameter.default is not None and not fits(parameter.default, parameter.type):
            what = f"expected {parameter.type}, got {shown(parameter.default)}"
            yield Problem("GR202", what, path=f"{prefix}params.{name}.default")
    used: set[str] = set()
    unknown: list[str] = []
    for name, body in block.graph.items():
        used.update(_reads(body))
        for where, param in _parameters(body, f"{prefix}graph.{name}"):
            used.add(f"${param}")
            if param not in block.params:
                known = suggestion(param, block.params)
                unknown.append(param)
                yield Problem("GR212", f"no parameter `{param}`", path=where, help=known)
    for name in block.params:
        if f"${name}" not in used and not any(nearest(word, [name]) for word in unknown):
            yield Problem("GR212", f"no node uses ${name}", path=f"{prefix}params.{name}")
    yield from _check_flow(block, used, prefix)


def _check_flow(block: Composite, used: set[str], prefix: str) -> Iterator[Problem]:
    for number, name in enumerate(block.inputs):
        if name not in used:
            yield Problem(
                "GR212", f"no node reads the input `{name}`", path=f"{prefix}inputs.{number}"
            )
    output = block.output.partition(".")[0]
    if output not in block.graph:
        help = suggestion(output, block.graph)
        yield Problem(
            "GR301", f"no node `{output}` in this block", path=f"{prefix}output", help=help
        )
    for name in block.graph:
        if name not in used and name != output:
            yield Problem("GR212", f"no node reads `{name}`", path=f"{prefix}graph.{name}")


def _parameters(body: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, name) of every `$name` in a node."""
    if isinstance(body, str):
        if body.startswith("$"):
            yield path, body[1:]
    elif isinstance(body, Mapping):
        for key, value in body.items():
            yield from _parameters(value, f"{path}.{key}")
    elif isinstance(body, list | tuple):
        for number, value in enumerate(body):
            yield from _parameters(value, f"{path}.{number}")


def fits(value: Any, wanted: str) -> bool:
    """Whether a value has one of the types that composite parameters may have."""
    if wanted.startswith("list["):
        return isinstance(value, list | tuple) and all(fits(v, wanted[5:-1]) for v in value)
    if wanted in ("int", "float") and isinstance(value, bool):
        return False
    return isinstance(value, _TYPES[wanted])


def sample(block: Composite, body: Tree) -> Tree:
    """A node with a value of the right type for every `$name`, so that its words can be checked."""
    if isinstance(body.value, dict):
        return body.holding({k: sample(block, v) for k, v in body.value.items()})
    if isinstance(body.value, list):
        return body.holding([sample(block, v) for v in body.value])
    if not isinstance(body.value, str) or not body.value.startswith("$"):
        return body
    parameter = block.params.get(body.value[1:])
    if parameter is None or not (
        parameter.default is None or fits(parameter.default, parameter.type)
    ):
        return body.holding(INVALID)
    values = {"int": 1, "float": 1.0, "bool": True, "str": "concat"}
    kind = parameter.type.removeprefix("list[").removesuffix("]")
    value: Any = parameter.default if parameter.default is not None else values[kind]
    if parameter.default is None and parameter.type.startswith("list"):
        value = [value]
    return body.holding([body.holding(v) for v in value] if isinstance(value, list) else value)
