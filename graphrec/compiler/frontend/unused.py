"""What a recipe declares and nothing uses: an error each, since it is most often a slip.

Use is judged by names, not by what was built, so that one mistake does not hide another: a
misspelt reference counts as a use of the nearest name, and every word of a part that could not be
read counts as a use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from graphrec.compiler.frontend.context import Context
from graphrec.compiler.frontend.feature_columns import Features
from graphrec.ground.errors import nearest
from graphrec.recipe.model import (
    Composite,
    CrossFeature,
    FeatureGroup,
    NodeSpec,
    PairedGroup,
    SequenceFeature,
)

__all__ = ["report_unused"]

Reads = Callable[[object], Iterable[str]]


def report_unused(context: Context, features: Features, reads: Reads) -> None:
    """Report dead nodes (GR403) and unused features, groups and composites (GR405).

    Of a chain of dead nodes only the last is told, and what dead nodes read counts as used.
    """
    if "extends" in context.broken:
        return
    words = _unreadable_words(context)
    for name in _unused_composites(context, words):
        _report(context, "GR405", f"blocks.{name}", "is used by no node", "remove it, or use it")
    live = _live(context, features, reads, words)
    dead = [name for name in context.recipe.graph if name not in live]
    read = {source for name in dead for source in reads(context.recipe.graph[name])}
    last = [name for name in dead if name not in read and not _reported(context, f"graph.{name}")]
    if _is_open(context, features, reads):
        if not last:
            return  # a group or a feature may be what was meant
    else:
        for name in last:
            help = "remove it, set `enabled: false`, or let a node or task read it"
            _report(context, "GR403", f"graph.{name}", "reaches no task, loss or export", help)
    if any(p.code == "GR303" for p in context.problems):
        return  # a feature was named where a group is meant: which features were meant is open
    if not context.recipe.graph and any(p.code == "GR301" for p in context.problems):
        return  # without a graph nothing is read: one finding, not one for every feature
    live |= _reached(context, features, reads, dead)
    used = _used_features(context, features, live) | words
    for name in context.recipe.groups:
        if name not in live and not _reported(context, f"groups.{name}"):
            _report(
                context, "GR405", f"groups.{name}", "is read by no node", "remove it, or read it"
            )
    for name in features.features:
        if name not in used and not _reported(context, f"features.{name}"):
            message = "is in no group, sequence or cross that a node reads"
            _report(context, "GR405", f"features.{name}", message, "remove it, or read it")


def _is_open(context: Context, features: Features, reads: Reads) -> bool:
    """Whether some part has lost what it reads: then any node may have been meant."""
    recipe = context.recipe
    names = {*recipe.graph, *features.group_names}
    for name, task in recipe.tasks.items():
        sources = [task.inputs, *reads(task.logit or ""), *reads(task.prob or "")]
        if not any(sources) and _reported(context, f"tasks.{name}"):
            return True
    for path in context.broken:
        section = path.partition(".")[0]
        if section in ("graph", "tasks") and not _words_of(context, path) & names:
            return True
    return any(
        isinstance(spec, NodeSpec) and spec.inputs is None and _reported(context, f"graph.{name}")
        for name, spec in recipe.graph.items()
    )


def _report(context: Context, code: str, path: str, message: str, help: str) -> None:
    context.report(code, path, f"{path} {message}", help, span=context.key(path))


def _reported(context: Context, path: str) -> bool:
    return any(p.path == path or p.path.startswith(f"{path}.") for p in context.problems)


def _unreadable_words(context: Context) -> set[str]:
    """Every word written in parts that an earlier stage could not read."""
    return {word for path in context.broken for word in _words_of(context, path)}


def _words_of(context: Context, path: str) -> set[str]:
    """The words on the lines of a part, from its first line to the last of what is inside."""
    origin = context.recipe.origin
    span = origin.values.get(path) if origin else None
    if origin is None or span is None or span.file is None:
        return set()
    inside = [
        max(at.end_line, at.line)
        for key, at in origin.values.items()
        if (key == path or key.startswith(f"{path}.")) and at.file == span.file
    ]
    lines = origin.sources.get(span.file, "").splitlines()
    text = "\n".join(lines[span.line - 1 : max(inside)])
    return set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text))


def _live(context: Context, features: Features, reads: Reads, words: set[str]) -> set[str]:
    """Names of nodes and groups that tasks, losses and exports depend on."""
    recipe = context.recipe
    groups = set(features.group_names)
    waiting = [*recipe.export.nodes, *(w for w in words if w in recipe.graph or w in groups)]
    for task in recipe.tasks.values():
        waiting.extend([(task.inputs or "").partition(".")[0], *reads(task.logit or "")])
    if recipe.retrieval is not None:
        ends = (recipe.retrieval.query, recipe.retrieval.item)
        waiting.extend(text.partition(".")[0] for text in ends)
        # what is seen may be read by nothing else
        waiting.extend(name for name in recipe.retrieval.seen if name in recipe.features)
    for term in recipe.losses.values():
        # `light.logit` is of a task, unless a node has the name.
        names = list(reads(term.node))
        waiting.extend(name for name in names if name not in recipe.tasks or name in recipe.graph)
    waiting.extend(name for name, spec in recipe.graph.items() if _adds_loss(context, spec))
    return _reached(context, features, reads, waiting)


def _reached(context: Context, features: Features, reads: Reads, start: Iterable[str]) -> set[str]:
    """Names of nodes and groups that these depend on, themselves included."""
    recipe, groups = context.recipe, set(features.group_names)
    known = sorted({*recipe.graph, *groups})
    live: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in recipe.graph and name not in groups:
            name = nearest(name, known) or name
        if name and name not in live:
            live.add(name)
            waiting.extend(reads(recipe.graph[name]) if name in recipe.graph else ())
            waiting.extend(_members(context, name))
    return live


def _adds_loss(context: Context, spec: NodeSpec | str) -> bool:
    """Whether a node is a loss block, or a composite with one inside."""
    waiting = [spec.block] if isinstance(spec, NodeSpec) else []
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        block = context.recipe.blocks.get(name) or context.library.get(name)
        if isinstance(block, Composite) and name not in seen:
            parts = [body.get("block") for body in block.graph.values() if isinstance(body, dict)]
            waiting.extend(part for part in parts if isinstance(part, str))
        elif isinstance(block, type) and block.is_loss:
            return True
        seen.add(name)
    return False


def _members(context: Context, name: str) -> list[str]:
    group = context.recipe.groups.get(name)
    if isinstance(group, FeatureGroup):
        return list(group.of)
    return [group.keys] if isinstance(group, PairedGroup) else []


def _used_features(context: Context, features: Features, live: set[str]) -> set[str]:
    used: set[str] = set()
    for name, feature in features.features.items():
        is_plain = feature.type != "sequence"
        if name in live or (is_plain and ("all" in live or feature.group in live)):
            used.add(name)
    for name in live:
        group = context.recipe.groups.get(name)
        if isinstance(group, FeatureGroup):
            used.update(nearest(part, features.features) or part for part in group.of)
        elif isinstance(group, PairedGroup):
            used.update([*group.query, nearest(group.keys, features.sequences) or group.keys])
    for name in list(used):
        feature_ = features.features.get(name)
        if isinstance(feature_, (SequenceFeature, CrossFeature)):
            used.update(nearest(part, features.features) or part for part in feature_.of)
    return used


def _unused_composites(context: Context, words: set[str]) -> list[str]:
    blocks = context.recipe.blocks
    specs = [spec for spec in context.recipe.graph.values() if isinstance(spec, NodeSpec)]
    waiting = [_meant(context, spec.block) for spec in specs] + list(words)
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in used or name not in blocks:
            continue
        used.add(name)
        for body in blocks[name].graph.values():
            block = body.get("block") if isinstance(body, dict) else None
            waiting.append(_meant(context, block) if isinstance(block, str) else "")
    return [name for name in blocks if name not in used]


def _meant(context: Context, block: str) -> str:
    """The composite that a node means: also where its name is misspelt, which is told elsewhere."""
    if block in context.recipe.blocks or block in context.library:
        return block
    return nearest(block, context.recipe.blocks) or ""
