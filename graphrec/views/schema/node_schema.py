"""The schema of nodes: the words of every node, and each block with its own parameters."""

from __future__ import annotations

from typing import Any

from graphrec.blocks.base import Block, TaskNames
from graphrec.blocks.library import Library
from graphrec.blocks.parameters import activation_schema
from graphrec.ground.activation_table import ACTIVATIONS
from graphrec.recipe.model import Composite, NodeSpec
from graphrec.views.schema.definitions import TEXT, TEXTS, Schema, case, described, mapping

__all__ = ["composite", "node", "nodes"]


def nodes(library: Library) -> Schema:
    """`node`, and one definition for each block with its parameters and the words of nodes."""
    words = dict(NodeSpec.model_json_schema()["properties"])
    words.pop("params")
    names = list(library.names)
    definitions: Schema = {f"word_{word}": schema for word, schema in words.items()}
    shared = {word: {"$ref": f"#/$defs/word_{word}"} for word in words}
    definitions |= {f"block_{name}": _block(name, library, shared) for name in names}
    definitions = _with_activations(definitions, library)
    known = {
        "enum": names,
        "enumDescriptions": [definitions[f"block_{name}"]["description"] for name in names],
        "description": "A block: `graphrec blocks` tells about each.",
    }
    choice = described(words["block"], {"anyOf": [known, TEXT]})
    definitions["node"] = {
        "description": "One use of a block.",
        "type": "object",
        "properties": {**shared, "block": choice},
        "required": ["block"],
        "allOf": [case("block", name, f"block_{name}") for name in names],
    }
    return definitions


def _with_activations(value: Any, library: Library) -> Any:
    """The same with the library's activations where the declarations know the built-in ones."""
    if isinstance(value, dict):
        if value.get("anyOf") == activation_schema(ACTIVATIONS)["anyOf"]:
            return {**value, **activation_schema(library.activations)}
        return {key: _with_activations(part, library) for key, part in value.items()}
    return (
        [_with_activations(part, library) for part in value] if isinstance(value, list) else value
    )


def _block(name: str, library: Library, shared: Schema) -> Schema:
    block = library.get(name)
    if isinstance(block, Composite):
        doc, kernels = block.doc, ["auto"]
        required = [p for p, parameter in block.params.items() if parameter.default is None]
        params: Schema = {
            key: {
                "description": parameter.doc,
                "default": parameter.default,
                **_parameter_type(parameter.type),
            }
            for key, parameter in block.params.items()
        }
    else:
        assert block is not None
        schema = block.model_json_schema()
        doc, kernels = schema.get("description", ""), ["auto", *block.kernels]
        params, required = _inlined(schema), schema.get("required", [])
        for key in _of_tasks(block):
            params[key] = described(params[key], {"anyOf": [{"const": "tasks"}, TEXTS]})
    kernel = {"description": "Kernel asked for.", "anyOf": [{"enum": kernels}, TEXT]}
    return {
        "description": doc,
        "type": "object",
        "properties": {
            **shared,
            "block": {"const": name, "description": doc},
            "in": {
                "description": f"What it reads; ports: {_ports(block)}.",
                "allOf": [shared["in"]],
            },
            "kernel": kernel,
            **params,
        },
        "required": ["block", *required],
        "additionalProperties": False,
    }


def _ports(block: type[Block] | Composite) -> str:
    if isinstance(block, Composite):
        return ", ".join(block.inputs)
    return ", ".join(
        f"*{p.name}" if p.variadic else p.name if p.required else f"{p.name} (optional)"
        for p in block.ports()
    )


def _of_tasks(block: type[Block]) -> list[str]:
    return [key for key, field in block.model_fields.items() if TaskNames in field.metadata]


def _inlined(schema: Schema) -> Schema:
    """The properties of a model's schema without references into it."""
    local = schema.get("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, dict) and value.get("$ref", "").startswith("#/$defs/"):
            rest = {key: part for key, part in value.items() if key != "$ref"}
            return {**inline(local[value["$ref"].removeprefix("#/$defs/")]), **rest}
        if isinstance(value, dict):
            return {key: inline(part) for key, part in value.items()}
        return [inline(part) for part in value] if isinstance(value, list) else value

    properties: Schema = inline(schema.get("properties", {}))
    return properties


def _parameter_type(kind: str) -> Schema:
    if kind.startswith("list["):
        return {"type": "array", "items": _parameter_type(kind[5:-1])}
    return {"type": {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}[kind]}


def node() -> Schema:
    """What stands under `graph:`: a block, or an expression."""
    about = "A block with its parameters, or an expression such as a + sum(b)."
    block = {"if": {"type": "object"}, "then": {"$ref": "#/$defs/node"}}
    return {"description": about, "type": ["object", "string", "null"], **block}


def composite(*, named: bool) -> Schema:
    properties: Schema = dict(Composite.model_json_schema()["properties"])
    properties |= {
        "inputs": described(properties["inputs"], TEXTS),
        "params": described(properties["params"], mapping({"$ref": "#/$defs/Parameter"})),
        "graph": described(properties["graph"], mapping(node())),
    }
    if not named:
        properties.pop("block")
    return {
        "description": Composite.__doc__,
        "type": "object",
        "properties": properties,
        "required": [*(["block"] if named else []), "inputs", "graph", "output"],
        "additionalProperties": False,
    }
