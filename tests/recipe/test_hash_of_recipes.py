"""What a run is known by: the hash of its recipe, which later versions of the language keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from graphrec.recipe import parse, recipe_hash
from graphrec.recipe.features import FEATURES
from graphrec.recipe.model import Recipe
from graphrec.recipe.strict_model import Later, Unhashed

FIRST = Path(__file__).with_name("fields_of_0.1.0.txt")
TEXT = """\
graphrec: 1
name: known
data: {synthetic: 100}
features: [{type: id, names: {user: 10, item: 20}, dim: 4}]
graph: {top: {block: mlp, in: all, hidden: [4]}}
tasks: {a: {label: a, in: top}, b: {label: b, in: top}}
relations: [a -> b]
"""


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def fields(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, Any]]:
    """Every field of a model and of those below it, as `Train.batch`."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        yield f"{model.__name__}.{name}", field
        for below in models(field.annotation):
            yield from fields(below, seen)


def every_field() -> dict[str, Any]:
    seen: set[type[BaseModel]] = set()
    whole = dict(fields(Recipe, seen))
    for kind in FEATURES.values():
        whole.update(fields(kind, seen))
    return {name: field for name, field in whole.items() if name != "Recipe.origin"}


def test_new_fields_leave_the_hash_of_older_recipes_alone() -> None:
    first = set(FIRST.read_text(encoding="utf-8").split())
    models_of_first = {name.partition(".")[0] for name in first}
    unmarked = [
        name
        for name, field in every_field().items()
        if name not in first
        and name.partition(".")[0] in models_of_first  # a new model stands below a new field
        and not any(isinstance(mark, Later | Unhashed) for mark in field.metadata)
    ]
    assert not unmarked, "write Annotated[..., Later()]: else no run of today is resumed any more"


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("train.device=cuda", True),
        ("relations=[a -> b: {bias: true}]", True),
        ("relations=[a -> b: {bias: false}]", False),
        ("data.limits={unseen: 0.5}", False),
        ("train.seed=1", False),
    ],
)
def test_what_counts(override: str, same: bool) -> None:
    plain, other = parse(TEXT).recipe, parse(TEXT, [override]).recipe
    assert plain is not None and other is not None
    assert (recipe_hash(plain) == recipe_hash(other)) == same
