"""TensorBoard event files in the run folder; without the package there are none, and it is said."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["TensorBoard"]


class TensorBoard:
    """Writes every number of a record under `<kind>/<key>`."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # Steps from here on are written again after a resume: purge what was there.
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    @property
    def missing(self) -> bool:
        """Whether tensorboard is not installed."""
        return self._writer is None

    def record(self, record: Mapping[str, Any]) -> None:
        """Add one line of metrics.jsonl."""
        if self._writer is None:
            return
        for name, value in record.items():
            if name not in ("kind", "step") and isinstance(value, int | float):
                tag = f"{record['kind']}/{name.replace('(', '_').replace(')', '')}"
                self._writer.add_scalar(tag, value, record["step"])

    def close(self) -> None:
        """Flush and close the file."""
        if self._writer is not None:
            self._writer.close()
