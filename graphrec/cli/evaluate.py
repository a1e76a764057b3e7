"""evaluate: the scores of a run on its evaluation data, or on other files."""

from __future__ import annotations

import argparse

from graphrec.cli.command import (
    Command,
    Parser,
    checkpoint_option,
    device_option,
    library_of,
    plugin_option,
    run_argument,
    shared_options,
)
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _evaluate(args: argparse.Namespace, console: Console) -> int:
    library = library_of(args)
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.train.evaluate_run import evaluate_with_remarks
    from graphrec.train.remarks import as_json, remarks_text

    record, remarks = evaluate_with_remarks(
        args.run, args.data or None, args.checkpoint, library=library, device=args.device or "auto"
    )
    if console.json:
        console.data({**record, "remarks": as_json(remarks)})
    else:
        from graphrec.ground.text import aligned

        console.result(aligned([[key, _shown(value)] for key, value in record.items()]))
    if remarks and not console.json:
        console.remark(remarks_text(remarks))
    return 0


def _shown(value: object) -> str:
    if value is None:
        return "not available"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _options(parser: Parser) -> None:
    run_argument(parser)
    parser.add_argument(
        "--data", metavar="GLOB", action="append", help="other files than the run's evaluation data"
    )
    checkpoint_option(parser)
    device_option(parser, "auto")
    plugin_option(parser)
    shared_options(parser)


COMMANDS = (
    Command(
        "evaluate",
        "score a run's checkpoint on its evaluation data, or on other files",
        _evaluate,
        _options,
        ("graphrec evaluate runs/shop", "graphrec evaluate runs/shop --data 'may/*.parquet'"),
    ),
)
