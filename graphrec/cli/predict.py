"""predict: rows of files -> a folder of scores."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    checkpoint_option,
    device_option,
    keep_option,
    library_of,
    names_of,
    plugin_option,
    positive,
    run_argument,
    shared_options,
)
from graphrec.cli.console import Console

if TYPE_CHECKING:
    from graphrec.export.predict import Summary

__all__ = ["COMMANDS"]

_EVERY = 5.0  # seconds between two lines of progress


def _predict(args: argparse.Namespace, console: Console) -> int:
    library = library_of(args)
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.export.predict import Job, predict
    from graphrec.export.worker import predict_side_by_side

    job = Job(
        args.run,
        tuple(args.data),
        args.output,
        "csv" if args.format == "csv" else "parquet",
        names_of(args.keep),
        names_of(args.node),
        args.checkpoint,
        args.device or "auto",
    )
    told = _Told(console)
    if args.nproc > 1:
        summary = predict_side_by_side(job, args.nproc, told, args.plugins)
    else:
        summary = predict(job, told, library)
    _report(summary, args.output, console)
    return 0


class _Told:
    """A line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console, self._start = console, time.perf_counter()
        self._shown, self._read, self._scored = self._start, 0, 0

    def __call__(self, read: int, scored: int) -> None:
        self._read += read
        self._scored += scored
        now = time.perf_counter()
        if now - self._shown >= _EVERY:
            self._shown = now
            speed = self._scored / (now - self._start)
            self._console.remark(f"{self._read:,} rows read  {speed:,.0f} rows/s")


def _report(summary: Summary, folder: str, console: Console) -> None:
    counts = summary.counts
    there = f", {summary.resumed:,} of them were there before" if summary.resumed else ""
    speed = f"  {summary.rows_per_s:,.0f} rows/s" if summary.resumed < counts.trained else ""
    console.result(f"{counts.trained:,} rows in {summary.parts} parts{there}{speed}")
    for doubt in summary.doubts():
        console.remark(f"data: {doubt}")
    console.result(f"scores    {folder}")
    if console.json:
        rows = {"rows": counts.trained, "quarantined": counts.quarantined, "parts": summary.parts}
        console.data({"scores": folder, **rows})


def _options(parser: Parser) -> None:
    run_argument(parser)
    parser.add_argument(
        "--data",
        metavar="GLOB",
        action="append",
        required=True,
        help="files to score, Parquet or CSV; labels need not be there (may be repeated)",
    )
    parser.add_argument(
        "-O", metavar="DIR", dest="output", required=True, help="the folder of the scores"
    )
    keep_option(parser)
    parser.add_argument(
        "--node",
        metavar="NAME",
        action="append",
        default=[],
        help="write the output of this node too: --node tower_user (may be repeated)",
    )
    checkpoint_option(parser)
    parser.add_argument(
        "--nproc", metavar="N", type=positive, default=1, help="processes side by side (default: 1)"
    )
    device_option(parser, "auto")
    plugin_option(parser)
    shared_options(parser, ("parquet", "csv", "json"))


COMMANDS = (
    Command(
        "predict",
        "score the rows of files: a folder of Parquet or CSV, resumable",
        _predict,
        _options,
        (
            "graphrec predict runs/shop --data 'may/*.parquet' -O scores --keep user_id,item_id",
            "graphrec predict runs/shop --data may.csv -O scores --format csv --node experts",
        ),
    ),
)
