"""One part of a folder of scores: columns of the data and predictions, as Parquet or CSV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from graphrec.export.outputs import RowOutput
from graphrec.export.scoring import Scored

__all__ = ["Form", "PartFile", "score_schema"]

Form = Literal["parquet", "csv"]


def score_schema(kept: dict[str, Any], outputs: tuple[RowOutput, ...], form: Form) -> Any:
    """The Arrow schema of a part: the kept columns (name -> type), then the predictions.

    Several numbers a row are one list column in Parquet, and columns `name_0`, `name_1` in CSV.
    """
    fields = [pa.field(name, _plain(kind)) for name, kind in kept.items()]
    for output in outputs:
        if form == "csv" and output.dims:
            fields += [pa.field(name, pa.float32()) for name in _spread(output)]
        else:
            kind = pa.list_(pa.float32(), output.width) if output.dims else pa.float32()
            fields.append(pa.field(output.name, kind))
    return pa.schema(fields)


class PartFile:
    """A part while it is written, under another name; `publish` gives it its own, whole.

    Every chunk is a row group: memory does not grow with the rows of a part.
    """

    def __init__(self, path: Path, schema: Any, outputs: tuple[RowOutput, ...], form: Form) -> None:
        self.path, self.schema, self.outputs, self.form = path, schema, outputs, form
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.new")
        names = schema.names
        if form == "parquet":
            predicted = {output.name for output in outputs}
            self._writer: Any = pq.ParquetWriter(
                self._beside,
                schema,
                compression="zstd",
                # Predictions hardly repeat: a dictionary of them would be built and thrown away.
                use_dictionary=[name for name in names if name not in predicted],
            )
        else:
            self._writer = pa_csv.CSVWriter(self._beside, schema)

    def write(self, scored: Scored) -> None:
        """Append the rows of a chunk."""
        columns = [
            _cast(values, self.schema.field(name).type) for name, values in scored.kept.items()
        ]
        for output in self.outputs:
            columns += self._predicted(output, scored.predictions[output.name])
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self.schema))

    def close(self) -> None:
        """Write the end of the file, and see it on the disk."""
        self._writer.close()
        with self._beside.open("rb") as file:
            os.fsync(file.fileno())

    def publish(self) -> None:
        """Give the closed file its name."""
        self._beside.replace(self.path)

    def abandon(self) -> None:
        """Remove what was written."""
        self._writer.close()
        self._beside.unlink(missing_ok=True)

    def _predicted(self, output: RowOutput, values: np.ndarray[Any, Any]) -> list[Any]:
        if not output.dims:
            return [pa.array(values)]
        flat = np.ascontiguousarray(values.reshape(len(values), output.width))
        if self.form == "csv":
            return [pa.array(np.ascontiguousarray(column)) for column in flat.T]
        return [pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), output.width)]


def _spread(output: RowOutput) -> list[str]:
    return [f"{output.name}_{number}" for number in range(output.width)]


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _cast(values: Any, kind: Any) -> Any:
    return values if values.type == kind else values.cast(kind)
