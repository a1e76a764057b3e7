"""verify: every kernel of a recipe compared with torch."""

from __future__ import annotations

import argparse

from graphrec.cli.command import Command, Parser, device_option, recipe_options, settings_of
from graphrec.cli.console import Console

__all__ = ["COMMANDS"]


def _verify(args: argparse.Namespace, console: Console) -> int:
    from graphrec.verify.kernels import unmeasured, verify

    compiled, target = unmeasured(**settings_of(args))
    verdicts = verify(compiled, target, console.remark)
    if console.json:
        console.data(verdicts.as_json())
    else:
        console.problems(verdicts.problems)
        console.result(verdicts.as_text())
    return 2 if verdicts.problems else 0


def _options(parser: Parser) -> None:
    parser.description = f"{parser.description}\n\n" + (
        "Against torch in float64, on round and odd batches, histories full, mixed and empty. What"
        "\ncan't run on this machine is listed with the reason; Triton kernels run on the CPU in"
        "\nTriton's interpreter with TRITON_INTERPRET=1 GRAPHREC_KERNELS=triton in the environment."
        "\nExit status: 0 if all that ran agree, 2 if a kernel differs (GR606)."
    )
    recipe_options(parser)
    device_option(parser)
    parser.set_defaults(usage=parser.format_usage().strip())


COMMANDS = (
    Command(
        "verify",
        "compare every kernel of a recipe with torch: outputs and gradients",
        _verify,
        _options,
        (
            "graphrec verify my_recipe.yaml",
            "TRITON_INTERPRET=1 GRAPHREC_KERNELS=triton graphrec verify my_recipe.yaml",
        ),
    ),
)
