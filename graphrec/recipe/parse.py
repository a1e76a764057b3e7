"""Text -> Recipe: read, join what it extends, fill in, apply overrides, expand, validate, name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from graphrec.ground.errors import Problem, RecipeError, Span, nearest, suggestion
from graphrec.recipe.env_values import fill_in
from graphrec.recipe.expand import completed, opened, reopened, with_families
from graphrec.recipe.foreign import foreign_tool, importable
from graphrec.recipe.merge import is_patch, merge, orphaned, root_layer
from graphrec.recipe.model import Recipe
from graphrec.recipe.namespace import check_names
from graphrec.recipe.overrides import Override, apply, read_override, retold
from graphrec.recipe.problem_text import Report
from graphrec.recipe.reader import MAX_BYTES, read_yaml
from graphrec.recipe.recipe_files import Files, layers
from graphrec.recipe.tree import INVALID, Tree, shown
from graphrec.recipe.validate import Validator
from graphrec.recipe.vocabulary import check_vocabularies

__all__ = ["Reading", "parse", "read_recipe"]

KEYS = (
    *("graphrec", "name", "description", "extends", "data", "defaults", "features", "groups"),
    *("blocks", "graph", "tasks", "retrieval", "losses", "relations", "kernels", "train", "search"),
    *("export", "meta"),
)
_SETTINGS = ("data", "kernels", "train", "export")
_VERSION = 1
_OTHER_TOOL = "write the recipe by hand: `graphrec recipes` lists models to start from"
_MOST = 500


@dataclass(frozen=True)
class Reading:
    """What could be read: the recipe without its broken parts, every finding, and what is broken.

    `recipe` is None when the text is no recipe at all. `broken` are paths (`graph.tower`,
    `features.price`, `train`): what follows from them needs no further finding. `sources` are the
    texts of all files, for showing findings.
    """

    recipe: Recipe | None
    problems: tuple[Problem, ...]
    broken: frozenset[str]
    sources: dict[str, str]


def read_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    allow_root: str | Path | None = None,
    allow_env: Sequence[str] = (),
) -> Recipe:
    """The recipe in a file, with `path=value` overrides; raises RecipeError with every problem.

    Files it names are read below its own folder only, or below `allow_root`; `$env` stands for the
    environment variables `allow_env` only, in overrides for all.
    """
    reading = parse(path, overrides, allow_root, allow_env)
    if reading.recipe is None or reading.problems:
        raise RecipeError(reading.problems)
    return reading.recipe


def parse(
    source: str | Path,
    overrides: Sequence[str] = (),
    allow_root: str | Path | None = None,
    allow_env: Sequence[str] = (),
) -> Reading:
    """Read a recipe as far as possible; a text with a line break is the recipe itself."""
    report = Report()
    is_text = isinstance(source, str) and "\n" in source
    path = "<text>" if is_text else str(source)
    files = Files("." if is_text else os.path.dirname(path) or ".", allow_root)
    if is_text:
        text: str | None = str(source)
        files.texts[path] = str(source)[:MAX_BYTES]
    else:
        text, problems = files.read(path, None)
        for problem in problems:
            report(problem)
        text = _own(text, path, report)
    changes = [_said(text, number, report) for number, text in enumerate(overrides, 1)]
    tree = _whole(text, path, files, allow_env, report) if text is not None else None
    recipe = None
    if tree is not None:
        recipe = _recipe(tree, path, [o for o in changes if o is not None], files, report)
    problems = sorted((retold(p, overrides) for p in report.problems), key=_position)
    shortened = tuple(problems[:_MOST])
    if len(problems) > _MOST:
        more = f"{len(problems) - _MOST:,} more findings are not shown"
        shortened += (Problem("GR106", more, problems[_MOST].span),)
    return Reading(recipe, shortened, frozenset(report.broken), files.texts)


def _own(text: str | None, path: str, report: Report) -> str | None:
    """The text, or None for a config of another tool, which is named."""
    tool = foreign_tool(text) if text is not None else ""
    if tool in ("", "graphrec"):
        return text
    what = f"this is a config of {tool}, not a recipe"
    mend = "`graphrec import` makes a recipe of it" if importable(tool) else _OTHER_TOOL
    report(Problem("GR206", what, Span(path, 1, 1), "graphrec", mend))
    return None


def _said(text: str, number: int, report: Report) -> Override | None:
    override_or_problems = read_override(text, number)
    if isinstance(override_or_problems, Override):
        return override_or_problems
    for problem in override_or_problems:
        report(problem)
    return None


def _whole(
    text: str, path: str, files: Files, allow_env: Sequence[str], report: Report
) -> Tree | None:
    """The recipe joined with all it extends; None when a file of the chain can't be read."""
    tree, problems = read_yaml(text, path)
    for problem in problems:
        report(problem)
    if tree is None:
        return None
    trees, problems, whole = layers(files, path, tree)
    for problem in problems:
        report(problem)
    if not whole:  # what is missing may be in the file that can't be read
        report.breaks("extends", "features", "groups", "blocks", "graph", "tasks", "retrieval")
        trees[0] = orphaned(trees[0])
    trees = [_as_meant(layer, report) for layer in trees]
    joined = root_layer(trees[0], report)
    for child in trees[1:]:
        joined = merge(joined, child, report)
    root_file = trees[0].span.file if whole else None
    return opened(fill_in(joined, report, allowed=allow_env), root_file, report)


def _as_meant(layer: Tree, report: Report) -> Tree:
    """A misspelt key at the top is told, and then read as the one that was meant."""
    value: dict[str, Tree] = {}
    for key, part in layer.value.items():
        name, plus = key.rstrip("+"), key.endswith("+")
        meant = nearest(name, KEYS) if name not in KEYS else None
        if meant is None or {meant, f"{meant}+"} & layer.value.keys():
            value[key] = part
            continue
        report(_unknown_key(name, part))
        value[f"{meant}+" if plus else meant] = part
    return layer.holding(value)


def _unknown_key(key: str, part: Tree) -> Problem:
    return Problem("GR201", f"unknown key `{key}`", part.key, key, suggestion(key, KEYS, 20))


def _recipe(
    tree: Tree, path: str, overrides: list[Override], files: Files, report: Report
) -> Recipe | None:
    for override in overrides:
        if not report.is_broken("extends") or _is_known(override, tree):
            tree = _override(tree, override, report)
    _check_top(tree, path, report)
    tree = completed(tree, report)
    title = os.path.basename(path)
    root = os.path.abspath(files.root)
    validator = Validator(tree, report, root, title)
    name = validator.text("name") or Path(path).stem.strip("<>") or "recipe"
    recipe = validator.recipe(name)
    check_names(recipe, validator.tree, report)
    check_vocabularies(recipe, files, report)
    assert recipe.origin is not None
    origin = recipe.origin.model_copy(update={"sources": files.texts})
    return _without(recipe, report).model_copy(update={"origin": origin})


def _is_known(override: Override, tree: Tree) -> bool:
    """Whether it can be judged although the parent can't be read: settings, and what is here."""
    section = override.parts[0]
    if section in _SETTINGS or section not in KEYS:
        return True
    return len(override.parts) > 2 and tree.at(".".join(override.parts[:2])) is not None


def _override(tree: Tree, override: Override, report: Report) -> Tree:
    value = fill_in(override.value, lambda p: report(override.problem(p.message, p.help)))
    override = Override(override.text, override.parts, value)
    patches = override.parts == ("features",) and is_patch(value)
    if (override.parts == ("features+",) or patches) and "features" in tree.value:
        if isinstance(value.value, list):
            return with_families(tree, value, report)
        report(override.problem(f"expected a list of families, got {shown(value.value)}"))
        return tree
    return reopened(apply(tree, override, report), report)


def _check_top(tree: Tree, path: str, report: Report) -> None:
    """The keys at the top: known ones only, and those every recipe has."""
    unknown = [key for key in tree.value if key not in KEYS]
    for key in unknown:
        near = nearest(key, KEYS) or key  # what was meant is missing now
        report(_unknown_key(key, tree.value[key]), key, near)
    top = Span(path, 1, 1)
    # retrieval or losses may stand in the place of tasks
    rest = () if {"retrieval", "losses"} & tree.value.keys() else ("tasks",)
    for key in ("graphrec", "features", "graph", *rest):
        if key not in tree.value:
            report.breaks(key)
            if not report.is_broken("extends") and not any(
                nearest(slip, [key]) for slip in unknown
            ):
                report(Problem("GR206", f"`{key}` is required", top, key, _WHY[key]))
    version = tree.at("graphrec")
    # True and 1.0 equal 1 to Python, and are no version.
    right = version is None or (type(version.value) is int and version.value == _VERSION)
    if version is not None and version.value is not INVALID and not right:
        what = f"this graphrec reads version {_VERSION} of the language, got {shown(version.value)}"
        report(Problem("GR202", what, version.span, "graphrec", f"graphrec: {_VERSION}"))


_WHY = {
    "graphrec": "the version of the language:  graphrec: 1",
    "features": "a list of families:  - {type: id, names: [user_id], vocab: 1000, dim: 16}",
    "graph": "nodes by name:  deep: {block: mlp, in: all, hidden: [64]}   ({} for none)",
    "tasks": "what is predicted:  ctr: {label: clk, in: deep}   (or `retrieval`)",
}


def _without(recipe: Recipe, report: Report) -> Recipe:
    """The recipe without parts that were found broken after they were made."""
    update = {}
    for section in ("features", "groups", "blocks", "graph", "tasks", "losses"):
        parts = getattr(recipe, section)
        kept = {
            name: part for name, part in parts.items() if f"{section}.{name}" not in report.broken
        }
        if len(kept) < len(parts):
            update[section] = kept
    return recipe.model_copy(update=update) if update else recipe


def _position(problem: Problem) -> tuple[str, int, int, str]:
    span = problem.span
    return (
        (span.file or "", span.line, span.column, problem.code)
        if span
        else ("", 0, 0, problem.code)
    )
