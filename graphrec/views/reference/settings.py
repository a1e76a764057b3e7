"""The keys of a recipe, walked from the models: type, default, meaning, and what stands below."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from graphrec.recipe.calls import Call
from graphrec.recipe.features import FEATURES
from graphrec.recipe.loss_table import LOSSES, Parameters
from graphrec.recipe.metric_table import METRICS
from graphrec.recipe.model import Recipe
from graphrec.recipe.text_forms import BY_KIND
from graphrec.views.catalog import type_text
from graphrec.views.schema.parts import CHOICES

__all__ = ["Setting", "settings"]


@dataclass(frozen=True)
class Setting:
    """A key by its path (`train.schedule.warmup`): names of features, nodes, tasks are left out.

    `default` is None where the key must be written or where nothing is the default.
    """

    path: str
    type: str
    doc: str
    required: bool = False
    default: str | None = None
    below: bool = False
    """Whether keys stand below it."""

    @property
    def facts(self) -> str:
        """Type, and `required` or the default."""
        if self.required:
            return f"{self.type}, required"
        return f"{self.type}, default {self.default}" if self.default else self.type


_WRITTEN = (
    Setting(
        "extends",
        "str",
        "A recipe that this one changes: maps are merged by key, lists replaced, `key+` appends "
        "to a list, null deletes. A path from the file that says it.",
    ),
    Setting("defaults", "map", "What features get unless they say otherwise.", below=True),
    Setting("defaults.feature", "map", "Settings of features; `dim` reaches looked-up ones only."),
    Setting(
        "features.names",
        "str or list of str or map",
        "Names of a family: one, a list, a range C1..C26, or a map name -> vocab.",
    ),
)
"""Keys of the written form alone: the models know what they come to."""

_HIDDEN = frozenset(
    {f"features.{kind}.name" for kind in ("id", "dense", "bucket")}
    | {f"features.cross.{key}" for key in ("column", "pool", "sep")}
    | {"features.sequence.columns", "features.sequence.group"}
)
"""Keys of the models that a recipe says otherwise (`names`, `column`), or may not say there."""

_KIND_DOC = "What kind of features these are: id, dense, bucket, cross or sequence."
_AS_WRITTEN: Mapping[str, dict[str, Any]] = {
    "features.sequence.column": {
        "type": "str or map",
        "doc": "Column of the one base feature, or a map base feature -> column; "
        "by default <sequence>__<feature>.",
    },
    **{
        f"features.{kind}.type": {"doc": _KIND_DOC, "required": True, "default": None}
        for kind in FEATURES
    },
    "tasks.loss": {
        "type": "name or map",
        "required": False,
        "default": "by kind: " + ", ".join(loss for loss, _ in BY_KIND.values()),
    },
    "tasks.metrics": {
        "required": False,
        "default": "by kind: " + "; ".join(", ".join(names) for _, names in BY_KIND.values()),
    },
    "train.epochs": {"default": "1"},
}
"""Where the written form is wider than what it comes to."""

_KINDS = {
    "features": "list of families",
    "groups": "map of groups",
    "graph": "map of nodes",
    "tasks": "map of tasks",
    "losses": "map of terms",
    "relations": "list of relations",
    "blocks": "map of blocks",
}


@cache
def settings() -> tuple[Setting, ...]:
    """Every key of the language, in the order of the models."""
    by_path: dict[str, Setting] = {}
    for setting in _all():
        if setting.path in _HIDDEN:
            continue
        setting = replace(setting, **_AS_WRITTEN.get(setting.path, {}))
        earlier = by_path.get(setting.path)
        if earlier is not None:  # a group has two forms, and `of` in both
            doc = f"{earlier.doc.rstrip('.')}; of a pair: {setting.doc}"
            setting = replace(earlier, doc=doc)
        by_path[setting.path] = setting
    return tuple(by_path.values())


def _all() -> Iterator[Setting]:
    for name, field in Recipe.model_fields.items():
        if name == "origin":
            continue
        if name == "features":
            yield from _WRITTEN[:3]
            yield _setting("features", field, {}, Recipe, below=True)
            yield _WRITTEN[3]
            for kind, model in FEATURES.items():
                yield Setting(f"features.{kind}", "family", _first(model.__doc__), below=True)
                yield from _of(model, f"features.{kind}")
        else:
            yield from _field(name, field, name, Recipe)
        if name == "tasks":
            yield from _measures("tasks.loss", LOSSES)
            yield from _measures("tasks.metrics", METRICS)


def _measures(path: str, table: Mapping[str, type[Parameters]]) -> Iterator[Setting]:
    for name, measure in table.items():
        yield Setting(f"{path}.{name}", "name or map", _first(measure.__doc__), below=True)
        yield from _of(measure, f"{path}.{name}")


def _of(model: type[BaseModel], path: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        if (model.__name__, name) not in (("NodeSpec", "params"), ("LossTerm", "params")):
            key = field.alias or name
            yield from _field(key, field, f"{path}.{key}", model)


def _field(key: str, field: FieldInfo, path: str, model: type[BaseModel]) -> Iterator[Setting]:
    parts = list(dict.fromkeys(_models(field.annotation)))
    schema = model.model_json_schema()
    yield _setting(path, field, schema["properties"][key], model, below=bool(parts))
    for part in parts:
        yield from _of(part, path)


def _setting(
    path: str, field: FieldInfo, schema: Mapping[str, Any], model: type[BaseModel], *, below: bool
) -> Setting:
    doc = field.description or ""
    if below:
        return Setting(path, _KINDS.get(path, "map"), doc, below=True, required=field.is_required())
    if "enum" in schema and set(schema["enum"]) <= set(CHOICES):
        doc = " ".join([doc, *(f"{name}: {CHOICES[name]}" for name in schema["enum"])])
    local = model.model_json_schema().get("$defs", {})
    return Setting(
        path, type_text(schema, local), doc, field.is_required(), _default(schema.get("default"))
    )


def _default(value: Any) -> str | None:
    if value is None or value in ("", [], {}):
        return None
    if isinstance(value, dict) and "args" in value:  # a call such as normal(0.01)
        return str(Call(value["name"], tuple(value["args"]), value["kwargs"]))
    return value if isinstance(value, str) else json.dumps(value)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _first(doc: str | None) -> str:
    return " ".join((doc or "").split("\n\n")[0].split())
