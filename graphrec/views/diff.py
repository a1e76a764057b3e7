"""What differs between two recipes: features, tables, nodes, tasks, relations, settings.

Nodes and tables are compared as they are compiled, so that a changed width is told at every node it
reaches; the rest as the recipe says it in full.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphrec.blocks.base import Block
from graphrec.graph import Graph, Group, Node
from graphrec.ground.errors import printable
from graphrec.recipe.model import Recipe

__all__ = ["Change", "Difference", "compare"]

_LONG = 5  # a longer list is told by what came and went
_SIGNS = {"added": ("+", "\033[32m"), "removed": ("-", "\033[31m"), "changed": ("~", "\033[33m")}


@dataclass(frozen=True)
class Change:
    """One part that differs; `details` are (setting, before, after), "" where there is none."""

    kind: str
    name: str
    details: tuple[tuple[str, str, str], ...]

    def as_json(self) -> dict[str, Any]:
        if self.kind == "changed":
            settings = {path: {"from": old, "to": new} for path, old, new in self.details}
        else:
            settings = {path: {"is": old or new} for path, old, new in self.details}
        return {"name": self.name, "settings": settings}


@dataclass(frozen=True)
class Difference:
    """All changes between two recipes by section, in the order of the alphabet."""

    before: str
    after: str
    sections: Mapping[str, tuple[Change, ...]]

    def as_json(self) -> dict[str, Any]:
        """The difference as plain data; every section is there, also when nothing differs."""
        data: dict[str, Any] = {"before": self.before, "after": self.after}
        for section, changes in self.sections.items():
            data[section] = {
                kind: [change.as_json() for change in changes if change.kind == kind]
                for kind in _SIGNS
            }
        return data

    def as_text(self, *, color: bool = False) -> str:
        """The difference for people: + added, - removed, ~ changed."""
        lines = [printable(f"{self.before} -> {self.after}")]
        for section, changes in self.sections.items():
            if not changes:
                continue
            lines += ["", section]
            width = min(max(len(change.name) for change in changes), 28)
            for change in changes:
                sign, paint = _SIGNS[change.kind]
                start, end = (paint, "\033[0m") if color else ("", "")
                head = f"  {start}{sign} {change.name:<{width}}{end}"
                first, *rest = [printable(line) for line in told(change)] or [""]
                lines.append(f"{head}  {first}".rstrip())
                lines += [f"{'':{width + 4}}  {line}" for line in rest]
        if len(lines) == 1:
            lines.append("no difference")
        return "\n".join(lines) + "\n"

    def counts(self) -> str:
        """How much changed, in a line."""
        parts = []
        for section, changes in self.sections.items():
            kinds = [change.kind for change in changes]
            amounts = [f"{kinds.count(kind)} {kind}" for kind in _SIGNS if kind in kinds]
            if amounts:
                parts.append(f"{section}: {', '.join(amounts)}")
        return " · ".join(parts) or "no difference"


def told(change: Change) -> Iterator[str]:
    """The settings of a change as lines: all of a new or lost part in one, else one a setting."""
    if change.kind != "changed":
        told = [
            f"{path}: {old or new}" if path else old or new for path, old, new in change.details
        ]
        if told:
            yield "  ".join(told)
        return
    for path, old, new in change.details:
        start = f"{path}: " if path else ""
        if old and new:
            yield f"{start}{old} -> {new}"
        else:
            yield f"{start}{'removed ' + old if old else 'added ' + new}"


def compare(before: tuple[Recipe, Graph], after: tuple[Recipe, Graph]) -> Difference:
    """What was added, removed and changed from one compiled recipe to another.

    A node that says `was: old` is the same node as `old` before.
    """
    (recipe_a, graph_a), (recipe_b, graph_b) = before, after
    plain_a, plain_b = (
        r.model_dump(mode="json", by_alias=True, exclude={"origin"}) for r in (recipe_a, recipe_b)
    )
    renamed = {n.was: n.name for n in graph_b.nodes if n.was and n.was not in graph_b.by_name}
    nodes_a = {renamed.get(n.name, n.name): _node(n, renamed) for n in graph_a.nodes}
    nodes_b = {n.name: _node(n, {}) for n in graph_b.nodes}
    for old, new in renamed.items():
        if new in nodes_a:
            nodes_a[new]["name"], nodes_b[new]["name"] = old, new
    sections: dict[str, tuple[Change, ...]] = {
        "features": _changes(plain_a["features"], plain_b["features"]),
        "tables": _changes(_tables(graph_a), _tables(graph_b)),
        "nodes": _changes(nodes_a, nodes_b),
        "tasks": _changes(plain_a["tasks"], plain_b["tasks"]),
        "relations": _changes(_relations(plain_a), _relations(plain_b)),
    }
    for section in ("train", "data", "kernels", "export"):
        sections[section] = _settings(plain_a[section], plain_b[section])
    named = [{key: plain[key] for key in ("name", "description")} for plain in (plain_a, plain_b)]
    sections["recipe"] = _settings(*named)
    return Difference(recipe_a.name, recipe_b.name, sections)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    changes = []
    for name in sorted({*before, *after}):
        old, new = _flat(before.get(name, {})), _flat(after.get(name, {}))
        if name not in before:
            changes.append(Change("added", name, _all(new, after=True)))
        elif name not in after:
            changes.append(Change("removed", name, _all(old, after=False)))
        elif details := _differing(old, new):
            changes.append(Change("changed", name, details))
    return tuple(changes)


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Every differing setting as a change of its own; at its default it counts as not there."""
    old, new = _flat(before), _flat(after)
    return tuple(Change("changed", path, (("", a, b),)) for path, a, b in _differing(old, new))


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {
            inner: leaf
            for key, part in value.items()
            for inner, leaf in _flat(part, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: value}


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (path, *_pair(old.get(path), new.get(path)))
        for path in dict.fromkeys((*old, *new))
        if old.get(path) != new.get(path)
    )


def _pair(old: Any, new: Any) -> tuple[str, str]:
    if isinstance(old, list) and isinstance(new, list) and max(len(old), len(new)) > _LONG:
        gone = [item for item in old if item not in new]
        come = [item for item in new if item not in old]
        if gone or come:
            return _items(gone, "without"), _items(come, "with")
    return _text(old), _text(new)


def _items(items: Sequence[Any], word: str) -> str:
    return f"{word} {', '.join(map(_text, items))}" if items else ""


def _all(leaves: Mapping[str, Any], *, after: bool) -> tuple[tuple[str, str, str], ...]:
    """The settings of a part that the other recipe has not; what is off says nothing."""
    off: tuple[Any, ...] = (None, {}, [], "", "none", False, 0)
    texts = {path: _text(leaf) for path, leaf in leaves.items() if leaf not in off}
    return tuple(
        (path, "" if after else text, text if after else "") for path, text in texts.items()
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _node(node: Node, renamed: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {"block": node.label}
    if isinstance(node.op, Block):
        settings |= node.op.model_dump(mode="json")
    elif isinstance(node.op, Group):
        settings |= {"features": list(node.op.features), "query": list(node.op.query)}
        settings |= {"keys": list(node.op.keys), "regularize": dict(node.op.regularize)}
    else:
        settings["expression"] = node.op.text
    inputs: dict[str, list[str]] = {}
    for port, ref in node.refs():
        name = renamed.get(ref.node, ref.node)
        inputs.setdefault(port, []).append(f"{name}.{ref.port}" if ref.port else name)
    for port, refs in inputs.items():
        settings[f"in.{port}" if port else "in"] = ", ".join(refs)
    for port, shape in node.outputs.items():
        settings[f"output.{port}" if port else "output"] = str(shape)
    if node.kernel is not None and node.kernel.asked != "auto":
        settings["kernel"] = str(node.kernel)
    if node.shares:
        settings["shares"] = renamed.get(node.shares, node.shares)
    return settings


def _tables(graph: Graph) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for suffix, tables in (("", graph.tables), (" (first order)", graph.first_order_tables)):
        for table in tables:
            settings[table.name + suffix] = {
                "rows": "fit" if table.rows is None else table.rows,
                "dim": table.dim,
                "init": table.init,
                "dtype": table.dtype,
                "trainable": table.trainable,
            }
    return settings


def _relations(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{' + '.join(sorted(r['parents']))} -> {r['child']}": {
            key: value for key, value in r.items() if key not in ("parents", "child")
        }
        for r in plain["relations"]
    }
