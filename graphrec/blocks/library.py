"""Which blocks, losses, metrics and activations there are: built-in ones, shipped, and plugins'.

A `Library` is a value: adding blocks gives another one, nothing is registered anywhere. A recipe
never names a module; plugins come from Python, from `--plugin`, or from installed packages that
have an entry point in the group `graphrec.blocks` (a module, or one Block class).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from graphrec.blocks import PRIMITIVES
from graphrec.blocks.base import Block
from graphrec.ground.activation_table import ACTIVATIONS, Activation
from graphrec.ground.errors import Problem, RecipeError
from graphrec.recipe.loss_table import Loss
from graphrec.recipe.measures import Measures
from graphrec.recipe.metric_table import Metric
from graphrec.recipe.model import Composite

__all__ = ["BUILTIN", "ENTRY_POINTS", "Library", "Part", "load_library", "load_part", "shipped"]

Part = type[Block] | type[Loss] | type[Metric]
"""The classes that a plugin may define."""

ENTRY_POINTS = "graphrec.blocks"
"""Group of the entry points by which installed packages offer blocks."""


def shipped(kind: Literal["blocks", "recipes", "schemas"]) -> Path:
    """The folder of YAML or JSON files that come with graphrec: in a checkout, or in the wheel."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_shipped" / kind
    return installed if installed.is_dir() else package.parent / kind


@cache
def _shipped_composite(name: str) -> Composite:
    """A composite of the shipped folder; it can't change while the program runs."""
    from graphrec.recipe.composite_file import read_composite

    return read_composite(shipped("blocks") / f"{name}.yaml")


@cache
def _shipped_names() -> frozenset[str]:
    folder = shipped("blocks")
    return (
        frozenset(path.stem for path in folder.glob("*.yaml")) if folder.is_dir() else frozenset()
    )


@dataclass(frozen=True)
class Library:
    """What block names mean.

    >>> sorted(set(BUILTIN.names) & {"mlp", "target_attention"})
    ['mlp', 'target_attention']
    """

    primitives: Mapping[str, type[Block]]
    composites: Mapping[str, Composite] = field(default_factory=dict)
    with_shipped: bool = True
    measures: Measures = field(default_factory=Measures)
    """What names of losses and metrics mean."""
    activations: Mapping[str, Activation] = field(default_factory=lambda: ACTIVATIONS)
    """What names of activations mean."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all blocks, in the order of the alphabet."""
        shipped_too = _shipped_names() if self.with_shipped else frozenset()
        return tuple(sorted({*self.primitives, *self.composites, *shipped_too}))

    def get(self, name: str) -> type[Block] | Composite | None:
        """The block of that name, if any; a shipped composite is read when first asked for."""
        entry = self.primitives.get(name) or self.composites.get(name)
        if entry is None and self.with_shipped and name in _shipped_names():
            return _shipped_composite(name)
        return entry

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def with_blocks(self, *blocks: type[Block] | Composite) -> Library:
        """This library and these blocks; a ValueError if a name is taken by another block."""
        primitives, composites = dict(self.primitives), dict(self.composites)
        for block in blocks:
            name = block.block if isinstance(block, Composite) else block.block_name
            taken = primitives.get(name) or composites.get(name) or (name in self or None)
            if taken is not None and taken is not block:
                raise ValueError(f"there already is a block `{name}`: give yours another name")
            if isinstance(block, Composite):
                composites[name] = block
            else:
                primitives[name] = block
        return replace(self, primitives=primitives, composites=composites)

    def with_measures(self, *added: type[Loss] | type[Metric]) -> Library:
        """This library and these losses and metrics; a ValueError if a name is taken."""
        return replace(self, measures=self.measures.with_measures(*added))

    def with_activations(self, **added: Activation) -> Library:
        """This library and these activations; a ValueError if a name is taken by another one."""
        for name, row in added.items():
            if self.activations.get(name, row) != row:
                raise ValueError(
                    f"there already is an activation `{name}`: give yours another name"
                )
        return replace(self, activations={**self.activations, **added})

    def with_plugin(self, module: str) -> Library:
        """This library and the blocks, losses, metrics and activations a Python module defines.

        The working directory is searched. Raises RecipeError when the module can't be imported, or
        what it defines can't be used.
        """
        _search_here()
        return self._with_module(module, f"--plugin {module}")

    def with_installed(self) -> Library:
        """This library and the blocks of installed packages (entry points `graphrec.blocks`)."""
        from importlib.metadata import entry_points

        library = self
        for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
            if point.attr:
                library = library._with_class(point.module, point.attr, f"entry point {point.name}")
            else:
                library = library._with_module(point.module, f"entry point {point.name}")
        return library

    def _with_module(self, name: str, plugin: str) -> Library:
        module = _import(name, plugin)
        parts, activations = _parts_of(module), _activations_of(module)
        if not parts and not activations:
            what = "defines no Block with `kernels`, no Loss, no Metric and no Activation"
            raise _fault(plugin, f"module `{name}` {what}")
        return self._added(parts, plugin, activations)

    def _with_class(self, module: str, name: str, plugin: str) -> Library:
        part = _part(module, name, plugin)
        if isinstance(part, Activation):
            return self._added([], plugin, {name.lower(): part})
        return self._added([part], plugin, {})

    def _added(
        self, classes: Sequence[Part], plugin: str, activations: Mapping[str, Activation]
    ) -> Library:
        try:
            library = self.with_activations(**activations)
            library = library.with_blocks(*(part for part in classes if issubclass(part, Block)))
            return library.with_measures(*(p for p in classes if issubclass(p, Loss | Metric)))
        except ValueError as error:
            raise _fault(plugin, str(error)) from error


def load_library(plugins: Iterable[str] = ()) -> Library:
    """The built-in blocks, those of installed packages, and those of these plugin modules."""
    library = BUILTIN.with_installed()
    for module in plugins:
        library = library.with_plugin(module)
    return library


def load_part(path: str) -> Part | Activation:
    """The Block, Loss or Metric that `module:Class` names, or an Activation `module:CONSTANT`.

    The working directory is searched.

    Raises RecipeError when there is none.
    """
    _search_here()
    module, _, name = path.partition(":")
    return _part(module, name, path)


def _search_here() -> None:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()


def _part(module: str, name: str, plugin: str) -> Part | Activation:
    value: Any = _import(module, plugin)
    for part in name.split("."):
        value = getattr(value, part, None)
    if isinstance(value, Activation):
        return replace(value, path=f"{module}:{name}")
    if not (isinstance(value, type) and issubclass(value, Block | Loss | Metric)):
        raise _fault(
            plugin, f"`{module}:{name}` is no Block, Loss or Metric class, and no Activation"
        )
    return value


def _import(name: str, plugin: str) -> ModuleType:
    # A plugin is somebody's program: whatever it raises is told as its fault, not as ours.
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _fault(plugin, f"can't be imported: {type(error).__name__}: {error}") from error


def _activations_of(module: ModuleType) -> dict[str, Activation]:
    """The constants of a module that are rows of activations, by their names in recipes."""
    return {
        name.lower(): replace(value, path=f"{module.__name__}:{name}")
        for name, value in sorted(vars(module).items())
        if isinstance(value, Activation) and not name.startswith("_")
    }


def _parts_of(module: ModuleType) -> list[Part]:
    """What a module defines itself; names with an underscore are its own business."""
    parts = [
        value
        for name, value in sorted(vars(module).items())
        if isinstance(value, type)
        and issubclass(value, Block | Loss | Metric)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and _is_computed(value)
    ]
    return list(dict.fromkeys(parts))


def _is_computed(part: type) -> bool:
    """Whether a class says what computes it; others are bases of those that do."""
    return any(getattr(part, word, None) for word in ("kernels", "rows", "computes"))


def _fault(plugin: str, message: str) -> RecipeError:
    return RecipeError([Problem("GR305", message, path=plugin)])


BUILTIN = Library({block.block_name: block for block in PRIMITIVES})
"""The blocks that come with graphrec."""
