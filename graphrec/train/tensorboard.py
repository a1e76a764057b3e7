"""TensorBoard event files in the run folder; without the package there are none, and it is said."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["TensorBoard"]


class TensorBoard:
    """Writes every number of a record under `<kind>/<key>`.

    By this thread: the writer of torch has one of its own, which prints a traceback when the disk
    is full.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._file: Any = None
        if find_spec("tensorboard") is None:
            return
        from tensorboard.compat.proto.event_pb2 import SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("ab")
        self._add(file_version="brain.Event:2")
        if step:  # what comes after is written again by the resumed run: forget what was there
            self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    @property
    def missing(self) -> bool:
        """Whether tensorboard is not installed."""
        return self._file is None

    def record(self, record: Mapping[str, Any]) -> None:
        """Add one line of metrics.jsonl; OSError where the disk does not take it."""
        if self._file is None:
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(
                tag=f"{record['kind']}/{name.replace('(', '_').replace(')', '')}",
                simple_value=value,
            )
            for name, value in record.items()
            if name not in ("kind", "step") and isinstance(value, int | float)
        ]
        self._add(step=record["step"], summary=Summary(value=values))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        event = Event(wall_time=time.time(), **content)
        RecordWriter(self._file).write(event.SerializeToString())
        self._file.flush()
