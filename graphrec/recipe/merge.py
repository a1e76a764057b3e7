"""A child recipe over its parent: maps merge, lists replace, `key+` appends, null deletes."""

from __future__ import annotations

import re
from collections.abc import Callable

from graphrec.ground.errors import Problem, suggestion
from graphrec.recipe.tree import INVALID, Tree, shown

__all__ = ["is_patch", "merge", "orphaned", "root_layer"]

Report = Callable[[Problem], None]

# One of several names with its settings: another name replaces, it does not join.
_CHOICE = re.compile(r"tasks\.[^.]+\.loss|train\.optim\.(dense|sparse)|train\.(table_)?schedule")
_FILES = ("train", "eval", "split", "format")


def merge(base: Tree, child: Tree, report: Report, path: str = "") -> Tree:
    """The map `child` laid over the map `base`; conflicts are reported, both stay unchanged."""
    merged: dict[str, Tree] = dict(base.value)
    if path == "data":
        _replace_source(merged, child)
    for key, value in child.value.items():
        inner = f"{path}.{key}" if path else key
        if _is_append(key):
            _append(merged, child, key, value, report, inner)
        elif value.value is None and not _is_free(inner):
            if key not in merged:
                help = suggestion(key, merged)
                report(
                    Problem(
                        "GR208", f"null deletes, but there is no `{key}`", value.key, inner, help
                    )
                )
            merged.pop(key, None)
        elif key in merged and _join(merged[key], value, inner):
            merged[key] = merge(merged[key], value, report, inner)
        elif inner == "features" and is_patch(value) and _is_list(merged.get(key)):
            merged[key] = merged[key].holding([*merged[key].value, *value.value])
        else:
            merged[key] = root_layer(value, report, inner)
    return base.holding(merged)


def orphaned(tree: Tree) -> Tree:
    """A recipe whose parent can't be read, as if it stood alone: nothing is missed below it."""
    kept: dict[str, Tree] = {}
    for key, value in tree.value.items():
        if _is_append(key) and isinstance(value.value, list):
            rest = value.holding(INVALID)
            kept[key[:-1].rstrip()] = value.holding([*value.value, rest])
        elif isinstance(value.value, dict) and not _is_free(key):
            kept[key] = orphaned(value)
        elif value.value is not None:
            kept[key] = value
    return tree.holding(kept)


def root_layer(tree: Tree, report: Report, path: str = "") -> Tree:
    """A value with nothing below it: `key+` and null have no meaning in it."""
    if isinstance(tree.value, list):
        return tree.holding(
            [root_layer(v, report, f"{path}.{i}") for i, v in enumerate(tree.value)]
        )
    if not isinstance(tree.value, dict):
        return tree
    kept = {}
    for key, value in tree.value.items():
        inner = f"{path}.{key}" if path else key
        if _is_append(key):
            name = key[:-1].rstrip()
            what = f"`{key}` has nothing to append to"
            report(
                Problem(
                    "GR208",
                    what,
                    value.key,
                    inner,
                    f"write `{name}:`, or extend a recipe that has it",
                )
            )
            if name not in tree.value:
                kept[name] = value.holding(INVALID)
        elif value.value is None and not _is_free(inner):
            help = "write a value, {} or [], or leave the key out"
            help = "is a colon missing?" if " " in key else help
            name, colon, rest = key.partition(":")
            if colon and name:  # `block:mlp`: meant is the key before the colon
                help = f"a space is missing behind the colon:  {name}: {rest}"
            report(Problem("GR208", f"`{key}` has no value", value.key, inner, help))
            kept[name if name else key] = value.holding(INVALID)
        else:
            kept[key] = root_layer(value, report, inner)
    return tree.holding(kept)


def is_patch(tree: Tree) -> bool:
    """Whether a `features:` list only changes declared features (families without a type)."""
    families = tree.value
    return (
        isinstance(families, list)
        and bool(families)
        and all(
            isinstance(family.value, dict) and "type" not in family.value for family in families
        )
    )


def _is_list(tree: Tree | None) -> bool:
    return tree is not None and isinstance(tree.value, list)


def _is_append(key: str) -> bool:
    return key.endswith("+")


def _is_free(path: str) -> bool:
    """Inside `meta` anything may stand."""
    return path == "meta" or path.startswith("meta.")


def _join(base: Tree, child: Tree, path: str) -> bool:
    """Whether two values of one key merge key by key."""
    if not isinstance(base.value, dict) or not isinstance(child.value, dict):
        return False
    return not _CHOICE.fullmatch(path) or set(child.value) <= set(base.value)


def _append(
    merged: dict[str, Tree], child: Tree, key: str, value: Tree, report: Report, path: str
) -> None:
    name = key[:-1].rstrip()
    if value.value is INVALID:
        merged[name] = value
    elif name in child.value:
        what = f"`{name}` and `{key}` in one place"
        report(Problem("GR205", what, value.key, path, "say it once"))
    elif name not in merged:
        known = suggestion(name, merged)
        report(Problem("GR208", f"`{key}` has nothing to append to", value.key, path, known))
    elif not isinstance(value.value, list):
        report(
            Problem(
                "GR202", f"expected a list to append, got {shown(value.value)}", value.span, path
            )
        )
    elif isinstance(merged[name].value, list):
        added = root_layer(value, report, path).value
        merged[name] = merged[name].holding([*merged[name].value, *added])
    elif merged[name].value is not INVALID:
        what = f"`{key}` appends to a list, but `{name}` is {shown(merged[name].value)}"
        report(Problem("GR208", what, value.key, path))


def _replace_source(merged: dict[str, Tree], child: Tree) -> None:
    """Files take the place of synthetic rows, and the other way round."""
    if "synthetic" in child.value and child.value["synthetic"].value is not None:
        for name in _FILES:
            merged.pop(name, None)
    elif "train" in child.value:
        merged.pop("synthetic", None)
