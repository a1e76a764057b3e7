"""A proposed recipe as text, as a person would write it, with a remark on what was left out."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from graphrec.ground.errors import DataError, Problem
from graphrec.importers.from_data.column_sides import with_sides
from graphrec.importers.from_data.label_columns import Label, labels_of
from graphrec.importers.from_data.leaks import leak
from graphrec.importers.from_data.profile import Profile, profile
from graphrec.importers.from_data.recipe_text import aligned, feature, free, node
from graphrec.importers.from_data.roles import Role, histories, role_of
from graphrec.importers.from_data.sample import Sample, evaluation_files, take
from graphrec.recipe.ranges import ranged
from graphrec.recipe.yaml_text import WIDTH, flow, remark, scalar

__all__ = ["propose"]

_ATTENDED = 2  # histories with attention of their own; the others are pooled
_ORDER = ("id", "pooled", "bucket", "dense")
_SIDES = ("user", "item", "")
_EPOCHS, _PATIENCE = 20, 2  # as many as it takes: two evaluations without gain end it
_RARE_WEIGHT = 3  # of a label that few rows have, beside others
_DRAWN = "split: {random: 0.1}"
_METRICS = {"binary": "auc", "regression": "mse", "multiclass": "accuracy"}


def propose(
    pattern: str,
    labels: Sequence[str],
    kinds: Mapping[str, str],
    *,
    name: str,
    folder: str,
    schema: str,
) -> str:
    """A recipe for the files of a glob, which trains at once.

    `kinds` are the kinds of tasks by label, where they are not to be guessed; `folder` is where
    the recipe will lie, `schema` the editor's schema seen from there. Raises DataError.
    """
    sample = take(pattern)
    columns = {c: profile(c, sample.table.column(c)) for c in sample.table.column_names}
    wanted = labels_of(labels, kinds, columns)
    inputs = [c for c in columns.values() if c.name not in labels]
    roles = histories([_role(column, wanted) for column in inputs], columns)
    roles = with_sides(roles, columns, sample.table)
    if not any(role.kind in _ORDER for role in roles):
        raise _useless(roles)
    evaluation = evaluation_files(pattern)
    split = None if evaluation is not None else _split(roles, columns)
    dim = 16 if len(sample.table) > 10_000 else 8
    body = _Text(roles, wanted, dim)
    lines = [
        f"# yaml-language-server: $schema={schema}",
        *remark(_origin(pattern, sample)),
        "graphrec: 1",
        f"name: {name}",
        *_data(sample, pattern, evaluation, split, folder),
        f"defaults: {{feature: {{dim: {dim}}}}}",
        *body.features(),
        *body.model(),
        *body.training(sample, evaluated=bool(evaluation or split)),
    ]
    return "\n".join(lines) + "\n"


def _useless(roles: Sequence[Role]) -> DataError:
    why = "; ".join(f"{role.name} {role.why}" for role in roles[:8])
    return DataError(Problem("GR704", "no column can be a feature", help=why))


def _role(column: Profile, labels: Sequence[Label]) -> Role:
    role = role_of(column)
    why = "" if role.kind == "out" else leak(column, labels)
    return Role(column.name, "out", why=why) if why else role


def _origin(pattern: str, sample: Sample) -> str:
    seen = f"{len(sample.table):,} rows"
    rows = (
        seen if sample.whole else f"{seen} of {sample.total:,}" if sample.total else f"{seen} seen"
    )
    return (
        f"Proposed by `graphrec new` from {os.path.basename(pattern)} ({rows}). Families are "
        "guesses from names and values: look through them."
    )


def _data(
    sample: Sample, pattern: str, evaluation: str | None, split: str | None, folder: str
) -> list[str]:
    def seen(path: str) -> str:
        return scalar(os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "/"))

    entries = [f"train: {seen(pattern)}"]
    entries += [f"eval: {seen(evaluation)}"] if evaluation is not None else []
    entries += [split] if split is not None else []
    entries += [f"sep: {scalar(sample.sep)}"] if sample.sep not in (",", "\t") else []
    lines = [f"data: {{{', '.join(entries)}}}"]
    if split == _DRAWN:
        lines += remark(
            "No evaluation rows were found: a tenth is drawn. Files of their own (`eval:`), or the "
            "newest rows, tell more of the rows to come."
        )
    return lines


def _split(roles: Sequence[Role], columns: Mapping[str, Profile]) -> str:
    """The newest tenth evaluates, by a time of few values (days, say), else a tenth drawn."""
    for role in roles:
        column = columns[role.name]
        if role.why.startswith("a time") and 5 <= column.distinct <= 2000:
            last = max(1, round(0.1 * column.distinct))
            return f"split: {{by: {scalar(role.name)}, eval: last({last})}}"
    return _DRAWN


class _Text:
    """Lines of the sections, from roles and labels whose names are settled here."""

    def __init__(self, roles: Sequence[Role], labels: Sequence[Label], dim: int) -> None:
        self.roles, self.labels, self.dim = roles, labels, dim
        taken: set[str] = set()
        self.names = {role.name: free(feature(role.name), taken) for role in roles}
        self.tasks = {label.column: free(node(label.column, "task"), taken) for label in labels}
        self.histories = sorted(
            (role for role in roles if role.kind == "history"), key=lambda role: role.name
        )
        self.sequences = {
            role.name: free(node(self.names[role.name], "history"), set())
            for role in self.histories
        }

    def features(self) -> list[str]:
        """Families of equal settings, histories, and a remark on each column left out."""
        lines = ["features:"]
        for side, kind in product(_SIDES, _ORDER):
            alike: dict[str, list[Role]] = {}
            for role in self.roles:
                if role.kind == kind and role.settings.get("side", "") == side:
                    alone = self.names[role.name] != role.name
                    key = repr((dict(role.settings), alone and role.name))
                    alike.setdefault(key, []).append(role)
            for members in alike.values():
                lines += self._family(members)
        for role in self.histories:
            base = self.names[role.of]
            rest = dict(role.settings)
            settings = {"type": "sequence"} | ({"side": rest.pop("side")} if "side" in rest else {})
            settings |= {
                "name": self.sequences[role.name],
                "of": [base],
                "column": role.name,
                **rest,
            }
            lines.append(f"  - {flow(settings)}" + "   # newest last")
        out = [role for role in self.roles if role.kind == "out"]
        if out:
            lines.append("# Left out:")
            for why in dict.fromkeys(role.why for role in out):
                names = ", ".join(ranged([role.name for role in out if role.why == why]))
                lines += remark(f"{names}: {why}", "  ")
        return lines

    def _family(self, members: Sequence[Role]) -> list[str]:
        first = members[0]
        kind = {"pooled": "id"}.get(first.kind, first.kind)
        settings = dict(first.settings)
        if kind == "dense" and settings.get("width", 1) == 1:
            settings["dim"] = self.dim  # so that fm can cross it
        names = ranged([self.names[role.name] for role in members])
        family: dict[str, Any] = {"type": kind, **settings}
        if self.names[first.name] != first.name:
            family["column"] = first.name
        head = f"  - {flow(family)[:-1]}, names: "
        listed = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
        return textwrap.wrap(
            f"{listed}}}", WIDTH, initial_indent=head, subsequent_indent=" " * 6,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    def model(self) -> list[str]:
        """Groups, graph and tasks: DeepFM for one task, experts for several, DIN for histories."""
        groups, graph, extra = [], [], []
        attended = sorted(self.histories, key=lambda r: -r.settings["max_len"])[:_ATTENDED]
        for role in self.histories:
            name, base = self.sequences[role.name], self.names[role.of]
            if role in attended:
                pair = f"{name}_pair"
                groups.append((pair, f"{{query: [{base}], keys: {name}}}"))
                graph.append((f"{name}_interest", f"{{block: din, in: {pair}, hidden: [64]}}"))
                extra.append(f"{name}_interest")
            else:
                graph.append((f"{name}_mean", f"{{block: pooling, in: {name}}}"))
                extra.append(f"{name}_mean")
        inputs = f"[{', '.join(['all', *extra])}]" if extra else "all"
        graph += self._towers(inputs)
        last = "tower" if len(self.tasks) > 1 else "final"
        tasks = [
            (task, self._task(label, last))
            for label, task in zip(self.labels, self.tasks.values(), strict=True)
        ]
        lines = ["groups:", *aligned(groups)] if groups else []
        return [*lines, "graph:", *aligned(graph), "tasks:", *aligned(tasks)]

    def _towers(self, inputs: str) -> list[tuple[str, str]]:
        if len(self.tasks) > 1:
            experts = f"{{block: mmoe, in: {inputs}, gates: tasks, experts: 4, hidden: [128, 64]}}"
            tower = "{block: mlp, in: experts, each: tasks, hidden: [32]}"
            return [("experts", experts), ("tower", tower)]
        deep = ("deep", f"{{block: mlp, in: {inputs}, hidden: [128, 64], dropout: 0.2}}")
        crossed = [r for r in self.roles if r.kind in _ORDER and r.settings.get("width", 1) == 1]
        if len(crossed) < 2 or len(crossed) < sum(r.kind in _ORDER for r in self.roles):
            return [deep, ("final", "{block: mlp, in: deep, hidden: [32]}")]
        final = "{block: mlp, in: [all.linear, fm, deep], hidden: [32]}"
        return [("fm", "{block: fm, in: all.fields}"), deep, ("final", final)]

    def _task(self, label: Label, node: str) -> str:
        column = scalar(label.column)
        target = f"{{column: {column}, transform: log1p}}" if label.log else column
        kind = "" if label.kind == "binary" else f", kind: {label.kind}"
        classes = f", classes: {label.classes}" if label.classes else ""
        rare = len(self.labels) > 1 and label.is_rare
        weight = f", weight: {_RARE_WEIGHT}" if rare else ""
        return f"{{label: {target}, in: {node}{kind}{classes}{weight}}}"

    def training(self, sample: Sample, *, evaluated: bool) -> list[str]:
        """Epochs and batch for the number of rows."""
        rows = sample.total or len(sample.table)
        batch = min(8192, max(64, 1 << max(rows // 100, 1).bit_length() - 1))
        metric = self._watched() if evaluated else ""
        # Nobody sees when tables overfit where nothing is watched: one epoch is safe.
        settings = [f"epochs: {_EPOCHS if metric else 1}", f"batch: {batch}", "lr: 1e-3"]
        if metric:
            settings += [f"save: {{best: {metric}}}"]
            settings += [f"early_stop: {{metric: {metric}, patience: {_PATIENCE}}}"]
        return [f"train: {{{', '.join(settings)}}}"]

    def _watched(self) -> str:
        """The metric that ends the training: of several tasks the mean of one that they share."""
        metrics = {_METRICS[label.kind] for label in self.labels}
        if len(self.labels) == 1:
            return f"{self.tasks[self.labels[0].column]}.{metrics.pop()}"
        binary = [label for label in self.labels if label.kind == "binary"]
        if len(metrics) == 1 or len(binary) > 1:
            return "auc" if binary else metrics.pop()
        label = binary[0] if binary else self.labels[0]
        return f"{self.tasks[label.column]}.{_METRICS[label.kind]}"
