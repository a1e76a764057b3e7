"""Generated pages of docs/: the language, expressions, blocks and diagnostics, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from graphrec.blocks.library import BUILTIN
from graphrec.recipe.expression_shapes import FUNCTIONS
from graphrec.views.catalog import BlockPage, about_block
from graphrec.views.explain import markdown, titles
from graphrec.views.reference.entries import function_entry, key_entry
from graphrec.views.reference.examples import base
from graphrec.views.reference.settings import settings

__all__ = ["GENERATED", "pages"]

GENERATED = "<!-- Generated from the models: `make docs` writes it again. -->\n"

_SECTIONS = {
    "recipe": ("The top of a recipe", ("graphrec", "name", "description", "extends", "meta")),
    "data": ("data: where rows come from", ("data",)),
    "features": ("features and defaults", ("defaults", "features")),
    "groups": ("groups: sources of the graph", ("groups",)),
    "graph": ("graph: nodes and their modifiers", ("graph", "blocks")),
    "tasks": ("tasks, losses, metrics, relations", ("tasks", "losses", "relations")),
    "retrieval": ("retrieval: vectors to search", ("retrieval",)),
    "train": ("train and search", ("train", "search")),
    "kernels": ("kernels and export", ("kernels", "export")),
}
"""File -> title, and the first words of its keys; a test holds it complete."""


def pages() -> Mapping[str, str]:
    """Every generated page by its path below docs/."""
    sections = {f"reference/{name}.md": _section(name) for name in _SECTIONS}
    return sections | {
        "reference/examples.md": _base(),
        "reference/expressions.md": _expressions(),
        "reference/blocks.md": _blocks(),
        "reference/diagnostics.md": _diagnostics(),
    }


def _page(title: str, parts: Iterator[str] | list[str]) -> str:
    text = "\n".join([f"# {title}\n", GENERATED, *parts])
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _section(name: str) -> str:
    title, firsts = _SECTIONS[name]
    chosen = [s for s in settings() if s.path.partition(".")[0] in firsts]
    about = (
        "Names of features, nodes and tasks are left out of paths: `tasks.label.above` is "
        "`tasks.click.label.above` of a task `click`. Examples stand on [one recipe](examples.md); "
        "`graphrec keys PATH` prints an entry.\n"
    )
    return _page(title, [about, *map(key_entry, chosen)])


def _base() -> str:
    about = "What the examples of this reference change (as `extends: base.yaml`):\n"
    return _page("The recipe of the examples", [about, f"```yaml\n{base()}```\n"])


def _expressions() -> str:
    about = (
        "A node that is a text, a task's `logit` and `prob`, and terms of `losses` are expressions "
        "of names and ports, numbers, `+ - * /`, `**`, and the functions here. `+ - * /` take "
        "equal shapes, a number, or a width of 1. No weights are in them; `graphrec explain NAME` "
        "prints an entry.\n\n```yaml\ngraph:\n  logit: all.linear + sum(fm) + deep\n```\n"
    )
    return _page("Expressions", [about, *(function_entry(name) for name in FUNCTIONS)])


def _blocks() -> str:
    about = (
        "Examples stand on [one recipe](examples.md), shapes are those of the example: B rows, "
        "L steps. `graphrec blocks NAME` prints an entry. Ports with `?` may be left, `*` takes "
        "any number.\n"
    )
    return _page("Blocks", [about, *(_block(about_block(BUILTIN, name)) for name in BUILTIN.names)])


def _block(page: BlockPage) -> str:
    rows = [
        f"| `{p.name}` | {_cell(p.type)} | {'required' if p.required else _cell(p.default_text)} "
        f"| {_cell(p.doc)} |"
        for p in page.parameters
    ]
    table = ["| parameter | type | default | |", "|---|---|---|---|", *rows] if rows else []
    kernels = [f"- kernel `{name}`: {text}" for name, text in page.kernels.items()]
    parts = [
        f"## `{page.name}`",
        page.doc,
        f"`{page.name}{page.ports_text()}`{f', {page.kind}' if page.kind else ''}",
        "\n".join(table),
        "\n".join(kernels),
        f"```yaml\n{page.example}\n```",
        f"Shapes: `{page.shapes}`",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _diagnostics() -> str:
    about = "Codes are stable; `graphrec explain CODE` prints an entry.\n"
    entries = (f"## {code}: {title}\n\n{markdown(code)}\n" for code, title in titles().items())
    return _page("Diagnostics", [about, *entries])
