"""`graphrec explain CODE`: what a diagnostic means, with a failing example and its cure.

The pages are Markdown beside this file, one file for each family of codes. In an example the fence
says `wrong` or `right`, and perhaps the name of a file: without one it is what a recipe says on
top of `EXAMPLE_BASE`; `sh` are commands, run where `rows.yaml` and `rows.csv` are. A test runs all
of them: wrong ones give their code, right ones nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from graphrec.recipe.codes import CODES

__all__ = ["EXAMPLE_BASE", "FILES", "Scene", "examples", "markdown", "page", "scenes", "titles"]

EXAMPLE_BASE = """\
graphrec: 1
features:
  - {type: id, names: {user_id: 100, item_id: 50}, dim: 8}
  - {type: dense, names: price}
  - {type: sequence, name: clicked, of: [item_id], max_len: 20}
graph:
  deep: {block: mlp, in: all, hidden: [16]}
  history: {block: pooling, in: clicked}
  final: {block: mlp, in: [deep, history], hidden: [8]}
tasks:
  click: {label: click, in: final}
"""
"""What the examples extend."""

FILES = {
    "base.yaml": EXAMPLE_BASE,
    "rows.yaml": """\
graphrec: 1
name: rows
data: {train: rows.csv, workers: 0}
features:
  - {type: id, names: user_id, vocab: 10, dim: 4}
  - {type: dense, names: price}
graph: {top: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: top}}
train: {steps: 2, batch: 4}
""",
    "rows.csv": "user_id,price,click\n1,2.5,0\n2,3.5,1\n3,1.0,0\n4,4.5,1\n",
}
"""What stands in the folder of an example."""

_FENCE = re.compile(
    r"^```(\w*) ?(wrong|right)?(?: ([\w.]+))?\n(.*?)^```\n", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Scene:
    """A wrong or right example: what stands in files, and the commands that look at them."""

    which: str
    files: Mapping[str, str]
    commands: tuple[str, ...]


def titles() -> Mapping[str, str]:
    """Every code with its title."""
    return CODES


def page(code: str) -> str:
    """The page of a code, as plain text."""
    text = _FENCE.sub(_indented, _body(code)).strip()
    return f"{code}: {CODES[code]}\n\n{text}\n"


def markdown(code: str) -> str:
    """The text of a code's page as Markdown that any reader knows: verdicts stand before fences."""

    def fence(match: re.Match[str]) -> str:
        language, which, file, text = match.groups()
        head = " ".join(word for word in (which, f"`{file}`" if file else "") if word)
        return (f"{head}:\n\n" if head else "") + f"```{language}\n{text}```\n"

    return _FENCE.sub(fence, _body(code)).strip()


def examples(code: str) -> Iterator[tuple[str, str]]:
    """(`wrong`, `right` or ``, text) of every piece of a recipe on a page."""
    for language, which, file, text in _FENCE.findall(_body(code)):
        if language == "yaml" and not file:
            yield which, text


def scenes(code: str) -> Iterator[Scene]:
    """The wrong and right examples of a page; pieces that follow each other are one."""
    which, files, commands = "", dict[str, str](), list[str]()
    end = 0
    for match in _FENCE.finditer(_body(code)):
        language, verdict, file, text = match.groups()
        if which and (verdict != which or match.start() > end + 1):
            yield _scene(which, files, commands)
            files, commands = {}, []
        which, end = verdict or "", match.end()
        if language == "sh":
            commands += text.splitlines()
        elif file:
            files[file] = text
        else:
            files["recipe.yaml"] = f"graphrec: 1\nextends: base.yaml\n{text}"
    if which:
        yield _scene(which, files, commands)


def _scene(which: str, files: Mapping[str, str], commands: list[str]) -> Scene:
    told = tuple(commands)
    if not told:
        names = [name for name in files if name.endswith(".yaml")]
        told = (f"graphrec check {names[0]}",) if names else ("graphrec train rows.yaml",)
    return Scene(which, {**FILES, **files}, told)


def _indented(match: re.Match[str]) -> str:
    which, file, text = match[2], match[3], match[4]
    head = " ".join(word for word in (which, file) if word)
    lines = "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())
    return (f"{head}:\n" if head else "") + lines


def _body(code: str) -> str:
    file = resources.files(__package__).joinpath(f"{code[:3].lower()}.md")
    section = re.search(rf"^## {code}\n(.*?)(?=^## |\Z)", file.read_text("utf-8"), re.M | re.S)
    return section[1] if section else ""
