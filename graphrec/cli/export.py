"""export: a run as files for other programs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from graphrec.cli.command import (
    Command,
    Parser,
    checkpoint_option,
    library_of,
    plugin_option,
    positive,
    run_argument,
    shared_options,
)
from graphrec.cli.console import Console

if TYPE_CHECKING:
    from graphrec.export.bundle import Exported
    from graphrec.export.order import Order

__all__ = ["COMMANDS"]


def _export(args: argparse.Namespace, console: Console) -> int:
    library = library_of(args)
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.export.bundle import export_run
    from graphrec.export.order import Order

    order = Order(
        args.run,
        args.output,
        "pt2" if args.format == "json" else args.format,
        args.precision,
        "int8" if args.tables == "int8" else "as trained",
        args.checkpoint,
        tuple(args.data),
        args.rows,
    )
    exported = export_run(order, library)
    _report(order, exported, console)
    return 0


def _report(order: Order, exported: Exported, console: Console) -> None:
    from graphrec.ground.text import aligned, memory

    proof = exported.proof
    if console.json:
        console.data(
            {
                "folder": str(exported.folder),
                "files": [str(path) for path in exported.files],
                "proof": proof.as_json(),
                "replaced_kernels": list(exported.replaced),
                "changes": [change.as_json() for change in exported.changes],
            }
        )
        return
    requests = f" and {proof.requests} requests" if proof.requests else ""
    console.result(
        f"proven    {proof.rows:,} rows{requests} in a process without graphrec:"
        f" largest difference {proof.largest:.1g} ({proof.tolerance:g} allowed)"
    )
    if proof.rounding:
        worst = max(proof.rounding.values())
        console.result(
            f"rounding  {', '.join(sorted(proof.rounding))}: the run itself gives numbers"
            f" {worst:.1g} apart when it sums in another order; twice that was allowed"
        )
    if exported.replaced:
        console.result(f"torch     instead of kernels: {', '.join(exported.replaced)}")
    if exported.changes:
        rows = [["metric", "run", "exported", "change"]]
        rows += [
            [c.metric, f"{c.before:.5f}", f"{c.after:.5f}", f"{c.after - c.before:+.5f}"]
            for c in exported.changes
        ]
        console.result(f"on {exported.changes[0].rows:,} evaluation rows:")
        console.result(aligned(rows, right=frozenset({1, 2, 3})))
    elif order.precision != "fp32" or order.tables != "as trained":
        console.remark("no evaluation rows: what it costs is not known (--data GLOB)")
    console.result(f"files     {', '.join(str(path) for path in exported.files)}")
    console.result(f"size      {memory(exported.bytes)}")
    console.result(f"try it    cd {exported.folder} && python client.py rows.json")
    console.result("next      docs/serving.md; signature.json names every input and output")


def _options(parser: Parser) -> None:
    run_argument(parser)
    parser.add_argument(
        "-O",
        metavar="PATH",
        dest="output",
        required=True,
        help="a folder for all files; or model.pt2, model.onnx: that file, and the folder model/",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="of products (default: fp32)"
    )
    parser.add_argument(
        "--tables",
        choices=("as-trained", "int8"),
        default="as-trained",
        help="int8: one byte a number; what it costs is measured",
    )
    checkpoint_option(parser)
    parser.add_argument(
        "--data",
        metavar="GLOB",
        action="append",
        default=[],
        help="evaluation rows for --precision and --tables (default: the run's own)",
    )
    parser.add_argument(
        "--rows",
        metavar="N",
        type=positive,
        default=10_000,
        help="rows to prove the file with (default: 10,000)",
    )
    plugin_option(parser)
    shared_options(parser, ("pt2", "aoti", "onnx", "json"))


COMMANDS = (
    Command(
        "export",
        "write a run as files that run without graphrec: torch.export, AOTInductor or ONNX",
        _export,
        _options,
        (
            "graphrec export runs/shop -O model.pt2",
            "graphrec export runs/shop -O model.onnx --format onnx",
            "graphrec export runs/shop -O small --tables int8 --data 'may/*.parquet'",
        ),
    ),
)
