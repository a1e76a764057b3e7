"""What comes with graphrec, for people: the shipped recipes, and a page about every block."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Any

from graphrec.blocks.base import Block, Kernel, TaskNames
from graphrec.blocks.library import BUILTIN, Library, shipped
from graphrec.ground.errors import Problem, RecipeError, suggestion
from graphrec.ground.text import aligned
from graphrec.recipe.model import Composite
from graphrec.views.reference.examples import block_example, block_shapes

__all__ = [
    "BlockPage",
    "ShippedRecipe",
    "about_block",
    "block_facts",
    "find_recipe",
    "recipe_text",
    "shipped_recipes",
    "type_text",
]


@dataclass(frozen=True)
class ShippedRecipe:
    """A recipe of the model zoo."""

    name: str
    description: str
    path: str


def shipped_recipes() -> list[ShippedRecipe]:
    """The shipped recipes that can be compiled, by name; bases of others are left out."""
    from graphrec.recipe.reader import read_yaml

    recipes = []
    for path in sorted(shipped("recipes").glob("*.yaml")):
        tree, _ = read_yaml(path.read_text(encoding="utf-8"), str(path))
        if tree is not None and tree.at("tasks") is not None:
            description = tree.at("description")
            text = str(description.value) if description is not None else ""
            recipes.append(ShippedRecipe(path.stem, text, _near(path)))
    return recipes


def find_recipe(text: str) -> str:
    """The path of a recipe given as a path, or as the bare name of a shipped one.

    Raises RecipeError when a bare name is neither a file here nor a shipped recipe.
    """
    plain = os.sep not in text and not text.endswith((".yaml", ".yml"))
    if not plain or os.path.exists(text):
        return text
    path = shipped("recipes") / f"{text}.yaml"
    if not path.is_file():
        names = [recipe.name for recipe in shipped_recipes()]
        what = f"no file `{text}`, and no shipped recipe of that name"
        raise RecipeError(Problem("GR120", what, help=suggestion(text, names, 30)))
    return _near(path)


def recipe_text(name: str) -> str:
    """The text of a shipped recipe."""
    path = shipped("recipes") / f"{name}.yaml"
    names = [recipe.name for recipe in shipped_recipes()]
    if name not in names and not path.is_file():
        what = f"no shipped recipe `{name}`"
        raise RecipeError(Problem("GR120", what, help=suggestion(name, names, 30)))
    return path.read_text(encoding="utf-8")


def _near(path: Path) -> str:
    """Relative where that is shorter to read: below the working directory."""
    inside = os.path.relpath(path)
    return str(path) if inside.startswith(os.pardir) else inside


# ---- blocks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParameterLine:
    """A parameter: its type for people, whether it must be given, its default, what it does."""

    name: str
    type: str
    required: bool
    default: Any
    doc: str

    @property
    def default_text(self) -> str:
        """The default for people; nothing where there is none to speak of."""
        if self.required or self.default is None or self.default in ([], (), {}):
            return ""
        return str(self.default).lower() if isinstance(self.default, bool) else str(self.default)


@dataclass(frozen=True)
class BlockPage:
    """All about a block."""

    name: str
    doc: str
    kind: str
    ports: tuple[str, ...]
    parameters: tuple[ParameterLine, ...]
    kernels: Mapping[str, str]
    example: str = ""
    shapes: str = ""
    """Of the example's ports and outputs."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def summary(self) -> str:
        """The first sentence."""
        return self.doc.split("\n\n")[0].replace("\n", " ")

    def ports_text(self) -> str:
        return "(" + ", ".join(self.ports) + ")"

    def as_text(self) -> str:
        parts = [f"{self.name}{self.ports_text()}   {self.kind}".rstrip(), self.doc]
        if self.parameters:
            ordered = sorted(self.parameters, key=lambda parameter: not parameter.required)
            parts.append("parameters:\n" + "\n".join(map(_lines, ordered)))
        if self.kernels:
            rows = [[f"  {name}", conditions] for name, conditions in self.kernels.items()]
            parts.append("kernels:\n" + aligned(rows))
        if self.example:
            parts.append("example:\n" + indent(self.example, "  "))
        if self.shapes:
            parts.append(f"its shapes:\n  {self.shapes}")
        return "\n\n".join(part for part in parts if part) + "\n"


def about_block(library: Library, name: str) -> BlockPage:
    """The page of a block that `library` has; a built-in one with an example and its shapes."""
    page = block_facts(library, name)
    if library.get(name) is not BUILTIN.get(name):
        return page
    return replace(page, example=block_example(name), shapes=block_shapes(name))


def block_facts(library: Library, name: str) -> BlockPage:
    """What the declaration of a block says: ports, parameters, kernels."""
    block = library.get(name)
    assert block is not None
    if isinstance(block, Composite):
        parameters = tuple(
            ParameterLine(key, p.type, p.default is None, p.default, p.doc)
            for key, p in block.params.items()
        )
        return BlockPage(name, block.doc, "made of blocks", block.inputs, parameters, {})
    schema = block.model_json_schema()
    required = schema.get("required", [])
    parameters = tuple(
        ParameterLine(
            key,
            _type_of(block, key, part, schema.get("$defs", {})),
            key in required,
            part.get("default"),
            part.get("description", ""),
        )
        for key, part in schema.get("properties", {}).items()
    )
    ports = tuple(
        ("*" if port.variadic else "") + port.name + ("" if port.required or port.variadic else "?")
        for port in block.ports()
    )
    kernels = {kernel: _conditions(block.kernel(kernel)) for kernel in block.kernels}
    doc = " ".join((block.__doc__ or "").split("\n\n")[0].split())
    return BlockPage(name, doc, "", ports, parameters, kernels)


def _lines(parameter: ParameterLine) -> str:
    note = f"default {parameter.default_text}" if parameter.default_text else ""
    if parameter.required:
        note = "required"
    head = "   ".join(part for part in (f"  {parameter.name}: {parameter.type}", note) if part)
    return f"{head}\n      {parameter.doc}".rstrip()


def _type_of(
    block: type[Block], key: str, part: Mapping[str, Any], local: Mapping[str, Any]
) -> str:
    if TaskNames in block.model_fields[key].metadata:
        return "names, or tasks"
    return type_text(part, local)


def type_text(part: Mapping[str, Any], local: Mapping[str, Any]) -> str:
    """A JSON schema for people: `int`, `list of int`, `a | b`.

    >>> type_text({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {})
    'int'
    """
    if "$ref" in part:
        return type_text(local[part["$ref"].rpartition("/")[2]], local)
    if "enum" in part:
        return " | ".join(map(str, part["enum"]))
    if "const" in part:
        return str(part["const"])
    if "anyOf" in part:
        forms = [type_text(form, local) for form in part["anyOf"] if form.get("type") != "null"]
        return " or ".join(dict.fromkeys(forms))
    kind = part.get("type", "any")
    if kind == "array" and "prefixItems" in part:
        return f"list of {len(part['prefixItems'])} {type_text(part['prefixItems'][0], local)}"
    if kind == "array":
        return f"list of {type_text(part.get('items', {}), local)}"
    if "pattern" in part:
        return "name(parameters)"
    names = {"integer": "int", "number": "float", "boolean": "bool", "string": "str"}
    return names.get(kind, "map" if kind == "object" else kind)


def _conditions(kernel: Kernel | None) -> str:
    if kernel is None:
        return ""
    parts = []
    if set(kernel.devices) != {"cpu", "cuda"}:
        parts.append(f"on {', '.join(kernel.devices)}")
    parts += [f"needs {', '.join(kernel.needs)}"] if kernel.needs else []
    for name, allowed in kernel.allow.items():
        parts.append(f"{name}: {', '.join(map(str, allowed))}")
    parts += [f"{name} up to {largest}" for name, largest in kernel.limit.items()]
    return "; ".join(parts) or "always"
