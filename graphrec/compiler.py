"""The whole road of a recipe, from text to module: the file to open first.

text --recipe--> Recipe --build--> Graph --passes--> Graph --lower--> Source --load--> nn.Module
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graphrec import passes
from graphrec.build import build
from graphrec.build.sizes import check_memory
from graphrec.build.wishes import check_wishes
from graphrec.errors import Problem, RecipeError
from graphrec.graph import Graph
from graphrec.library import BUILTIN, Library
from graphrec.lower import Source, lower
from graphrec.recipe import Reading, parse, recipe_hash
from graphrec.recipe.model import Recipe
from graphrec.recipe.overrides import retold
from graphrec.target import KernelWishes, Target
from graphrec.tasks import check_tasks
from graphrec.version import __version__

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Checked", "Compiled", "check_recipe", "compile_recipe"]


@dataclass(frozen=True)
class Checked:
    """What checking gives: recipe and graph as far as they can be had, and all findings."""

    reading: Reading
    graph: Graph | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "error")


@dataclass(frozen=True)
class Compiled:
    """A compiled recipe: its graph, its source, and warnings."""

    recipe: Recipe
    graph: Graph
    source: Source
    problems: tuple[Problem, ...] = ()

    def module(self, rows: Mapping[str, int] | None = None, path: Path | None = None) -> nn.Module:
        """A new module; `rows`: sizes of tables fitted to data, `path`: where its file goes."""
        from graphrec.module import load, rows_needed

        return load(self.source, path)(*rows_needed(self.source, rows))


def compile_recipe(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    library: Library = BUILTIN,
    target: Target | None = None,
    trace: passes.Trace | None = None,
    allow_root: str | Path | None = None,
    max_memory: int | None = None,
) -> Compiled:
    """Compile a recipe; RecipeError with every problem found when that can't be done.

    `max_memory` are the bytes that training may need; without it only absurd sizes are refused.
    """
    checked = check_recipe(
        path,
        overrides=overrides,
        library=library,
        target=target,
        trace=trace,
        allow_root=allow_root,
        max_memory=max_memory,
    )
    recipe, graph = checked.reading.recipe, checked.graph
    if checked.errors or recipe is None or graph is None:
        raise RecipeError(checked.problems)
    source = lower(graph, recipe_hash=recipe_hash(recipe), version=__version__)
    return Compiled(recipe, graph, source, checked.problems)


def check_recipe(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    library: Library = BUILTIN,
    target: Target | None = None,
    trace: passes.Trace | None = None,
    allow_root: str | Path | None = None,
    max_memory: int | None = None,
) -> Checked:
    """Everything but the code: all findings of all stages at once."""
    reading = parse(path, overrides, allow_root=allow_root)
    recipe, problems = reading.recipe, list(reading.problems)
    if recipe is None:
        return Checked(reading, None, tuple(problems))
    built = build(recipe, library, reading.broken)
    graph = built.graph
    found = [*check_tasks(recipe, reading.broken), *built.problems]
    found += check_wishes(recipe, library, graph, reading.broken)
    if graph is not None:
        graph = passes.run(graph, target or _target(recipe), trace)
        found += check_memory(graph, recipe, max_memory)
        unknown = any(p.code == "GR604" for p in found)
        found += [p for p in _kernel_findings(recipe, graph) if not unknown]
    problems += [retold(problem, overrides) for problem in found]
    return Checked(reading, graph, tuple(problems))


def _target(recipe: Recipe) -> Target:
    spans = recipe.origin.values if recipe.origin else {}
    said = (path for path, span in spans.items() if span.file is None)
    wishes = KernelWishes(
        default=recipe.kernels.default,
        by_block=recipe.kernels.by_block,
        by_node=recipe.kernels.by_node,
        strict=recipe.kernels.policy == "strict",
        overridden=frozenset(path for path in said if path.startswith(("graph.", "kernels."))),
    )
    return Target.here(precision=recipe.train.precision, wishes=wishes)


def _kernel_findings(recipe: Recipe, graph: Graph) -> list[Problem]:
    """A warning (`strict`: an error) for every kernel that was asked for and can't be chosen."""
    strict = recipe.kernels.policy == "strict"
    found: dict[tuple[str, str], Problem] = {}
    for node in graph.nodes:
        choice = node.kernel
        if choice is None or choice.asked in ("auto", "torch", choice.chosen):
            continue
        # copies of one node say it once
        code, severity = ("GR601", "error") if strict else ("GR602", "warn")
        message = f"{node.origin}: {choice.asked} can't run here ({choice.why}) -> {choice.chosen}"
        help_text = "kernels.policy is strict; `fallback` runs torch instead" if strict else ""
        path = f"graph.{node.origin}"
        found[node.origin, message] = Problem(code, message, node.span, path, help_text, severity)
    return list(found.values())
