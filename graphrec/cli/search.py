"""search: the best items of a retriever for the rows of files."""

from __future__ import annotations

import argparse
import io

from graphrec.cli.command import (
    Command,
    Parser,
    UsageError,
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

__all__ = ["COMMANDS"]


def _search(args: argparse.Namespace, console: Console) -> int:
    library = library_of(args)
    if args.output is not None and not args.output.endswith((".parquet", ".csv")):
        raise UsageError(f"-O {args.output}: a file .parquet or .csv", args.usage)
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.export.item_search import Search, search
    from graphrec.export.result_file import ResultFile

    job = Search(
        args.run,
        tuple(args.data),
        args.k,
        names_of(args.keep),
        args.index,
        args.items,
        args.exact,
        args.checkpoint,
        args.device or "auto",
    )
    if console.json and args.output is None:
        results = [row for answers in search(job, library) for row in answers.to_pylist()]
        console.data({"results": results})
        return 0
    if args.output is None:
        shown = io.BytesIO()
        with ResultFile(shown, "csv") as file:
            for answers in search(job, library):
                file.write(answers)
                console.write(shown.getvalue().decode())
                shown.seek(0)
                shown.truncate()
        return 0
    with ResultFile.at(args.output) as file:
        for answers in search(job, library):
            file.write(answers)
    if console.json:
        console.data({"results": args.output, "items": file.rows, "rows": file.queries})
    console.result(f"{file.rows:,} items for {file.queries:,} rows\nresults   {args.output}")
    return 0


def _options(parser: Parser) -> None:
    run_argument(parser)
    parser.add_argument(
        "--data",
        metavar="GLOB",
        action="append",
        required=True,
        help="files whose rows are queries, Parquet or CSV (may be repeated)",
    )
    parser.add_argument(
        "-k", metavar="N", type=positive, default=100, help="items for a row (default: 100)"
    )
    parser.add_argument(
        "-O", metavar="FILE", dest="output", help="results, .parquet or .csv (default: print CSV)"
    )
    keep_option(parser)
    parser.add_argument("--index", metavar="DIR", help="where the index is (default: RUN/index)")
    parser.add_argument(
        "--items", metavar="GLOB", help="without an index: other items than the recipe's"
    )
    parser.add_argument(
        "--exact", action="store_true", help="compare with every item, without an index"
    )
    checkpoint_option(parser)
    device_option(parser, "auto")
    plugin_option(parser)
    parser.set_defaults(usage=parser.format_usage().strip())
    shared_options(parser)


COMMANDS = (
    Command(
        "search",
        "find the best items for rows of files with a trained retriever",
        _search,
        _options,
        (
            "graphrec search runs/films --data users.parquet -k 100 --keep user_id -O out.parquet",
            "graphrec search runs/films --data users.csv -k 10 --exact",
        ),
    ),
)
