"""`auto_expand_input_fields`: `field[1-3]` stands for field1, field2 and field3."""

from __future__ import annotations

import re

from graphrec.importers.easyrec.message_parts import entries, message, nested, value
from graphrec.importers.tzrec.textproto import Entry, Message

__all__ = ["expanded"]

_RANGE = re.compile(r"(.*?)\[([0-9]{1,6})-([0-9]{1,6})\](.*)")
_NAMES = ("feature_names", "input_names", "label_fields", "shared_names")
_MOST = 10_000


def expanded(config: Message) -> Message:
    """The config with every range of names written out, where it asks for that."""
    data = nested(config, "data_config")
    wanted = value(data, "auto_expand_input_fields") if data is not None else None
    return _written_out(config) if wanted in ("true", "True", 1) else config


def _written_out(source: Message) -> Message:
    parts: list[Entry] = []
    for entry in source.entries:
        inner = entry.value
        if entry.name == "auto_expand_input_fields":
            continue
        if isinstance(inner, Message):
            parts += _fields(entry) if entry.name == "input_fields" else [_deeper(entry)]
        elif entry.name in _NAMES and isinstance(inner, str):
            parts += [Entry(entry.name, name, entry.span) for name in _each(inner)]
        else:
            parts.append(entry)
    return message(parts, source.span)


def _deeper(entry: Entry) -> Entry:
    assert isinstance(entry.value, Message)
    return Entry(entry.name, _written_out(entry.value), entry.span)


def _fields(entry: Entry) -> list[Entry]:
    """An `input_fields` message for every name of its range."""
    inner = entry.value
    assert isinstance(inner, Message)
    names = [e for e in entries(inner, "input_name") if isinstance(e.value, str)]
    if not names:
        return [entry]
    rest = [e for e in inner.entries if e.name != "input_name"]
    return [
        Entry(
            entry.name,
            message([Entry("input_name", n, names[0].span), *rest], inner.span),
            entry.span,
        )
        for n in _each(str(names[-1].value))
    ]


def _each(text: str) -> list[str]:
    span = _RANGE.fullmatch(text)
    if span is None or not 0 <= int(span[3]) - int(span[2]) < _MOST:
        return [text]
    return [f"{span[1]}{number}{span[4]}" for number in range(int(span[2]), int(span[3]) + 1)]
