"""`kernels.lock`: measured times of kernels beside a recipe, by content; read without torch.

An entry is what was timed (block, constructor arguments, input shapes, batch, precision, kind of
device) and the milliseconds of every kernel. No node's name is in it: recipes of one folder share
the file, and a renamed node keeps its times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from graphrec.blocks.library import shipped
from graphrec.ground.errors import Problem, Span
from graphrec.recipe.reader import MAX_BYTES, read_value
from graphrec.recipe.tree import Tree

__all__ = ["FORMAT", "NAME", "Entry", "Lock", "Machine", "Times", "lock_path", "read_lock"]

NAME = "kernels.lock"
FORMAT = 1
_HEAD = (
    "# Times of kernels, written by `graphrec bench`. `auto` chooses by them. Keep it in version\n"
    "# control: generated code depends on the recipe and on this file, on no machine.\n"
)
_MEND = "delete the file: `graphrec bench RECIPE` measures again"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Times(_Model):
    """Milliseconds of one call: forward alone, and forward with backward (or update)."""

    forward: PositiveFloat
    train: PositiveFloat


class Machine(_Model):
    """What the times of one kind of device were measured on."""

    processor: str
    threads: PositiveInt
    versions: dict[str, str]


class Entry(_Model):
    """What was timed, and the times by kernel; `clock` is wall time or that of the process.

    `copies` are nodes that some kernel computes together: the times are those of all of them.
    `shared`: they read the same inputs.
    """

    block: str
    args: dict[str, Any]
    inputs: list[str]
    copies: PositiveInt = 1
    shared: bool = False
    batch: PositiveInt
    precision: str
    device: str
    clock: Literal["wall", "process"] = "wall"
    kernels: dict[str, Times] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal for equal content, whatever the times."""
        content = self.model_dump(mode="json", exclude={"clock", "kernels"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def ratio(self, kernel: str, purpose: Literal["train", "inference"]) -> float | None:
        """How many times as fast as torch the kernel is; None where either was not timed."""
        ours, theirs = self.kernels.get(kernel), self.kernels.get("torch")
        if ours is None or theirs is None:
            return None
        if purpose == "inference":
            return theirs.forward / ours.forward
        return theirs.train / ours.train


@dataclass(frozen=True)
class Lock:
    """The whole file: machines by kind of device, entries by key."""

    machines: Mapping[str, Machine] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def updated(self, device: str, machine: Machine, entries: Mapping[str, Entry]) -> Lock:
        """These entries in place of those with equal content, all others kept."""
        return replace(
            self,
            machines={**self.machines, device: machine},
            entries={**self.entries, **entries},
        )

    def text(self) -> str:
        """The file: equal locks give equal bytes."""
        return _HEAD + "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield f"graphrec_lock: {FORMAT}"
        yield "machines:" if self.machines else "machines: {}"
        for device, machine in sorted(self.machines.items()):
            yield f"  {device}: {_flow(machine.model_dump(mode='json'))}"
        yield "entries:" if self.entries else "entries: []"
        for _, entry in sorted(self.entries.items(), key=lambda item: (item[1].block, item[0])):
            plain = entry.model_dump(mode="json")
            kernels = plain.pop("kernels")
            if entry.copies == 1:
                del plain["copies"], plain["shared"]
            for place, (name, value) in enumerate(plain.items()):
                yield f"  {' ' if place else '-'} {name}: {_flow(value)}"
            yield "    kernels:"
            for name, times in sorted(kernels.items()):
                yield f"      {_flow(name)}: {_flow(times)}"


def _flow(value: Any) -> str:
    """YAML on one line; JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


def lock_path(recipe: str | Path) -> Path:
    """Where the lock of a recipe lies: in its folder; for a shipped recipe, the working directory.

    >>> lock_path("models/shop.yaml").as_posix()
    'models/kernels.lock'
    """
    folder = Path(recipe).parent
    return Path(NAME) if folder.resolve() == shipped("recipes").resolve() else folder / NAME


def read_lock(path: Path) -> tuple[Lock, list[Problem]]:
    """The lock at `path`, an empty one where there is none; GR605 with its line for damage."""
    try:
        if not path.is_file() and (path.is_symlink() or path.exists()):
            return Lock(), [_unreadable(path, "it is no file")]
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except FileNotFoundError:
        return Lock(), []
    except OSError as error:
        return Lock(), [_unreadable(path, error.strerror or str(error))]
    except UnicodeDecodeError:
        return Lock(), [_unreadable(path, "it is not UTF-8 text")]
    if len(data) > MAX_BYTES:
        return Lock(), [_unreadable(path, f"it has more than {MAX_BYTES:,} bytes")]
    tree, problems = read_value(text, str(path))
    if tree is None or problems:
        placed = sorted((p.span, p.message) for p in problems if p.span is not None)
        span, why = placed[0] if placed else (Span(str(path), 1, 1), "it is empty")
        return Lock(), [_damage(span, why)]
    return _lock(tree)


def _lock(tree: Tree) -> tuple[Lock, list[Problem]]:
    content = tree.plain()
    if not isinstance(content, dict) or not isinstance(content.get("graphrec_lock"), int):
        return Lock(), [_damage(tree.span, "graphrec_lock: 1 is missing")]
    if content["graphrec_lock"] != FORMAT:
        message = f"format {content['graphrec_lock']} is not one this version reads ({FORMAT})"
        version = tree.at("graphrec_lock")
        return Lock(), [_damage(version.span if version else tree.span, message)]
    try:
        whole = _File.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        span = _span(tree, first["loc"])
        return Lock(), [_damage(span, f"{place}: {first['msg'].removeprefix('Value error, ')}")]
    return Lock(whole.machines, {entry.key: entry for entry in whole.entries}), []


class _File(_Model):
    graphrec_lock: int
    machines: dict[str, Machine]
    entries: list[Entry]


def _span(tree: Tree, path: tuple[int | str, ...]) -> Span:
    """The place of the value at `path`, or of what should hold it."""
    for name in path:
        children = dict(tree.children())
        if str(name) not in children:
            break
        tree = children[str(name)]
    return tree.span


def _unreadable(path: Path, why: str) -> Problem:
    """Without a place: there is no line that is worth showing."""
    return Problem("GR605", f"{path} can't be read: {why}", help=_MEND)


def _damage(span: Span | None, why: str) -> Problem:
    return Problem("GR605", f"{NAME} can't be used: {why}", span, help=_MEND)
