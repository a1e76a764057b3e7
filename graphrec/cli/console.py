"""Where the command line writes: results on stdout, findings and remarks on stderr."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from graphrec.ground.errors import Problem

__all__ = ["Console", "drop", "lasting_streams", "open_streams"]


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

        plain = not (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
        self.write(json.dumps(value, indent=2, ensure_ascii=plain))

    def write(self, text: str) -> None:
        """Text for stdout in any form."""
        try:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
        except BrokenPipeError:
            raise
        except OSError as error:
            drop(sys.stdout)
            raise OSError(error.errno, error.strerror, "standard output") from None

    def remark(self, text: str) -> None:
        """Something to know that is no result; silent with --quiet."""
        if not self.quiet:
            self._tell(text)

    def _tell(self, text: str) -> None:
        """Text for stderr; whether anybody can read it changes nothing."""
        try:
            sys.stderr.write(text + "\n")
        except (OSError, ValueError):  # full, or closed
            drop(sys.stderr)

    def problems(
        self, problems: Iterable[Problem], sources: Mapping[str, str] | None = None
    ) -> None:
        """Findings: under carets for people; as JSON on stdout, also when there are none."""
        findings = list(problems)
        if self.json:
            self.data({"problems": [problem.as_json() for problem in findings]})
            return
        if self.quiet:
            findings = [problem for problem in findings if problem.severity == "error"]
        if findings:
            from graphrec.ground.errors import render

            self._tell(render(findings, dict(sources or {}), color=colorful(sys.stderr)))


def open_streams() -> None:
    """Make stdin, stdout and stderr writable by whatever text, and there at all.

    Where one was closed, the next file opened would take its number, and be written into.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal of ASCII shows \u2192 for an arrow
            stream.reconfigure(errors="backslashreplace")


def drop(stream: TextIO) -> None:
    """Let what is written to a stream that takes no more go nowhere, also when Python ends."""
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
    except (OSError, ValueError):  # no file behind it
        pass


class Lasting:
    """A stream that never fails: once it takes no more (closed, full), the rest is dropped."""

    def __init__(self, stream: TextIO, lost: Callable[[str], None]) -> None:
        self._stream, self._lost, self._failed = stream, lost, False

    def write(self, text: str) -> int:
        if not self._failed:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Nothing is left to be written."""

    def _fail(self, error: Exception) -> None:
        self._failed = True
        drop(self._stream)
        self._lost(str(getattr(error, "strerror", None) or error))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """While entered, neither stdout nor stderr can end the work by failing."""
    out, err = sys.stdout, sys.stderr

    def lost(why: str) -> None:
        sys.stderr.write(f"standard output takes no more ({why}): the work goes on\n")

    sys.stderr = cast(TextIO, Lasting(err, lambda why: None))
    sys.stdout = cast(TextIO, Lasting(out, lost))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def colorful(stream: TextIO) -> bool:
    """Whether to colour: a terminal, and nobody said no (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
