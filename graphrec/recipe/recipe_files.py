"""Which files a recipe may read, and reading them: only below the first recipe's folder."""

from __future__ import annotations

import os
from pathlib import Path

from graphrec.ground.errors import Problem, Span, nearest
from graphrec.ground.text import open_regular
from graphrec.recipe.reader import MAX_BYTES, decode, read_yaml
from graphrec.recipe.tree import INVALID, Tree

__all__ = ["Files", "base_folder", "layers", "located"]


class Files:
    """The folder that may be read, and the text of every file read so far.

    `root` is the folder of the first recipe, `allowed` a further folder the user opened up.
    """

    def __init__(self, root: str, allowed: str | Path | None = None) -> None:
        self.root = root
        self.texts: dict[str, str] = {}
        self._inside = [os.path.realpath(root)]
        if allowed is not None:
            self._inside.append(os.path.realpath(allowed))

    def refusal(self, path: str) -> str | None:
        """Why `path` may not be read, or None; symbolic links are followed first."""
        if "\0" in path:
            return "a path has no NUL character"
        real = os.path.realpath(path)
        if any(_below(real, folder) for folder in self._inside):
            return None
        return "is outside the recipe's folder"

    def read(self, path: str, span: Span | None) -> tuple[str | None, list[Problem]]:
        """The text of a file; `span` is where its name is written."""
        try:
            with open_regular(path) as stream:
                data = stream.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            help = "give a recipe of that folder" if os.path.isdir(path) else ""
            return None, [Problem("GR120", f"can't read {path!r}: {why}", span, help=help)]
        if len(data) > MAX_BYTES:
            limit = f"a recipe has at most {MAX_BYTES:,} bytes"
            return None, [Problem("GR106", limit, Span(path, 1, 1))]
        text, problems = decode(data, path)
        self.texts[path] = text if not problems else data.decode("utf-8", "replace")
        return (None if problems else text), problems


def layers(files: Files, path: str, tree: Tree) -> tuple[list[Tree], list[Problem], bool]:
    """The recipe and those it extends, the outermost parent first; `extends` is taken out.

    The last value tells whether all of them could be read.
    """
    trees, problems = [tree], list[Problem]()
    chain: dict[str, str] = {}
    while (named := tree.value.pop("extends", None)) is not None:
        chain[os.path.realpath(path)] = f"{path} (line {named.span.line})"
        parent = _parent(files, named, path)
        if parent is None:
            return trees, problems, False
        if isinstance(parent, Problem):
            return trees, [*problems, parent], False
        real = os.path.realpath(parent)
        if real in chain:
            steps = " -> ".join([*list(chain.values())[list(chain).index(real) :], parent])
            what = f"extends goes in a circle: {steps}"
            return trees, [*problems, Problem("GR122", what, named.span, "extends")], False
        text, unread = files.read(parent, named.span)
        read, wrong = read_yaml(text, parent) if text is not None else (None, [])
        problems += [*unread, *wrong]
        if read is None:
            return trees, problems, False
        trees.insert(0, read)
        path, tree = parent, read
    return trees, problems, True


def _parent(files: Files, named: Tree, path: str) -> str | Problem | None:
    """The path of the file that `extends` names; None where that could not be read."""
    if named.value is INVALID:
        return None
    if not isinstance(named.value, str) or not named.value:
        what = "expected the path of one recipe" if named.value is not None else "a path is missing"
        help = "a recipe extends one other; that one may extend the next"
        return Problem("GR202", what, named.span, "extends", help)
    parent = os.path.normpath(os.path.join(os.path.dirname(path), named.value))
    refusal = files.refusal(parent)
    if refusal is not None:
        help = f"only files below {files.root!r} are read; --allow-root DIR opens another folder"
        return Problem("GR121", f"{named.value!r} {refusal}", named.span, "extends", help)
    if not os.path.exists(parent):
        what = f"no file {named.value!r} beside {os.path.basename(path)}"
        return Problem("GR120", what, named.span, "extends", _like(parent))
    if not os.path.isfile(parent):
        return Problem("GR120", f"{named.value!r} is no file", named.span, "extends")
    return parent


def _like(path: str) -> str:
    """The recipe in the same folder whose name is nearest."""
    try:
        beside = sorted(n for n in os.listdir(os.path.dirname(path) or ".") if n.endswith(".yaml"))
    except OSError:
        beside = []
    near = nearest(os.path.basename(path), beside[:1000])
    return f"did you mean `{near}`?" if near else "the path starts from the folder of this recipe"


def base_folder(span: Span) -> str:
    """The folder that paths written at `span` start from; an override's is the current one."""
    return os.path.dirname(os.path.abspath(span.file)) if span.file else os.getcwd()


def located(text: str, span: Span) -> str:
    """A data path or glob, made absolute; addresses with a scheme (`s3://`) stay as they are.

    >>> located("/data/*.parquet", Span("recipe.yaml", 1, 1))
    '/data/*.parquet'
    """
    if "://" in text:
        return text
    return os.path.normpath(os.path.join(base_folder(span), os.path.expanduser(text)))


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
