"""index: the item vectors of a retriever as files, and an index that finds them."""

from __future__ import annotations

import argparse

from graphrec.cli.command import (
    Command,
    Parser,
    checkpoint_option,
    device_option,
    library_of,
    plugin_option,
    positive,
    run_argument,
    shared_options,
)
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _index(args: argparse.Namespace, console: Console) -> int:
    library = library_of(args)
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.export.item_index import Settings
    from graphrec.export.item_search import index_run

    index = index_run(
        args.run,
        args.output,
        items=args.items,
        exact=args.exact,
        settings=Settings(args.links, args.add, args.find),
        checkpoint=args.checkpoint,
        library=library,
        device=args.device or "auto",
    )
    console.result(f"{index.items:,} items, vectors of {index.width} numbers")
    for k, share in index.recall.items():
        told = f"of the {k} best items of an exact search the index finds {share:.2%}"
        console.result(f"{told} (by {index.queries})")
    console.result(f"index     {index.folder}")
    if console.json:
        facts = {"items": index.items, "width": index.width, "recall": index.recall}
        console.data({"index": str(index.folder), **facts})
    return 0


def _options(parser: Parser) -> None:
    run_argument(parser)
    parser.add_argument(
        "-O", metavar="DIR", dest="output", help="where to write (default: RUN/index)"
    )
    parser.add_argument(
        "--items", metavar="GLOB", help="other items than those of the recipe's file"
    )
    parser.add_argument(
        "--exact", action="store_true", help="the vectors alone; they are searched one by one"
    )
    for name, value, text in (
        ("links", 32, "links of an item in the graph"),
        ("add", 128, "items looked at to add one"),
        ("find", 256, "items looked at to find some: more find more, and take longer"),
    ):
        told = f"{text} (default: {value})"
        parser.add_argument(f"--{name}", metavar="N", type=positive, default=value, help=told)
    checkpoint_option(parser)
    device_option(parser, "auto")
    plugin_option(parser)
    shared_options(parser)


COMMANDS = (
    Command(
        "index",
        "write a retriever's item vectors, and an index that finds the nearest",
        _index,
        _options,
        ("graphrec index runs/films", "graphrec index runs/films --items new.parquet -O new"),
    ),
)
