"""SIGINT, SIGTERM and SIGHUP: the first asks for a checkpoint and an end, a second ends at once.

A terminal that is closed sends SIGHUP; under `nohup` it is ignored, and stays so.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Signals"]


class Signals:
    """While entered, `received` is the number of the signal that arrived, or None."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                before = signal.signal(number, self._arrived)
                if number == signal.SIGHUP and before == signal.SIG_IGN:
                    signal.signal(number, before)
                else:
                    self._before[number] = before
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def status(self) -> int:
        """The exit status that tells of the signal: 130, 143 or 129."""
        return 128 + (self.received or 0)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
