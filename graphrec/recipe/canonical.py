"""The canonical recipe as text: what `expand` prints, a run keeps and the hash covers."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from graphrec.ground.errors import Span
from graphrec.recipe.model import NODE_WORDS, TERM_WORDS, NodeSpec, Recipe
from graphrec.recipe.setting_checks import BALANCE_SETTINGS, OPTIMIZER_SETTINGS, SCHEDULE_SETTINGS
from graphrec.recipe.strict_model import Later, Model, Unhashed
from graphrec.recipe.yaml_text import WIDTH, flow, scalar

__all__ = ["canonical", "recipe_hash"]


def canonical(recipe: Recipe, *, origin: bool = False) -> str:
    """The recipe in YAML, one spelling for everything, maps but `graph` ordered by name.

    Read again it gives the same recipe. With `origin`, every value is followed by `# file:line`.
    """
    places = recipe.origin if origin else None
    lines: list[str] = []
    for key, value in _language(recipe).items():
        _write(lines, key, value, "", _Comments(places, key) if places else None)
    return "\n".join(lines) + "\n"


def recipe_hash(recipe: Recipe) -> str:
    """sha256 over everything the recipe says, defaults included; the same on every machine.

    Paths count relative to the recipe's folder, so that moving a folder changes nothing. Fields
    marked `Unhashed`, and those marked `Later` at their default, do not count.
    """
    plain = recipe.model_dump(mode="json", by_alias=True, exclude={"origin"})
    _drop_unhashed(recipe, plain)
    root = recipe.origin.root if recipe.origin else os.getcwd()
    for key in ("train", "eval"):
        plain["data"][key] = [_relative(path, root) for path in plain["data"][key]]
    for term in plain.get("losses", {}).values():
        if term.get("teacher"):
            term["teacher"]["run"] = _relative(term["teacher"]["run"], root)
    for part in ("from", "hard") if recipe.retrieval is not None else ():
        candidates = plain["retrieval"]["candidates"]
        candidates[part] = candidates[part] and _relative(candidates[part], root)
    for feature in plain["features"].values():
        vocab = str(feature.get("vocab", ""))
        if vocab.startswith("file("):
            feature["vocab"] = f"file({_relative(vocab[5:-1], root)})"
        if feature["type"] == "dense":
            feature["default"] = _dense_default(feature)
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _dense_default(feature: Mapping[str, Any]) -> Any:
    """0 was the default of numbers once: what is not said counts as it did, a said 0 apart."""
    default = feature["default"]
    scaled = feature["transform"] in ("zscore", "minmax")
    return 0.0 if default is None else "0" if default == 0 and scaled else default


def _drop_unhashed(value: Any, plain: Any) -> None:
    """Take out of `plain`, the dump of `value`, what is no part of the hash."""
    if isinstance(value, Model):
        for name, field in type(value).model_fields.items():
            inner, key = getattr(value, name), field.alias or name
            marks = {type(mark) for mark in field.metadata}
            default = Later in marks and inner == field.get_default(call_default_factory=True)
            if Unhashed in marks or default:
                plain.pop(key, None)
            elif key in plain:
                _drop_unhashed(inner, plain[key])
    elif isinstance(value, Mapping) and isinstance(plain, dict):
        for key, inner in value.items():
            _drop_unhashed(inner, plain[str(key)])
    elif isinstance(value, tuple | list) and isinstance(plain, list):
        for inner, shown in zip(value, plain, strict=True):
            _drop_unhashed(inner, shown)


def _relative(path: str, root: str) -> str:
    return path if "://" in path else os.path.relpath(path, root).replace(os.sep, "/")


# ---- the language -----------------------------------------------------------------------------


def _language(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the language says it; the model's part without what is at its default."""
    short = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"origin"})
    whole = recipe.model_dump(mode="json", by_alias=True, exclude={"origin"})
    sections: dict[str, Any] = {"graphrec": 1, "name": recipe.name}
    if recipe.description:
        sections["description"] = recipe.description
    sections["data"] = _data(whole["data"])
    sections["features"] = [
        _feature(name, recipe, short["features"][name]) for name in recipe.features
    ]
    for section in ("groups", "blocks"):
        if short.get(section):
            sections[section] = short[section]
    for body in sections.get("blocks", {}).values():
        body.pop("block")
    sections["graph"] = {name: _node(node) for name, node in recipe.graph.items()}
    if recipe.tasks or recipe.retrieval is None:
        sections["tasks"] = {
            name: {**short["tasks"][name], "loss": short["tasks"][name]["loss"] or "none"}
            for name in recipe.tasks
        }
    if recipe.retrieval is not None:
        sections["retrieval"] = short["retrieval"]
    if recipe.losses:
        sections["losses"] = {name: _term(term) for name, term in short["losses"].items()}
    if recipe.relations:
        sections["relations"] = [_relation(r) for r in short["relations"]]
    if short.get("kernels"):
        sections["kernels"] = short["kernels"]
    sections["train"] = _train(whole["train"])
    for section in ("search", "export", "meta"):
        if short.get(section) not in (None, {}):
            sections[section] = short[section]
    return sections


def _data(plain: Mapping[str, Any]) -> dict[str, Any]:
    dropped = ("train", "eval") if plain["synthetic"] is not None else ()
    fields = {k: _without_nulls(v) for k, v in plain.items() if k not in dropped}
    return {k: v for k, v in fields.items() if v not in (None, [], {})}


def _without_nulls(value: Any) -> Any:
    """A map without the entries that say nothing, at any depth."""
    if not isinstance(value, dict):
        return value
    entries = {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return {k: v for k, v in entries.items() if v != {} or value[k] == {}}


def _feature(name: str, recipe: Recipe, short: Mapping[str, Any]) -> dict[str, Any]:
    feature = recipe.features[name]
    rest = {k: v for k, v in short.items() if k not in ("type", "name", "columns")}
    word = "name" if feature.type in ("cross", "sequence") else "names"
    if "columns" in short:
        rest["column"] = short["columns"]
    return {"type": feature.type, word: name, **rest}


def _node(node: NodeSpec | str) -> Any:
    if isinstance(node, str):
        return node
    plain = node.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    params = plain.pop("params", {})
    words = {k: plain[k] for k in NODE_WORDS if k in plain}
    return {**words, **{k: params[k] for k in sorted(params)}}


def _term(plain: Mapping[str, Any]) -> Any:
    params = plain.get("params", {})
    words = {k: plain[k] for k in TERM_WORDS if k in plain}
    return {**words, **{k: params[k] for k in sorted(params)}}


def _relation(plain: Mapping[str, Any]) -> Any:
    text = f"{' + '.join(plain['parents'])} -> {plain['child']}"
    rest = {k: v for k, v in plain.items() if k not in ("parents", "child")}
    return {text: rest} if rest else text


def _train(plain: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in _without_nulls(plain).items() if v not in ({}, [])}
    kept["optim"] = {
        side: {o["name"]: {k: o[k] for k in OPTIMIZER_SETTINGS[o["name"]] if k in o}}
        for side, o in plain["optim"].items()
    }
    for key in ("schedule", "table_schedule"):
        schedule = plain[key]
        if schedule is not None:
            words = ["kind", "warmup", *(["warmup_from"] if schedule["warmup"] else [])]
            words += SCHEDULE_SETTINGS[schedule["kind"]]
            kept[key] = {word: schedule[word] for word in words}
    balance = plain["balance"]
    kept["balance"] = {k: balance[k] for k in ("kind", *BALANCE_SETTINGS[balance["kind"]])}
    return kept


# ---- YAML -------------------------------------------------------------------------------------


# Steps of the printed form that the canonical paths do not have.
_PRINTED = re.compile(r"^(train\.optim\.(?:dense|sparse)|relations\.\d+)\.[^.]+")


class _Comments:
    """Where the values below a path come from."""

    def __init__(self, origin: Any, path: str) -> None:
        self.origin = origin
        self.path = path

    def below(self, key: str) -> _Comments:
        return _Comments(self.origin, f"{self.path}.{key}")

    def text(self) -> str:
        path = _PRINTED.sub(r"\1", self.path)
        span: Span | None = self.origin.values.get(path)
        if span is None and path.endswith((".names", ".name")):
            span = self.origin.keys.get(path.rpartition(".")[0])
        if span is None:
            return "  # default"
        return f"  # {span}".rsplit(":", 1)[0] if span.file is not None else f"  # {span}"


def _write(lines: list[str], key: str, value: Any, indent: str, comments: _Comments | None) -> None:
    """`key: value` in as few lines as fit; with comments a line for each value."""
    head = f"{indent}{scalar(key)}:"
    if not isinstance(value, dict | list) or not value:
        lines.append(f"{head} {flow(value)}{comments.text() if comments else ''}")
        return
    line = f"{head} {flow(value)}"
    plain = isinstance(value, list) and not any(isinstance(v, dict | list) for v in value)
    if comments is not None and plain:
        lines.append(f"{line}{comments.text()}")
    elif comments is None and len(line) <= WIDTH and indent:
        lines.append(line)
    elif isinstance(value, dict):
        lines.append(head)
        for name, inner in value.items():
            _write(
                lines,
                str(name),
                inner,
                f"{indent}  ",
                comments.below(str(name)) if comments else None,
            )
    else:
        lines.append(head)
        for number, item in enumerate(value):
            _item(lines, item, f"{indent}  ", _element(comments, key, item, number))


def _element(comments: _Comments | None, key: str, item: Any, number: int) -> _Comments | None:
    """Comments of a list element; a feature is known by its name."""
    if comments is None:
        return None
    if key == "features" and comments.path == "features":
        return comments.below(str(item.get("names") or item.get("name")))
    return comments.below(str(number))


def _item(lines: list[str], item: Any, indent: str, comments: _Comments | None) -> None:
    if comments is None or not isinstance(item, dict) or not item:
        lines.append(f"{indent}- {flow(item)}{comments.text() if comments else ''}")
        return
    first = len(lines)
    for name, inner in item.items():
        _write(lines, str(name), inner, f"{indent}  ", comments.below(str(name)))
    lines[first] = f"{indent}- {lines[first][len(indent) + 2 :]}"
