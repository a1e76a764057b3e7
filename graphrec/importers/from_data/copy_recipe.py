"""A shipped recipe as one file of its own: what it extends is written into it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from graphrec.recipe import canonical, read_recipe
from graphrec.recipe.reader import read_value

__all__ = ["copied"]

_ORDER = (
    ("graphrec", "name", "description", "data", "defaults", "features", "groups", "blocks")
    + ("graph", "tasks", "relations", "kernels", "train", "export", "meta")
)  # fmt: skip
_KEY = re.compile(r"^([a-z]+\+?):", re.MULTILINE)


def copied(path: Path, schema: str) -> str:
    """The text of the recipe at `path`, comments kept, so that it can lie in any folder.

    Bases are joined text by text; where a key stands in both, the whole is written in full
    instead, as `graphrec expand` does. `schema` goes into the editor's line.
    """
    editor = f"# yaml-language-server: $schema={schema}\n"
    texts = [path.read_text(encoding="utf-8")]
    folder = path.parent
    while (base := _base(texts[-1])) is not None:
        folder = (folder / base).parent
        texts.append((folder / os.path.basename(base)).read_text(encoding="utf-8"))
    if len(texts) == 1:
        return editor + _without_editor(texts[0])
    joined = _joined([_sections(text) for text in texts])
    return editor + (canonical(read_recipe(path)) if joined is None else joined)


def _base(text: str) -> str | None:
    line = re.search(r"^extends: *(\S+) *$", text, re.MULTILINE)
    return line[1] if line else None


def _without_editor(text: str) -> str:
    return re.sub(r"^# yaml-language-server:.*\n", "", text, flags=re.MULTILINE)


def _sections(text: str) -> dict[str, str]:
    """Key -> its lines; what stands before the first key is under the empty one."""
    text = _without_editor(text)
    starts = [*_KEY.finditer(text)]
    sections = {"": text[: starts[0].start()] if starts else text}
    for here, following in zip(starts, [*starts[1:], None], strict=True):
        sections[here[1]] = text[here.start() : following.start() if following else len(text)]
    return sections


def _joined(parts: list[dict[str, str]]) -> str | None:
    """The child first, then what it extends; None where one key stands in several of them."""
    joined: dict[str, str] = {"": parts[0][""]}
    appended: dict[str, str] = {}
    for sections in parts:
        for key, lines in sections.items():
            if key in ("", "extends") or (key == "graphrec" and key in joined):
                continue
            name = key.removesuffix("+")
            body = re.match(r"[a-z]+\+?: *\n", lines)
            if name in joined or (name in appended and body is None):
                return None
            if key != name:
                if body is None or not _declares(lines[body.end() :]):
                    return None
                appended[name] = lines[body.end() :] + appended.get(name, "")
                continue
            joined[name] = lines + appended.pop(name, "")
    if appended or not joined.keys() <= {"", *_ORDER}:
        return None
    return joined[""] + "".join(joined[key] for key in _ORDER if key in joined)


def _declares(text: str) -> bool:
    """Whether every family of a list says its type: one without changes what stands before it."""
    tree, _ = read_value(text, "families")
    return tree is not None and all("type" in family.value for family in tree.value)
