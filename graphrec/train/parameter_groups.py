"""Settings of parameter groups: which node of a recipe's `train.groups` a parameter belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from graphrec.ground.errors import Problem, RecipeError, suggestion
from graphrec.recipe.training import ParameterGroup

__all__ = ["Settings", "node_of", "node_settings"]

TABLES = ("balance", "embeddings", "first_order")


@dataclass(frozen=True)
class Settings:
    """Learning rate and weight decay of a node; None where the run's own hold."""

    lr: float | None = None
    weight_decay: float | None = None


def node_of(parameter: str) -> str:
    """The node (as an identifier) a parameter's name belongs to.

    >>> node_of("_orig_mod.tower_ctr.layers.0.weight")
    'tower_ctr'
    """
    return parameter.removeprefix("_orig_mod.").partition(".")[0]


def node_settings(
    nodes: Iterable[str], groups: Mapping[str, ParameterGroup]
) -> dict[str, Settings]:
    """What `groups` says about each node; the glob with the most literal letters wins.

    Globs are over node names as recipes write them (`tower.*`). The tables and learned vectors of
    features are named `embeddings` and `first_order`, what a balance learns `balance`; they are
    meant only by globs that begin so.
    A glob that matches nothing is a RecipeError.
    """
    names = sorted(set(nodes))
    ranked = sorted(groups, key=lambda glob: (sum(c not in "*?[]" for c in glob), glob))
    settings = dict.fromkeys(names, Settings())
    problems = []
    for glob in ranked:
        group = groups[glob]
        matched = [name for name in names if _matches(name, glob)]
        for name in matched:
            own = settings[name]
            settings[name] = Settings(
                own.lr if group.lr is None else group.lr,
                own.weight_decay if group.weight_decay is None else group.weight_decay,
            )
        if not matched:
            problems.append(
                Problem(
                    "GR301",
                    f"`{glob}` matches no node with parameters",
                    path=f"train.groups.{glob}",
                    help=suggestion(glob, names),
                )
            )
    if problems:
        raise RecipeError(problems)
    return settings


def _matches(name: str, glob: str) -> bool:
    # Node names become identifiers: `tower.ctr` is the attribute `tower_ctr`.
    if name in TABLES and not glob.startswith(name):
        return False
    wanted = glob.replace(".", "_")
    # `tower` means its copies too (tower.ctr), and what belongs to it (a group's dropout).
    return fnmatchcase(name, wanted) or fnmatchcase(name, f"{wanted}_*")
