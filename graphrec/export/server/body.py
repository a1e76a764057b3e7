"""The bytes of a request as rows: within limits, and with the place of whatever is wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Limits", "Refused", "parse_predict", "parse_score"]


@dataclass(frozen=True)
class Limits:
    """What a request may be at most; `seconds` is how long it may take."""

    bytes: int = 8 << 20
    rows: int = 10_000
    depth: int = 6
    seconds: float = 10.0
    waiting_rows: int = 50_000


class Refused(Exception):
    """A request that is answered with `status`: `field` is where, `message` what is wrong."""

    def __init__(self, status: int, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.field = status, message, field


def parse_predict(body: bytes, limits: Limits) -> list[dict[str, Any]]:
    """`{"rows": [{...}]}`."""
    value = _object(body, limits, ("rows",))
    return _rows(value["rows"], "rows", limits)


def parse_score(body: bytes, limits: Limits) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`{"request": {...}, "candidates": [{...}]}`."""
    value = _object(body, limits, ("request", "candidates"))
    if not isinstance(value["request"], dict):
        raise Refused(422, f"is {_kind(value['request'])}, a map is needed", "request")
    return value["request"], _rows(value["candidates"], "candidates", limits)


def _object(body: bytes, limits: Limits, keys: tuple[str, ...]) -> dict[str, Any]:
    _check_depth(body, limits.depth)
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Refused(400, "the body is not UTF-8") from None
    except RecursionError:
        raise Refused(400, f"values are nested deeper than {limits.depth}") from None
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused(422, f"the body is {_kind(value)}, a map is needed")
    for key in keys:
        if key not in value:
            raise Refused(422, "is missing", key)
    odd = sorted(value.keys() - set(keys))
    if odd:
        raise Refused(422, f"is not known; known here: {', '.join(keys)}", odd[0])
    return value


_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)', re.DOTALL)
_OTHERS = bytes(sorted({*range(256)} - {*b"[]{}"}))


def _check_depth(body: bytes, most: int) -> None:
    """Before anything is parsed: brackets outside of texts, opened at the same time."""
    if body.count(b"[") + body.count(b"{") <= most:
        return
    depth = 0
    for bracket in _TEXT.sub(b"", body).translate(None, _OTHERS):
        depth += 1 if bracket in b"[{" else -1
        if depth > most:
            raise Refused(400, f"values are nested deeper than {most}")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _rows(value: Any, field: str, limits: Limits) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Refused(422, f"is {_kind(value)}, a list of maps is needed", field)
    if not value:
        raise Refused(422, "is empty", field)
    if len(value) > limits.rows:
        raise Refused(413, f"has {len(value):,} rows, at most {limits.rows:,} are allowed", field)
    for place, row in enumerate(value):
        if not isinstance(row, dict):
            raise Refused(422, f"is {_kind(row)}, a map is needed", f"{field}.{place}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "a map", list: "a list", str: "a text", bool: "a truth value"}
    return "null" if value is None else names.get(type(value), "a number")
