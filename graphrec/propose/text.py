"""A proposed recipe as text, as a person would write it, with a remark on what was left out."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphrec.propose.labels import Label, labels_of, leak
from graphrec.propose.profile import Profile, profile
from graphrec.propose.roles import Role, histories, role_of
from graphrec.propose.sample import Sample, evaluation_files, take
from graphrec.recipe.names import feature_name, node_name
from graphrec.recipe.scalars import Refused, resolve

__all__ = ["propose"]

_WIDTH = 110
_ATTENDED = 2  # histories with attention of their own; the others are pooled
_ORDER = ("id", "pooled", "bucket", "dense")


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
    evaluation = evaluation_files(pattern)
    lines = [
        f"# yaml-language-server: $schema={schema}",
        *_remark(_origin(pattern, sample)),
        "graphrec: 1",
        f"name: {name}",
        *_data(sample, pattern, evaluation, roles, columns, folder),
        f"defaults: {{feature: {{dim: {16 if len(sample.table) > 10_000 else 8}}}}}",
    ]
    made = _Text(roles, wanted, 16 if len(sample.table) > 10_000 else 8)
    lines += made.features()
    lines += made.model()
    lines += made.training(sample, evaluation is not None)
    return "\n".join(lines) + "\n"


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
    sample: Sample,
    pattern: str,
    evaluation: str | None,
    roles: Sequence[Role],
    columns: Mapping[str, Profile],
    folder: str,
) -> list[str]:
    def seen(path: str) -> str:
        return _scalar(os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "/"))

    said = [f"train: {seen(pattern)}"]
    if evaluation is not None:
        said.append(f"eval: {seen(evaluation)}")
    split = None if evaluation is not None else _split(roles, columns)
    if split is not None:
        said.append(split)
    if sample.sep not in (",", "\t"):
        said.append(f"sep: {_scalar(sample.sep)}")
    lines = [f"data: {{{', '.join(said)}}}"]
    if evaluation is None and split is None:
        lines += _remark("No evaluation rows were found: name them with `eval:`, or `split:`.")
    return lines


def _split(roles: Sequence[Role], columns: Mapping[str, Profile]) -> str | None:
    """The newest tenth of the rows evaluate, where there is a time of few values (days, say)."""
    for role in roles:
        column = columns[role.name]
        if role.why.startswith("a time") and 5 <= column.distinct <= 2000:
            last = max(1, round(0.1 * column.distinct))
            return f"split: {{by: {_scalar(role.name)}, eval: last({last})}}"
    return None


class _Text:
    """Lines of the sections, from roles and labels whose names are settled here."""

    def __init__(self, roles: Sequence[Role], labels: Sequence[Label], dim: int) -> None:
        self.roles, self.labels, self.dim = roles, labels, dim
        taken: set[str] = set()
        self.names = {role.name: _free(_feature(role.name), taken) for role in roles}
        self.tasks = {label.column: _free(_node(label.column, "task"), taken) for label in labels}
        self.histories = sorted(
            (role for role in roles if role.kind == "history"), key=lambda role: role.name
        )
        self.sequences = {
            role.name: _free(_node(self.names[role.name], "history"), set())
            for role in self.histories
        }

    def features(self) -> list[str]:
        """Families of equal settings, histories, and a remark on each column left out."""
        lines = ["features:"]
        for kind in _ORDER:
            alike: dict[str, list[Role]] = {}
            for role in self.roles:
                if role.kind == kind:
                    alone = self.names[role.name] != role.name
                    key = repr((dict(role.settings), alone and role.name))
                    alike.setdefault(key, []).append(role)
            for members in alike.values():
                lines += self._family(members)
        for role in self.histories:
            base = self.names[role.of]
            said = {"type": "sequence", "name": self.sequences[role.name], "of": [base]}
            said |= {"column": role.name, **role.settings}
            lines.append(f"  - {_flow(said)}" + "   # newest last")
        out = [role for role in self.roles if role.kind == "out"]
        if out:
            lines.append("# Left out:")
            for why in dict.fromkeys(role.why for role in out):
                names = ", ".join(_ranged([role.name for role in out if role.why == why]))
                lines += _remark(f"{names}: {why}", "  ")
        return lines

    def _family(self, members: Sequence[Role]) -> list[str]:
        first = members[0]
        kind = {"pooled": "id"}.get(first.kind, first.kind)
        settings = dict(first.settings)
        if kind == "dense" and settings.get("width", 1) == 1:
            settings["dim"] = self.dim  # so that fm can cross it
        names = _ranged([self.names[role.name] for role in members])
        said: dict[str, Any] = {"type": kind, **settings}
        if self.names[first.name] != first.name:
            said["column"] = first.name
        head = f"  - {_flow(said)[:-1]}, names: "
        listed = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
        return textwrap.wrap(
            f"{listed}}}", _WIDTH, initial_indent=head, subsequent_indent=" " * 6,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    def model(self) -> list[str]:
        """Groups, graph and tasks: DeepFM for one task, experts for several, DIN for histories."""
        if not any(role.kind in _ORDER for role in self.roles):
            return ["graph: {}", *_remark("No column can be used: say what the features are.")]
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
        lines = ["groups:", *_aligned(groups)] if groups else []
        return [*lines, "graph:", *_aligned(graph), "tasks:", *_aligned(tasks)]

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
        column = _scalar(label.column)
        said = f"{{column: {column}, transform: log1p}}" if label.log else column
        kind = "" if label.kind == "binary" else f", kind: {label.kind}"
        classes = f", classes: {label.classes}" if label.classes else ""
        return f"{{label: {said}, in: {node}{kind}{classes}}}"

    def training(self, sample: Sample, evaluated: bool) -> list[str]:
        """Epochs and batch for the number of rows."""
        rows = sample.total or len(sample.table)
        batch = min(8192, max(64, 1 << max(rows // 100, 1).bit_length() - 1))
        said = [f"epochs: {1 if rows > 1_000_000 else 3}", f"batch: {batch}", "lr: 1e-3"]
        if evaluated and self.labels[0].kind == "binary":
            said.append(f"save: {{best: {self.tasks[self.labels[0].column]}.auc}}")
        return [f"train: {{{', '.join(said)}}}"]


# ---- names and YAML ---------------------------------------------------------------------------


def _feature(column: str) -> str:
    made = re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_")[:60] or "column"
    made = made if feature_name(made) is None else f"f_{made}"
    return column if feature_name(column) is None else made


def _node(column: str, word: str) -> str:
    made = re.sub(r"[^a-z0-9_]+", "_", column.lower()).strip("_")[:60] or word
    return made if node_name(made) is None else f"{word}_{made}"


def _free(name: str, taken: set[str]) -> str:
    made, number = name, 2
    while made in taken:
        made, number = f"{name}_{number}", number + 1
    taken.add(made)
    return made


def _ranged(names: Sequence[str]) -> list[str]:
    """Names that count up as a range.

    >>> _ranged(["C1", "C2", "C3", "x", "y1"])
    ['C1..C3', 'x', 'y1']
    """
    made: list[str] = []
    run: list[tuple[str, int]] = []
    for name in (*names, ""):
        found = re.fullmatch(r"(.*?)(0|[1-9][0-9]*)", name)
        here = (found[1], int(found[2])) if found else None
        if run and here != (run[-1][0], run[-1][1] + 1):
            texts = [f"{prefix}{number}" for prefix, number in run]
            made += [f"{texts[0]}..{texts[-1]}"] if len(texts) > 2 else texts
            run = []
        if here is not None:
            run.append(here)
        elif name:
            made.append(name)
    return made


def _remark(text: str, indent: str = "") -> list[str]:
    printable = "".join(c if c.isprintable() else " " for c in text)
    lines = textwrap.wrap(printable, _WIDTH - len(indent), break_on_hyphens=False)
    return [f"# {indent}{'  ' * (n > 0 and bool(indent))}{line}" for n, line in enumerate(lines)]


def _aligned(entries: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(entries)
    width = min(max((len(name) for name, _ in rows), default=0), 24)
    lines = []
    for name, value in rows:
        line = f"  {name}:{' ' * max(width - len(name), 0)} {value}"
        if len(line) <= _WIDTH or '"' in value:  # a quoted text keeps its blanks
            lines.append(line)
        else:
            lines += textwrap.wrap(
                line, _WIDTH, subsequent_indent=" " * 6, break_long_words=False,
                break_on_hyphens=False, drop_whitespace=True,
            )  # fmt: skip
    return lines


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value) if isinstance(value, str) else str(value)


def _scalar(text: str) -> str:
    """The text as YAML reads it: bare where that is the same text, else in double quotes."""
    if re.fullmatch(r"[A-Za-z_.][A-Za-z0-9_./*()=-]*", text):
        try:
            if isinstance(resolve(text), str):
                return text
        except Refused:
            pass
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    made = (short.get(c) or (c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return f'"{"".join(made)}"'
