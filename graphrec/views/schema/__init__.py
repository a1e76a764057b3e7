"""JSON Schema of what people write: recipes and composite files, for completion in editors.

Generated from the models of the language and from the blocks of a library: field docstrings are
the hover texts. A schema can't say everything `graphrec check` knows, and it accepts what may stand
in any place: `$env.NAME`, `$parameter`, numbers such as 200_000, and null (deletes, in a child).
"""

from __future__ import annotations

import json

from graphrec.blocks.library import BUILTIN, Library
from graphrec.recipe.model import Composite, Recipe
from graphrec.views.schema.definitions import ANY, TEXT, Schema, described, listing, mapping, opened
from graphrec.views.schema.node_schema import composite, node, nodes
from graphrec.views.schema.parts import (
    feature_models,
    features,
    group,
    loss_term,
    relation,
    retrieval,
    tasks,
    training,
)

__all__ = ["as_text", "block_schema", "recipe_schema"]

_DIALECT = "http://json-schema.org/draft-07/schema#"


def recipe_schema(library: Library = BUILTIN) -> Schema:
    """The schema of a recipe file, with every block of `library` in `graph:`."""
    model_schema = Recipe.model_json_schema()
    definitions = model_schema["$defs"]
    properties = {name: p for name, p in model_schema["properties"].items() if name != "origin"}
    for name in ("Origin", "Span", "NodeSpec", "Composite", *feature_models()):
        definitions.pop(name, None)
    definitions |= features() | nodes(library)
    tasks(definitions)
    retrieval(definitions)
    training(definitions)
    properties |= {
        "extends": {"description": "A recipe this one builds on, relative to it.", **TEXT},
        "defaults": {
            "description": "Settings that families without them get.",
            "type": "object",
            "properties": {"feature": {"$ref": "#/$defs/defaults"}},
            "additionalProperties": False,
        },
        "features": described(properties["features"], listing({"$ref": "#/$defs/family"})),
        "groups": described(properties["groups"], mapping(group(definitions))),
        "blocks": described(properties["blocks"], mapping({"$ref": "#/$defs/composite"})),
        "graph": described(properties["graph"], mapping(node())),
        "losses": described(properties["losses"], mapping(loss_term())),
        "relations": described(properties["relations"], listing({"$ref": "#/$defs/relation"})),
        "meta": described(properties["meta"], ANY),
    }
    definitions["composite"] = composite(named=False)
    definitions["relation"] = relation(definitions.pop("Relation"))
    whole = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": ["graphrec"],
    }
    return _finished("A graphrec recipe.", whole, definitions)


def block_schema(library: Library = BUILTIN) -> Schema:
    """The schema of a composite block's file."""
    definitions = Composite.model_json_schema()["$defs"]
    definitions = {"Parameter": definitions["Parameter"], **nodes(library)}
    return _finished("A graphrec block made of blocks.", composite(named=True), definitions)


def _finished(title: str, whole: Schema, definitions: Schema) -> Schema:
    schema = {**whole, "$defs": dict(sorted(definitions.items()))}
    return {"$schema": _DIALECT, "title": title, **opened(schema)}


def as_text(schema: Schema) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
