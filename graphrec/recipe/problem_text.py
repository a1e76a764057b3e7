"""The findings of one reading, and which parts of the recipe they leave out."""

from __future__ import annotations

from graphrec.ground.errors import Problem

__all__ = ["Report"]

_PARTS = ("features", "groups", "graph", "tasks", "blocks", "relations")


class Report:
    """Collects findings; the same one at the same place is kept once.

    `broken` are paths of parts that are left out (`features.price`, `graph.tower`, `train`):
    what follows from them is silent.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        self._seen: set[tuple[object, ...]] = set()

    def __call__(self, problem: Problem, *broken: str) -> None:
        """Keep a finding; the part its path is in (or `broken`) is left out."""
        self.breaks(*(broken or _part(problem.path)))
        mark = (
            problem.code,
            problem.span,
            problem.message,
            problem.path if not problem.span else "",
        )
        if mark not in self._seen:
            self._seen.add(mark)
            self.problems.append(problem)

    def breaks(self, *paths: str) -> None:
        """Leave parts of the recipe out."""
        self.broken.update(paths)

    def is_broken(self, *paths: str) -> bool:
        """Whether one of the parts is left out already."""
        return any(path in self.broken for path in paths)


def _part(path: str) -> list[str]:
    """`graph.tower.in` -> graph.tower; families, known by number, are no parts."""
    if path.startswith("-o "):
        return ["overrides"]
    first, _, rest = path.partition(".")
    second = rest.partition(".")[0]
    if first not in _PARTS or not second:
        return [first] if first in _PARTS or path else []
    return [] if first == "features" and second.isdigit() else [f"{first}.{second}"]
