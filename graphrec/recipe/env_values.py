"""`$env.NAME` and `$env.NAME:default` as a whole value, of variables that the user allowed.

A recipe is data of others: it must not carry what it likes of an environment, where keys and
passwords are, into run folders and messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container

from graphrec.ground.errors import Problem, RecipeError
from graphrec.recipe.scalars import Refused, resolve
from graphrec.recipe.tree import INVALID, Tree

__all__ = ["fill_in"]

_FORM = re.compile(r"\$env\.([A-Za-z_][A-Za-z0-9_]*)(?::(.*))?", re.DOTALL)


def fill_in(
    tree: Tree,
    report: Callable[[Problem], None],
    path: str = "",
    allowed: Container[str] | None = None,
) -> Tree:
    """The tree with every `$env` text replaced; unquoted ones follow the rules of plain values.

    `allowed` are the variables that may be read, None for all.
    """
    if isinstance(tree.value, dict):
        return _with(
            tree,
            {
                k: fill_in(v, report, f"{path}.{k}" if path else k, allowed)
                for k, v in tree.value.items()
            },
        )
    if isinstance(tree.value, list):
        return _with(
            tree, [fill_in(v, report, f"{path}.{i}", allowed) for i, v in enumerate(tree.value)]
        )
    if not isinstance(tree.value, str) or not tree.value.startswith("$env"):
        return tree
    try:
        return _with(tree, _text_for(tree, path, allowed))
    except RecipeError as error:
        report(error.problems[0])
    except Refused as error:
        report(Problem("GR109", str(error), tree.span, path))
    return tree.holding(INVALID)


def _text_for(tree: Tree, path: str, allowed: Container[str] | None) -> object:
    """What stands in the place of `$env.NAME`; a RecipeError with the one finding there is."""

    def refused(code: str, what: str, help: str = "") -> RecipeError:
        return RecipeError(Problem(code, what, tree.span, path, help))

    match = _FORM.fullmatch(str(tree.value))
    if match is None:
        given = str(tree.value)[:60]
        what = f"expected $env.NAME or $env.NAME:default as the whole value, got `{given}`"
        raise refused("GR204", what)
    name, default = str(match[1]), match[2]
    text: str | None = os.environ.get(name, default)
    if allowed is not None and name not in allowed and (default is None or name in os.environ):
        what = f"the recipe reads the environment variable {name}, which is not allowed"
        help = f"where you trust it:  --allow-env {name}   (Python: allow_env=[{name!r}])"
        raise refused("GR209", what, help)
    if text is None:
        help = f"set it, or give a default:  $env.{name}:value"
        raise refused("GR209", f"the environment variable {name} is not set", help)
    if not text.isprintable() and not text.strip().isprintable():
        raise refused("GR209", f"the environment variable {name} is not plain text")
    return text if tree.quoted else resolve(text)


def _with(tree: Tree, value: object) -> Tree:
    return Tree(value, tree.span, tree.key, tree.quoted)
