"""tune: the values of a recipe's `search:` that evaluate best."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from graphrec.cli.command import (
    Command,
    Parser,
    device_option,
    positive,
    recipe_options,
    settings_of,
)
from graphrec.cli.console import Console, lasting_streams

__all__ = ["COMMANDS"]

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _tune(args: argparse.Namespace, console: Console) -> int:
    from graphrec.train.process import prepare_process

    prepare_process()
    from graphrec.compiler.memory import available
    from graphrec.compiler.pipeline import check_recipe
    from graphrec.ground.errors import RecipeError
    from graphrec.train.tuning import Tuning, default_metric, tune
    from graphrec.train.tuning.trial import Setting

    settings = settings_of(args)
    limit = settings["max_memory"] or available()
    checked = check_recipe(**{**settings, "max_memory": limit})
    if checked.reading.recipe is None:
        raise RecipeError(checked.problems)
    if not console.json:
        console.problems(checked.problems)
    setting = Setting(
        path=settings["path"],
        overrides=tuple(args.overrides),
        library=settings["library"],
        allow_root=args.allow_root,
        device=args.device,
        max_memory=limit,
        plugins=tuple(args.plugins),
        metric=args.metric or default_metric(checked.reading.recipe),
    )
    folder = None if args.run is None else Path(args.run)
    with lasting_streams():
        tuned = tune(setting, Tuning(args.trials, args.time, folder), console.remark)
        if console.json:
            console.data(tuned.as_json())
        else:
            console.result(tuned.as_text())
    return 0


def _seconds(text: str) -> float:
    """A length of time: `90s`, `20m`, `1.5h`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 20m or 1.5h, got `{text}`")
    return float(match[1]) * _UNITS[match[2]]


def _options(parser: Parser) -> None:
    recipe_options(parser)
    device_option(parser)
    parser.add_argument(
        "--trials",
        metavar="N",
        type=positive,
        default=20,
        help="trainings in all, those of earlier calls too (default: 20)",
    )
    parser.add_argument(
        "--time", metavar="TIME", type=_seconds, help="begin none after so long: 90s, 20m, 1.5h"
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="what to go by: <task>.<metric>, or a metric: its mean over the tasks (default:"
        " train.save.best, else the first task's first metric of all tasks)",
    )
    parser.add_argument(
        "--run", metavar="DIR", help="folder of the study (default: runs/<name>-tune)"
    )
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "tune",
        "try values of a recipe's `search:`, and write the recipe with the best",
        _tune,
        _options,
        (
            "graphrec tune my_recipe.yaml --trials 40",
            "graphrec tune shop -o 'search={train.lr.dense: log(1e-4, 1e-2)}' --time 20m",
        ),
    ),
)
