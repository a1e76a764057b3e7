"""`graphrec predict`: rows of files -> a folder of scores, in bounded memory, resumable."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import torch

from graphrec.blocks.library import BUILTIN, Library
from graphrec.data import Counts, data_remarks, open_files
from graphrec.data.filesource import FileSource
from graphrec.data.remarks import check_limits
from graphrec.export.score_files import Form, PartFile, score_schema
from graphrec.export.score_folder import ScoreFolder
from graphrec.export.scoring import Scored, Scorer
from graphrec.export.stretches import Stretch, read_behind, stretches
from graphrec.ground.errors import DataError, Problem
from graphrec.recipe.model import Recipe
from graphrec.recipe.training import Device
from graphrec.train.evaluate_run import Trained, load_run
from graphrec.train.run import versions

__all__ = [
    "PART_ROWS",
    "Job",
    "OpenJob",
    "Summary",
    "Told",
    "claimed",
    "finish",
    "open_job",
    "predict",
    "write_stretch",
]

PART_ROWS = 1 << 19
"""A part is closed at the first chunk that takes it to so many rows: what a kill can cost."""


class Told(Protocol):
    """Who is told of every part and chunk: rows read and scored since the last time."""

    def __call__(self, read: int, scored: int) -> None: ...


@dataclass(frozen=True)
class Job:
    """What is to be scored, how, and where to: equal arguments give equal files."""

    run: str
    data: tuple[str, ...]
    output: str
    form: Form = "parquet"
    keep: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    checkpoint: str | int | None = None
    device: Device = "auto"
    part_rows: int = PART_ROWS


@dataclass
class Summary:
    """What became of the rows: `resumed` of the scored ones were there before."""

    recipe: Recipe
    counts: Counts
    parts: int
    resumed: int
    seconds: float

    @property
    def rows_per_s(self) -> float:
        """Rows scored by this process and its workers in a second."""
        return (self.counts.trained - self.resumed) / max(self.seconds, 1e-9)

    def doubts(self) -> list[str]:
        """What a careful person would want to know of the rows."""
        return [r.text for r in data_remarks(self.recipe, None, self.counts, "scored")]


@dataclass
class OpenJob:
    """A job with its run loaded and its files opened."""

    job: Job
    scorer: Scorer
    source: FileSource
    schema: Any
    folder: ScoreFolder
    stretches: list[Stretch]

    @property
    def resumed(self) -> int:
        """Rows that are scored already."""
        return self.folder.total(len(self.stretches))[0].trained if self.folder.resumed else 0


def predict(
    job: Job, told: Told = lambda read, scored: None, library: Library = BUILTIN
) -> Summary:
    """Score all rows of the job into its folder, in this process.

    Goes on where an earlier process was stopped. Raises DataError for bad rows (unless the recipe
    quarantines them) and for a folder that holds something else.
    """
    with claimed(job, library) as opened:
        start, resumed = time.perf_counter(), opened.resumed
        for stretch in opened.stretches if not opened.folder.finished else ():
            write_stretch(opened, stretch, told)
        return finish(opened, time.perf_counter() - start, resumed)


@contextmanager
def claimed(job: Job, library: Library = BUILTIN) -> Iterator[OpenJob]:
    """The job opened, its folder locked for as long as the context lasts."""
    opened = open_job(job, library)
    lock = opened.folder.open()
    try:
        yield opened
    finally:
        os.close(lock)


def open_job(job: Job, library: Library = BUILTIN) -> OpenJob:
    """Load the run, open and check the files; nothing is written yet."""
    trained = _load(job, library)
    try:
        scorer = Scorer(trained, job.keep)
    except ValueError as error:
        raise DataError(Problem("GR731", str(error), help="pool it in a node of its own")) from None
    plan = scorer.encoder.plan
    uses = {**dict.fromkeys(job.keep, "--keep"), **plan.uses}
    source = open_files(trained.recipe, job.data, columns=replace(plan, uses=uses))
    schema = _schema(job, scorer, source)
    return OpenJob(
        job,
        scorer,
        source,
        schema,
        ScoreFolder(Path(job.output), _identity(job, trained, source, schema), job.form),
        stretches(source, job.part_rows),
    )


def write_stretch(opened: OpenJob, stretch: Stretch, told: Told) -> None:
    """Write the parts of a stretch that are not there yet."""
    part = behind = 0
    for record in opened.folder.records(stretch.number):
        behind += record["counts"]["read"]
        told(record["counts"]["read"], 0)
        part += 1
        if record["last"]:
            return
    raws = read_behind(opened.source, stretch, behind)
    with closing(opened.scorer.chunks(raws, torch.get_num_threads())) as chunks:
        first = next(chunks, None)
        while first is not None:
            first = _write_part(opened, (stretch.number, part), chain([first], chunks), told)
            part += 1


def _write_part(
    opened: OpenJob, number: tuple[int, int], chunks: Iterator[Scored], told: Told
) -> Scored | None:
    """Write one part; returns the first chunk of the next one."""
    folder, counts, rest = opened.folder, Counts(), None
    outputs, form = opened.scorer.outputs, opened.job.form
    file = PartFile(folder.place(*number), opened.schema, outputs, form)
    try:
        for scored in chunks:
            if counts.read >= opened.job.part_rows:
                rest = scored
                break
            file.write(scored)
            counts.add(scored.counts)
            told(scored.counts.read, scored.rows)
        file.close()
        folder.note(*number, {"counts": counts.plain(), "last": rest is None})
        file.publish()
    except BaseException:
        file.abandon()
        raise
    return rest


def finish(opened: OpenJob, seconds: float, resumed: int) -> Summary:
    """Add up the parts, and say in the folder that it is whole."""
    total, parts = opened.folder.total(len(opened.stretches))
    if not total.trained:
        help = "see data.bad_rows of the recipe" if total.quarantined else ""
        raise DataError(Problem("GR712", f"{opened.source.name}: no rows to score", help=help))
    check_limits(opened.scorer.encoder.recipe, total, opened.source.name)
    opened.folder.finish({"parts": parts, "rows": total.trained, "counts": total.plain()})
    return Summary(opened.scorer.encoder.recipe, total, parts, resumed, seconds)


def _load(job: Job, library: Library) -> Trained:
    load = partial(
        load_run, job.run, job.checkpoint, library=library, purpose="inference", device=job.device
    )
    trained = load()
    if not job.nodes:
        return trained
    nodes = dict.fromkeys([*trained.recipe.export.nodes, *job.nodes])
    return load(overrides=[f"export.nodes=[{', '.join(nodes)}]"])


def _schema(job: Job, scorer: Scorer, source: FileSource) -> Any:
    kept = {name: source.type_of(name) for name in job.keep}
    schema = score_schema(kept, scorer.outputs, job.form)
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        what = f"two columns of the scores would be called `{twice[0]}`"
        raise DataError(Problem("GR731", what, help="leave it out of --keep"))
    for name in job.keep:
        if job.form == "csv" and pa.types.is_nested(schema.field(name).type):
            what = f"column `{name}` holds {schema.field(name).type}: a cell of CSV can't"
            raise DataError(Problem("GR731", what, help="write Parquet: --format parquet"))
    return schema


def _identity(job: Job, trained: Trained, source: FileSource, schema: Any) -> dict[str, Any]:
    """What makes two jobs the same: all that the bytes of the parts depend on."""
    loaded = trained.checkpoint
    known = versions()
    return {
        "format": 1,
        "recipe": trained.recipe.name,
        "step": loaded.position.step,
        "weights": loaded.files["model.safetensors"]["sha256"],
        "files": [str(path) for path in source.paths],
        "data": source.fingerprint,
        "columns": {field.name: str(field.type) for field in schema},
        "part_rows": job.part_rows,
        "versions": {name: known[name] for name in ("graphrec", "pyarrow", "numpy", "torch")},
    }
