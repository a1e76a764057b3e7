"""The whole road of a recipe, from text to module: the file to open first.

text --recipe--> Recipe --build--> Graph --passes--> Graph --lower--> Source --load--> nn.Module
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from graphrec.blocks.library import BUILTIN, Library
from graphrec.compiler import passes
from graphrec.compiler.codegen import Source, lower
from graphrec.compiler.frontend import build
from graphrec.compiler.kernel_lock import Entry, Lock, lock_path, read_lock
from graphrec.compiler.memory import check_memory
from graphrec.compiler.requests import check_requests
from graphrec.compiler.target import KernelRequests, Measured, Purpose, Target
from graphrec.graph import Graph
from graphrec.ground.errors import Problem, RecipeError
from graphrec.ground.version import __version__
from graphrec.recipe import Reading, parse, recipe_hash
from graphrec.recipe.model import Recipe, SequenceFeature
from graphrec.recipe.overrides import retold
from graphrec.recipe.tasks import check_tasks
from graphrec.recipe.training import Device

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Checked", "Compiled", "check_recipe", "compile_recipe", "device_of", "recipe_target"]


@dataclass(frozen=True)
class Checked:
    """What checking gives: recipe and graph as far as they can be had, and all findings."""

    reading: Reading
    graph: Graph | None
    problems: tuple[Problem, ...]
    device: str = "cpu"
    lock: Path | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity == "error")

    def compiled(self) -> Compiled:
        """The graph written as code; RecipeError with all findings where one is an error."""
        recipe, graph = self.reading.recipe, self.graph
        if self.errors or recipe is None or graph is None:
            raise RecipeError(self.problems)
        source = lower(graph, recipe_hash=recipe_hash(recipe), version=__version__)
        return Compiled(recipe, graph, source, self.problems, self.lock, self.device)


@dataclass(frozen=True)
class Compiled:
    """A compiled recipe: its graph, its source, warnings, and the measurements that were read.

    `device` is the kind of device that kernels were chosen for, and where it is trained.
    """

    recipe: Recipe
    graph: Graph
    source: Source
    problems: tuple[Problem, ...] = ()
    lock: Path | None = None
    device: str = "cpu"

    def module(self, rows: Mapping[str, int] | None = None, path: Path | None = None) -> nn.Module:
        """A new module; `rows`: sizes of tables fitted to data, `path`: where its file goes."""
        from graphrec.compiler.loader import load, rows_needed

        module = load(self.source, path)(*rows_needed(self.source, rows))
        for store, choice in self.graph.table_kernels.items():
            # The source names the same kernel on any machine; this one may have to do without.
            if choice.local and choice.layer not in ("auto", choice.chosen):
                getattr(module, store).kernel = choice.chosen
        return module


def compile_recipe(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    library: Library = BUILTIN,
    target: Target | None = None,
    trace: passes.Trace | None = None,
    allow_root: str | Path | None = None,
    allow_env: Sequence[str] = (),
    max_memory: int | None = None,
    purpose: Purpose = "train",
    device: Device | None = None,
    extra_passes: Sequence[passes.Pass] = (),
) -> Compiled:
    """Compile a recipe; RecipeError with every problem found when that can't be done.

    Kernels are chosen for `device` (default: the recipe's `train.device`; where that is `auto`, the
    CPU, so that the text depends on no machine). The device need not be here to compile for it.

    With `purpose` "inference" the module of a recipe whose features say their `side` also has
    `score(request, candidates)`; a `target` has a purpose and a device of its own.
    `max_memory` are the bytes that training may need; without it only absurd sizes are refused.
    `extra_passes` are functions (graph, target) -> graph of your own; they run before all others.
    """
    return check_recipe(
        path,
        overrides=overrides,
        library=library,
        target=target,
        trace=trace,
        allow_root=allow_root,
        allow_env=allow_env,
        max_memory=max_memory,
        purpose=purpose,
        device=device,
        extra_passes=extra_passes,
    ).compiled()


def check_recipe(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    library: Library = BUILTIN,
    target: Target | None = None,
    trace: passes.Trace | None = None,
    allow_root: str | Path | None = None,
    allow_env: Sequence[str] = (),
    max_memory: int | None = None,
    purpose: Purpose = "train",
    device: Device | None = None,
    extra_passes: Sequence[passes.Pass] = (),
) -> Checked:
    """Everything but the code: all findings of all stages at once."""
    reading = parse(path, overrides, allow_root, allow_env)
    recipe, problems = reading.recipe, list(reading.problems)
    if recipe is None:
        return Checked(reading, None, tuple(problems))
    recipe = recipe.with_measures(library.measures)
    reading = replace(reading, recipe=recipe)
    built = build(recipe, library, reading.broken)
    graph, lock = built.graph, None
    findings = [*check_tasks(recipe, reading.broken), *built.problems]
    findings += check_requests(recipe, library, graph, reading.broken)
    if target is None:
        lock = _lock_of(path)
        measured, damage = (Lock(), []) if lock is None else read_lock(lock)
        target = recipe_target(recipe, device_of(recipe, device), measured.entries)
        target = replace(target, purpose=purpose)
        findings += damage if graph is not None else []
    if graph is not None:
        graph = passes.run(graph, target, trace, extra_passes)
        if target.purpose == "inference" and not (graph.outputs or graph.exports or graph.vectors):
            what = "nothing is left to compute: every task is for training alone, or there is none"
            help = "name the nodes to export:  export: {nodes: [user_tower]}"
            findings.append(Problem("GR409", what, path="export.nodes", help=help))
        findings += check_memory(graph, recipe, max_memory)
        unknown = any(p.code == "GR604" for p in findings)
        findings += [p for p in _kernel_findings(recipe, graph) if not unknown]
    problems += [retold(problem, overrides) for problem in findings]
    return Checked(reading, graph, tuple(problems), target.device, lock)


def recipe_target(
    recipe: Recipe, device: str = "cpu", entries: Mapping[str, Entry] | None = None
) -> Target:
    """What the recipe asks for, on a kind of device, with these measurements."""
    spans = recipe.origin.values if recipe.origin else {}
    overridden = (path for path, span in spans.items() if span.file is None)
    requests = KernelRequests(
        default=recipe.kernels.default,
        by_block=recipe.kernels.by_block,
        by_node=recipe.kernels.by_node,
        strict=recipe.kernels.policy == "strict",
        overridden=frozenset(
            path for path in overridden if path.startswith(("graph.", "kernels."))
        ),
    )
    sequences = {n: f for n, f in recipe.features.items() if isinstance(f, SequenceFeature)}
    sparse = recipe.train.optim.sparse
    measured = Measured(
        batch=recipe.train.batch,
        lengths={name: feature.max_len for name, feature in sequences.items()},
        update=sparse.name + (" with weight decay" if sparse.weight_decay else ""),
        entries=entries or {},
    )
    precision = recipe.train.precision
    return Target.here(device, precision, requests, measured=measured)


def device_of(recipe: Recipe, device: Device | None = None) -> Device:
    """The kind of device to compile for: the one asked for, the recipe's, else the CPU."""
    requested = device or recipe.train.device
    return "cpu" if requested == "auto" else requested


def _lock_of(path: str | Path) -> Path | None:
    """Where the recipe's measurements are, if they are; a text lies in no folder."""
    if isinstance(path, str) and "\n" in path:
        return None
    beside = lock_path(path)
    return beside if beside.exists() or beside.is_symlink() else None


def _kernel_findings(recipe: Recipe, graph: Graph) -> list[Problem]:
    """A warning (`strict`: an error) for every kernel that was asked for and can't be chosen."""
    strict = recipe.kernels.policy == "strict"
    code, severity = ("GR601", "error") if strict else ("GR602", "warn")
    help_text = "kernels.policy is strict; `fallback` runs torch instead" if strict else ""
    span = recipe.origin.key("kernels") if recipe.origin else None
    choices = [(n.origin, f"graph.{n.origin}", n.span, n.kernel) for n in graph.nodes]
    choices += [(name, "kernels", span, choice) for name, choice in graph.table_kernels.items()]
    problems_by_name: dict[tuple[str, str], Problem] = {}
    for name, path, place, choice in choices:
        if choice is None or choice.asked in ("auto", "torch", choice.chosen):
            continue
        # copies of one node say it once
        message = f"{name}: {choice.asked} can't run here ({choice.why}) -> {choice.chosen}"
        problems_by_name[name, message] = Problem(code, message, place, path, help_text, severity)
    return list(problems_by_name.values())
