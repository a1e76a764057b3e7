"""serve: a run or a bundle as a server of scores."""

from __future__ import annotations

import argparse

from graphrec.cli.command import (
    Command,
    Parser,
    library_of,
    plugin_option,
    positive,
    shared_options,
)
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _serve(args: argparse.Namespace, console: Console) -> int:
    library = library_of(args)
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.export.server.body import Limits
    from graphrec.export.server.serve import Settings, serve

    limits = Limits(rows=args.max_rows, bytes=args.max_bytes, seconds=args.timeout)
    settings = Settings(
        args.path,
        args.host,
        args.port,
        args.checkpoint,
        args.batch_rows,
        args.wait_ms,
        args.watch,
        limits,
    )
    serve(settings, console.remark, library)
    return 0


def _options(parser: Parser) -> None:
    parser.add_argument(
        "path", metavar="RUN|FILE", help="a run folder, or what `graphrec export` wrote"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", type=positive, default=8000, help="port (default: 8000)")
    parser.add_argument(
        "--checkpoint",
        metavar="WHICH",
        help="best, last or a step (default: the best there is, and newer ones as they come)",
    )
    parser.add_argument(
        "--batch-rows",
        metavar="N",
        type=positive,
        default=4096,
        help="rows of waiting requests that are scored together (default: 4096)",
    )
    parser.add_argument(
        "--wait-ms",
        metavar="MS",
        type=float,
        default=0.0,
        help="how long a request waits for others while the model is idle (default: 0)",
    )
    parser.add_argument(
        "--max-rows", metavar="N", type=positive, default=10_000, help="rows of one request"
    )
    parser.add_argument(
        "--max-bytes", metavar="N", type=positive, default=8 << 20, help="bytes of one request"
    )
    parser.add_argument(
        "--timeout", metavar="S", type=float, default=10.0, help="seconds of one request"
    )
    parser.add_argument(
        "--watch",
        metavar="S",
        type=float,
        default=5.0,
        help="seconds between two looks for a newer checkpoint; 0: never (default: 5)",
    )
    plugin_option(parser)
    shared_options(parser)


COMMANDS = (
    Command(
        "serve",
        "answer requests over HTTP with a run's scores, or those of an exported file",
        _serve,
        _options,
        ("graphrec serve runs/shop --port 8000", "graphrec serve model.pt2"),
    ),
)
