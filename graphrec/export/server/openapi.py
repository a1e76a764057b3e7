"""What the OpenAPI page says of the model: its own fields, with examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrec.data.row_reader import Features

__all__ = ["error_schema", "examples", "predict_schema", "score_schema", "scores_schema"]

_ID = {"type": ["string", "integer", "boolean", "null"]}
_NUMBER = {"type": ["number", "string", "boolean", "null"]}


def predict_schema(features: Features) -> dict[str, Any]:
    rows = {"type": "array", "minItems": 1, "items": _row(features, None)}
    return _object({"rows": rows})


def score_schema(features: Features) -> dict[str, Any]:
    candidates = {"type": "array", "minItems": 1, "items": _row(features, "candidates")}
    return _object({"request": _row(features, "request"), "candidates": candidates})


def scores_schema(names: list[str]) -> dict[str, Any]:
    """The answer: for every output a number, or several, for each row."""
    values = {"type": "array", "items": {"type": ["number", "array", "null"]}}
    scores = {"type": "object", "properties": dict.fromkeys(names, values)}
    model = _object({"name": {"type": "string"}, "step": {"type": "integer"}})
    return _object({"scores": scores, "model": model})


def error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return _object({"error": _object({"field": text, "message": text})})


def examples(features: Features, score: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Bodies that work: of /v1/predict, and of /v1/score."""
    whole = {"rows": [_example(features, None)]}
    if not score:
        return whole, None
    request, candidate = (_example(features, side) for side in ("request", "candidates"))
    return whole, {"request": request, "candidates": [candidate, candidate]}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _row(features: Features, side: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for entry in features.entries:
        if side in (None, entry["side"]):
            fields |= _fields(entry)
    return {"type": "object", "properties": fields, "additionalProperties": True}


def _fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    if entry["kind"] == "cross":
        return {part["column"]: _ID for part in entry["of"]}
    value = _ID if entry["kind"] == "id" else _NUMBER
    width = entry.get("width", 1)
    about = f"feature {entry['feature']}"
    if entry["form"] == "single" and width == 1:
        return {entry["column"]: {**value, "description": about}}
    several: dict[str, Any] = {"type": ["array", "string", "null"], "items": value}
    if entry.get("nested") or (entry["form"] == "sequence" and width > 1):
        several["items"] = {"type": ["array", "null"], "items": value}
    if entry["form"] == "sequence":
        about += f", a step of {entry['sequence']} each"
    fields = {entry["column"]: {**several, "description": about}}
    if "weights" in entry:
        fields[entry["weights"]] = {"type": ["array", "null"], "items": _NUMBER}
    return fields


def _example(features: Features, side: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for entry in features.entries:
        if side not in (None, entry["side"]):
            continue
        if entry["kind"] == "cross":
            row |= {part["column"]: 1 for part in entry["of"] if part["column"] not in row}
            continue
        one: Any = 1 if entry["kind"] == "id" else 0.5
        width = entry.get("width", 1)
        one = [one] * width if width > 1 else one
        if entry["form"] == "sequence":
            one = [[one], [one]] if entry.get("nested") else [one, one]
        elif entry["form"] == "multi":
            one = ["1:0.5"] if entry.get("inside") else [one]
        row[entry["column"]] = one
        if "weights" in entry:
            row[entry["weights"]] = [1.0]
    return row
