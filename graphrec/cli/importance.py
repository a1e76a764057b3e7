"""importance: what a trained model lives on, and the recipe without the rest."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from graphrec.cli.command import (
    Command,
    Parser,
    UsageError,
    checkpoint_option,
    device_option,
    library_of,
    plugin_option,
    positive,
    run_argument,
    shared_options,
)
from graphrec.cli.console import Console
from graphrec.ground.text import write_text

if TYPE_CHECKING:
    from graphrec.blocks.library import Library
    from graphrec.train.importance import Rank, Ranking

__all__ = ["COMMANDS"]


def _importance(args: argparse.Namespace, console: Console) -> int:
    if (args.keep is None) != (args.output is None):
        raise UsageError("--keep N and -O FILE go together: the reduced recipe", args.usage)
    if args.keep is not None and args.by != "feature":
        raise UsageError("--keep N keeps features: it goes with --by feature", args.usage)
    library = library_of(args)
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.train.importance import importance

    ranking = importance(
        args.run,
        args.data or None,
        args.checkpoint,
        by=args.by,
        rows=args.rows,
        repeats=args.repeats,
        seed=args.seed,
        library=library,
        device=args.device or "auto",
    )
    reduced = {} if args.keep is None else {"reduced": _reduce(args, ranking, library, console)}
    if console.json:
        console.data({**ranking.as_json(), **reduced})
    else:
        console.result(ranking.as_text())
    return 0


def _reduce(
    args: argparse.Namespace, ranking: Ranking, library: Library, console: Console
) -> dict[str, Any]:
    """Write the recipe with the most important features; what became of the others."""
    from graphrec.recipe import canonical
    from graphrec.train.importance import reduce_recipe

    how: Rank = args.rank or ("dropout" if ranking.dropout else "permutation")
    if how == "dropout" and not ranking.dropout:
        message = "--rank dropout: no group of the recipe has variational_dropout"
        raise UsageError(message, args.usage)
    ranked = ranking.features(how)
    reduced = reduce_recipe(ranking.recipe, ranked, args.keep, library)
    write_text(args.output, canonical(reduced.recipe))
    console.remark(
        f"wrote {args.output}: {len(reduced.recipe.features)} of {len(ranking.recipe.features)}"
        f" features, chosen by {how}"
    )
    if reduced.needed:
        console.remark(
            f"kept although they rank lower, the recipe needs them: {_list(reduced.needed)}"
        )
    return {"file": args.output, "by": how, "removed": reduced.removed, "needed": reduced.needed}


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:12]) + (f", +{len(names) - 12}" if names[12:] else "")


def _options(parser: Parser) -> None:
    run_argument(parser)
    parser.add_argument(
        "--data", metavar="GLOB", action="append", help="other files than the run's evaluation data"
    )
    checkpoint_option(parser)
    parser.add_argument(
        "--by",
        choices=("feature", "group", "node"),
        default="feature",
        help="what is permuted (default: feature)",
    )
    parser.add_argument(
        "--rows", metavar="N", type=positive, default=50_000, help="rows read (default: 50,000)"
    )
    parser.add_argument(
        "--repeats", metavar="N", type=positive, default=3, help="permutations each (default: 3)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the permutations (default: 0)")
    parser.add_argument(
        "--keep", metavar="N", type=positive, help="write a recipe with the N best features to -O"
    )
    parser.add_argument("-O", metavar="FILE", dest="output", help="the reduced recipe")
    parser.add_argument(
        "--rank",
        choices=("permutation", "dropout"),
        help="what --keep goes by (default: dropout where a group has learned it)",
    )
    device_option(parser, "auto")
    plugin_option(parser)
    shared_options(parser)
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "importance",
        "rank a run's features, groups or nodes; write the recipe with the best features",
        _importance,
        _options,
        (
            "graphrec importance runs/shop",
            "graphrec importance runs/shop --by group --data 'may/*.parquet' --rows 20_000",
            "graphrec importance runs/shop --keep 8 -O small.yaml",
        ),
    ),
)
