"""Small JSON Schemas, and what may stand in any place of a recipe."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ANY",
    "TEXT",
    "TEXTS",
    "WRITTEN",
    "Schema",
    "case",
    "described",
    "listing",
    "mapping",
    "opened",
]

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
ANY: Schema = {}
WRITTEN: Schema = {
    "description": "A value filled in later ($env.NAME, $parameter), or a number as text: 200_000.",
    "type": "string",
    "pattern": r"^(\$.+|[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?)$",
}
_WORDS = ("description", "default")
_NULL: Schema = {"type": "null"}


def case(key: str, value: str, definition: str) -> Schema:
    """If `key` is `value`, then that definition holds."""
    return {
        "if": {"required": [key], "properties": {key: {"const": value}}},
        "then": {"$ref": f"#/$defs/{definition}"},
    }


def listing(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def mapping(values: Schema, about: str | None = None) -> Schema:
    schema = {"type": "object", "additionalProperties": values}
    return {"description": about, **schema} if about else schema


def described(old: Schema, new: Schema) -> Schema:
    """Another form under the same words."""
    return {"description": old["description"], **new} if "description" in old else dict(new)


def opened(schema: Schema) -> Schema:
    """The schema with what may stand anywhere: null, `key+`, and texts that are filled in later."""
    open_schema = _open(schema)
    open_schema["type"] = schema["type"]
    open_schema["$defs"]["written"] = WRITTEN
    return open_schema


def _open(schema: Schema) -> Schema:
    open_schema: Schema = {}
    for key, part in schema.items():
        if key == "properties":
            open_schema[key] = {name: _open(value) for name, value in part.items()}
            open_schema[key] |= {
                f"{name}+": _open(value) for name, value in part.items() if _listed(value)
            }
        elif key in ("$defs", "patternProperties"):
            open_schema[key] = {name: _open(value) for name, value in part.items()}
        elif key == "allOf":
            open_schema[key] = [_open(value) for value in part]
        elif key in ("items", "then") or (key == "additionalProperties" and isinstance(part, dict)):
            open_schema[key] = _open(part)
        elif not (key == "title" or (key == "default" and part is None)):
            open_schema[key] = part
    if "anyOf" in schema or _is_filled_in(schema):
        words = {key: open_schema.pop(key) for key in _WORDS if key in open_schema}
        forms = [inner for form in schema.get("anyOf", [open_schema]) for inner in _plain(form)]
        filled = [{"$ref": "#/$defs/written"}] if any(map(_is_filled_in, forms)) else []
        return {**words, "anyOf": [*map(_inside, forms), *filled, _NULL]}
    if isinstance(schema.get("type"), str):
        open_schema["type"] = [schema["type"], "null"]
    return open_schema


def _plain(form: Schema) -> list[Schema]:
    """The alternatives of one form; null comes back at the end of all of them."""
    if "anyOf" in form:
        return [plain for each in form["anyOf"] for plain in _plain(each)]
    return [] if form == _NULL else [form]


def _inside(form: Schema) -> Schema:
    """One alternative: what it holds is opened, it is not, so that messages stay exact."""
    return {**_open(form), "type": form["type"]} if _is_object(form) else _items(form)


def _is_object(form: Schema) -> bool:
    return form.get("type") == "object"


def _items(form: Schema) -> Schema:
    return {**form, "items": _open(form["items"])} if isinstance(form.get("items"), dict) else form


def _is_filled_in(form: Schema) -> bool:
    """Whether a text may stand for it: numbers, choices, and lists of such."""
    if form.get("type") == "array":
        return "$ref" not in form.get("items", {})
    return form.get("type") in ("integer", "number", "boolean") or "enum" in form


def _listed(schema: Schema) -> bool:
    """Whether a list may stand here, so that `key+` may append to it."""
    return any(form.get("type") == "array" for form in _plain(schema))
