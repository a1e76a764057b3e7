"""The published schemas: in step with the code, true to the language, and helpful."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from graphrec.blocks.library import BUILTIN, shipped
from graphrec.compiler.pipeline import check_recipe
from graphrec.recipe import parse
from graphrec.views.explain import EXAMPLE_BASE, examples, titles
from graphrec.views.schema import as_text, block_schema, recipe_schema

RECIPES = sorted(shipped("recipes").glob("*.yaml"))
BLOCKS = sorted(shipped("blocks").glob("*.yaml"))
SCHEMAS = {"recipe": recipe_schema, "block": block_schema}


@pytest.fixture(scope="module")
def recipe() -> Draft7Validator:
    return Draft7Validator(recipe_schema())


@pytest.fixture(scope="module")
def block() -> Draft7Validator:
    return Draft7Validator(block_schema())


def said(validator: Draft7Validator, text: str) -> list[str]:
    """Every message about a text, `path: message`."""
    found = validator.iter_errors(yaml.safe_load(text))
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in found]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_in_step(name: str, update_golden: bool) -> None:
    path = shipped("schemas") / f"{name}.schema.json"
    text = as_text(SCHEMAS[name]())
    if update_golden:
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, "pytest --update-golden writes it again"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_a_schema_without_dangling_references(name: str) -> None:
    schema = SCHEMAS[name]()
    Draft7Validator.check_schema(schema)

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    known = {f"#/$defs/{name}" for name in schema["$defs"]}
    assert references(schema) <= known


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_shipped_recipes_fit(path: Path, recipe: Draft7Validator) -> None:
    text = path.read_text(encoding="utf-8")
    assert not said(recipe, text)
    assert text.startswith("# yaml-language-server: $schema=../schemas/recipe.schema.json\n")


@pytest.mark.parametrize("path", BLOCKS, ids=[path.stem for path in BLOCKS])
def test_shipped_blocks_fit(path: Path, block: Draft7Validator) -> None:
    text = path.read_text(encoding="utf-8")
    assert not said(block, text)
    assert text.startswith("# yaml-language-server: $schema=../schemas/block.schema.json\n")


@pytest.mark.parametrize("code", titles())
def test_what_the_language_accepts_fits(code: str, recipe: Draft7Validator) -> None:
    """The right example of every page on diagnostics."""
    for which, text in examples(code):
        if which == "right":
            assert not said(recipe, f"graphrec: 1\nextends: base.yaml\n{text}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{train: {bacth: 1}}", "train: Additional properties are not allowed ('bacth'"),
        ("{graph: {a: {block: mlp, hiden: [1]}}}", "graph.a: Additional properties are not"),
        ("{graph: {a: {block: mmoe, hidden: [1], experts: 2}}}", "graph.a: 'gates' is a required"),
        ("{graph: {a: {hidden: [1]}}}", "graph.a: 'block' is a required property"),
        (
            "{features: [{type: id, names: {a: 3}, dym: 3}]}",
            "features.0: Additional properties are",
        ),
        ("{features: [{type: sequence, name: a, of: [b]}]}", "features.0: 'max_len' is a required"),
        ("{features: [{type: id, names: a, dim: 8}]}", "features.0: 'vocab' is a required"),
        ("{features: [{type: id, names: {a: 9}, dim: 8}]}", ""),
        ("{features: [{type: ids, names: a}]}", "features.0.type: 'ids' is not valid"),
        ("{relations: [a to b]}", "relations.0: 'a to b' is not valid"),
        ("{train: {optim: {dense: adamm}}}", "train.optim.dense: 'adamm' is not valid"),
        ("{tasks: {a: {label: x, in: y, kind: binry}}}", "tasks.a.kind: 'binry' is not valid"),
        ("{tasks: {a: {label: x, in: y, loss: cross}}}", "tasks.a.loss: 'cross' is not valid"),
    ],
)
def test_mistakes_are_told_where_they_are(text: str, message: str, recipe: Draft7Validator) -> None:
    found = said(recipe, f"{{graphrec: 1, {text[1:]}")
    assert len(found) == (1 if message else 0)
    assert not message or found[0].startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "train: {batch: $env.BATCH, lr: 1e-3, clip: null}",
        "data: {synthetic: 200_000}",
        "train: {optim: {dense: {adam: {eps: 1e-8}}, sparse: sgd}, schedule: {cosine: {}}}",
        "graph: {mine: {block: of_my_plugin, anything: [1]}, gone: null, sum: a + b}",
        "relations+: [a -> b -> c, {a + b -> c: {via: aitm, hidden+: [3]}}]",
        "tasks: {a: {label: x, in: y, loss: none}, b: {label: {column: x, above: 3}, logit: z}}",
        "groups: {a: [x], b: {of: all, except: [y]}, c: {query: [x], keys: s}, d: {of: [a]}}",
        "meta: {anything: [goes, {here: 1}]}",
    ],
)
def test_short_forms_and_places_to_fill_in_fit(text: str, recipe: Draft7Validator) -> None:
    assert not said(recipe, f"graphrec: 1\n{text}")


def test_parameters_of_a_composite_may_be_named(block: Draft7Validator) -> None:
    text = """
        block: tower
        params: {hidden: {type: "list[int]", default: [64]}, rate: {type: float, default: 0.1}}
        inputs: [x]
        graph: {h: {block: mlp, in: x, hidden: $hidden, dropout: $rate}}
        output: h"""
    assert not said(block, text)
    assert said(block, text.replace("inputs: [x]", ""))


def test_defaults_are_those_the_reader_takes(tmp_path: Path) -> None:
    keys = recipe_schema()["$defs"]["defaults"]["properties"]
    names = [key for key in keys if not key.endswith("+")]
    lines = "".join(f"\n    {key}: null" for key in [*names, "no_such_key"])
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{EXAMPLE_BASE}defaults:\n  feature:{lines}\n")
    found = [p.path for p in parse(path).problems if p.code == "GR201"]
    assert found == ["defaults.feature.no_such_key"]


def test_hover_texts_come_from_the_declarations() -> None:
    definitions = recipe_schema()["$defs"]
    mlp = definitions["block_mlp"]
    assert mlp["description"] == BUILTIN.primitives["mlp"].__doc__
    for name, part in mlp["properties"].items():
        shown = part if "$ref" not in part else definitions[part["$ref"].rpartition("/")[2]]
        assert "description" in shown or "const" in shown, name


def test_every_kind_of_feature_and_every_block_is_there() -> None:
    definitions = recipe_schema()["$defs"]
    assert {f"block_{name}" for name in BUILTIN.names} <= set(definitions)
    assert json.dumps(definitions["node"]).count('"const"') == len(BUILTIN.names)


def test_the_base_of_the_examples_fits(recipe: Draft7Validator, tmp_path: Path) -> None:
    assert not said(recipe, EXAMPLE_BASE)
    path = tmp_path / "base.yaml"
    path.write_text(EXAMPLE_BASE)
    assert not check_recipe(path).problems
