"""Where the command line writes: results on stdout, findings and remarks on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from graphrec.errors import Problem

__all__ = ["Console"]


class Console:
    """The two streams, in the form asked for: `json` findings go to stdout as data."""

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet

    def result(self, text: str) -> None:
        """What the command was asked for, for people; with `json` that is `data`, this a remark."""
        if self.json:
            self.remark(text)
        else:
            self.write(text)

    def data(self, value: Any) -> None:
        """What the command was asked for, as JSON."""
        import json

        self.write(json.dumps(value, indent=2, ensure_ascii=False))

    def write(self, text: str) -> None:
        """Text for stdout in any form."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def remark(self, text: str) -> None:
        """Something to know that is no result; silent with --quiet."""
        if not self.quiet:
            sys.stderr.write(text + "\n")

    def problems(
        self, problems: Iterable[Problem], sources: Mapping[str, str] | None = None
    ) -> None:
        """Findings: under carets for people; as JSON on stdout, also when there are none."""
        found = list(problems)
        if self.json:
            self.data({"problems": [problem.as_json() for problem in found]})
            return
        if self.quiet:
            found = [problem for problem in found if problem.severity == "error"]
        if found:
            from graphrec.errors import render

            sys.stderr.write(render(found, dict(sources or {}), color=colorful(sys.stderr)) + "\n")


def colorful(stream: TextIO) -> bool:
    """Whether to colour: a terminal, and nobody said no (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
