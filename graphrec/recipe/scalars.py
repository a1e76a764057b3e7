"""What an unquoted YAML scalar means: the YAML 1.2 core values, strict and finite."""

from __future__ import annotations

import math
import re

__all__ = ["Refused", "resolve"]

_NUMERIC = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_LARGEST = 2**63 - 1
_DIGITS = 40


class Refused(ValueError):
    """A number that is written well but can't be used."""


def resolve(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar; raises Refused for infinite and enormous numbers.

    >>> [resolve(t) for t in ("1e-4", "010", "100_000", "12:30", "yes", "true", "~")]
    [0.0001, 10, 100000, '12:30', 'yes', True, None]
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _NUMERIC:
        return text
    if text.lstrip("+-").lower() in (".inf", ".nan"):
        raise Refused(f"numbers are finite, got `{text}`")
    if _INTEGER.fullmatch(text):
        return _integer(text, 10)
    if _FLOAT.fullmatch(text):
        value = float(text.replace("_", "")) if len(text) < 400 else math.inf
        if math.isinf(value):
            raise Refused(f"`{text[:40]}` is too large a number")
        return value
    if _OCTAL.fullmatch(text):
        return _integer(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return _integer(text[2:], 16)
    return text


def _integer(digits: str, base: int) -> int:
    # int() of thousands of digits is slow, and refused by Python itself beyond a limit
    value = int(digits.replace("_", ""), base) if len(digits) <= _DIGITS else _LARGEST + 1
    if abs(value) > _LARGEST:
        raise Refused(f"`{digits[:40]}{'...' if len(digits) > 40 else ''}` is beyond 64 bits")
    return value
