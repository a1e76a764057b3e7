"""The pages of docs/ about the command line and Python, made from what these declare."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from graphrec.cli.command import Command, Parser

__all__ = ["commands_page", "python_page"]

_GENERATED = "<!-- Generated from the program: `make docs` writes it again. -->\n"


def commands_page() -> str:
    """Every command with its options and examples, as Markdown."""
    from graphrec.cli import GROUPS

    parts = ["# Commands\n", _GENERATED]
    for title, commands in GROUPS:
        parts.append(f"## {title[:1].upper()}{title[1:]}\n")
        parts += [_command(command) for command in commands]
    return "\n".join(parts).rstrip() + "\n"


def _command(command: Command) -> str:
    parser = Parser(prog=f"graphrec {command.name}", add_help=False)
    command.configure(parser)
    examples = "\n".join(command.examples)
    fence = f"\n```bash\n{examples}\n```\n" if examples else ""
    options = "\n".join(_options(parser))
    about = f"{command.help[:1].upper()}{command.help[1:]}."
    return f"### `{command.name}`\n\n{about}\n{fence}\n{options}\n"


def _options(parser: Parser) -> Iterator[str]:
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        names = ", ".join(action.option_strings)
        value = action.metavar or ""
        if not value and action.choices:
            value = "{" + ",".join(map(str, action.choices)) + "}"
        elif not value and action.option_strings and action.nargs != 0:
            value = action.dest.upper()
        yield f"- `{f'{names} {value}'.strip()}`: {(action.help or '').replace('%%', '%')}"


def python_page(public: Mapping[str, Any]) -> str:
    """Public names with their signatures and what they do, as Markdown."""
    parts = ["# Python\n", _GENERATED]
    parts += [_entry(name, value) for name, value in sorted(public.items()) if name[0] != "_"]
    return "\n".join(parts).rstrip() + "\n"


def _entry(name: str, value: Any) -> str:
    lines = [f"## `{name}`\n", _signature(name, value), _doc(value)]
    if inspect.isclass(value):
        for method, inner in sorted(vars(value).items()):
            plain = inner.__func__ if isinstance(inner, classmethod | staticmethod) else inner
            if not method.startswith("_") and inspect.isfunction(plain) and plain.__doc__:
                lines += [f"### `{name}.{method}`\n", _signature(method, plain), _doc(plain)]
    return "\n".join(lines)


def _signature(name: str, value: Any) -> str:
    try:
        # Annotations are texts here (PEP 563): without their quotes they read as written.
        text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(value)))
    except (TypeError, ValueError):
        return ""
    return f"```python\n{name}{text}\n```\n" if len(text) < 600 else ""


def _doc(value: Any) -> str:
    return f"{inspect.getdoc(value) or ''}\n"
