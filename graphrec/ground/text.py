"""Text for people: aligned columns, numbers in three digits; and files, read and written whole."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

__all__ = ["aligned", "count", "memory", "open_regular", "write_text"]


def aligned(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """The rows under each other, two spaces between columns; columns in `right` end flush.

    >>> print(aligned([["mask", "9"], ["experts", "120"]], right=frozenset({1})))
    mask       9
    experts  120
    """
    number = max((len(row) for row in rows), default=0)
    full = [[*row, *[""] * (number - len(row))] for row in rows]
    widths = [max(len(row[column]) for row in full) for column in range(number)]
    lines = []
    for row in full:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def count(number: int) -> str:
    """A number for people, three digits of it.

    >>> count(999), count(1234), count(25_600_000)
    ('999', '1.23 k', '25.6 M')
    """
    return _scaled(number, 1000, ("", "k", "M", "G", "T", "P"))


def memory(number: int) -> str:
    """Bytes for people.

    >>> memory(512), memory(1_610_612_736)
    ('512 B', '1.5 GiB')
    """
    return _scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(number: int, base: int, units: Sequence[str]) -> str:
    value, step = float(number), 0
    while value >= base and step < len(units) - 1:
        value, step = value / base, step + 1
    digits = f"{value:.0f}" if value >= 100 or step == 0 else f"{value:.3g}"
    return f"{digits} {units[step]}".strip()


def open_regular(path: str | Path) -> BufferedReader:
    """A file to read bytes of; OSError for pipes, which may keep a reader for ever, and devices.

    Streams that this process has open (/dev/stdin, the /dev/fd/63 of a shell) are read.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not str(path).startswith(("/dev/stdin", "/dev/fd/")):
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
    return open(path, "rb")


def write_text(path: str | Path, text: str) -> Path:
    """Write a whole file, on the disk, or nothing: a reader never sees half of it.

    Many processes may write the same file at once. OSError names the path that was given.
    """
    target = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", text=True)
    except OSError as error:  # of a name that nobody gave
        raise OSError(error.errno, error.strerror, str(path)) from None
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return target
