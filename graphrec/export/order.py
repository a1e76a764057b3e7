"""What is asked of an export."""

from __future__ import annotations

from dataclasses import dataclass

from graphrec.export.formats import FormatName
from graphrec.export.program import Precision, TableType

__all__ = ["Order"]


@dataclass(frozen=True)
class Order:
    """What is to be exported, in which form, and to where.

    `output` is a folder; where it ends in `.pt2` or `.onnx` the folder has the name without that,
    and the file of that name is the model alone.
    """

    run: str
    output: str
    form: FormatName = "pt2"
    precision: Precision = "fp32"
    tables: TableType = "as trained"
    checkpoint: str | int | None = None
    data: tuple[str, ...] = ()
    rows: int = 10_000
