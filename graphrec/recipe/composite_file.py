"""Text -> Composite: a block's own YAML file, read as strictly as a recipe."""

from __future__ import annotations

import os
from pathlib import Path

from graphrec.ground.errors import RecipeError
from graphrec.recipe.merge import root_layer
from graphrec.recipe.model import Composite
from graphrec.recipe.problem_text import Report
from graphrec.recipe.reader import read_yaml
from graphrec.recipe.recipe_files import Files
from graphrec.recipe.validate import Validator

__all__ = ["read_composite"]


def read_composite(path: str | Path) -> Composite:
    """The composite block a YAML file holds; raises RecipeError with everything wrong in it."""
    report, name = Report(), str(path)
    text, unread = Files(os.path.dirname(name) or ".").read(name, None)
    tree, problems = read_yaml(text, name) if text is not None else (None, [])
    for problem in [*unread, *problems]:
        report(problem)
    composite = None
    if tree is not None:
        tree = root_layer(tree, report)
        called = tree.at("block")
        title = called.value if called and isinstance(called.value, str) else ""
        composite = Validator(tree, report).composite(title, tree, "")
    if report.problems or composite is None:
        raise RecipeError(report.problems)
    return composite
