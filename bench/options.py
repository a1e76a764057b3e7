"""How `make bench` is run: what every measurement is given."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """Threads of torch, windows of a median, seconds of a window; `quick` has smaller sizes."""

    threads: int = 2
    windows: int = 7
    seconds: float = 0.5
    quick: bool = False

    def batch(self, size: int) -> int:
        """Rows of a batch."""
        return size // 4 if self.quick else size
