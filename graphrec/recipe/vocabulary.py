"""`vocab: file(path)`: where the file is, whether it may be read, and its values."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from graphrec.ground.errors import Problem
from graphrec.ground.text import open_regular
from graphrec.recipe.calls import Call
from graphrec.recipe.model import CrossFeature, IdFeature, Recipe
from graphrec.recipe.problem_text import Report
from graphrec.recipe.recipe_files import Files, base_folder

__all__ = ["check_vocabularies", "read_vocabulary"]


_LARGEST = 128 << 20
_TOO_LARGE = (
    f"a vocabulary file has at most {_LARGEST >> 20} MiB: `vocab: fit` learns one, `hash(N)` needs "
    "none"
)
_REMEMBERED = 1 << 20


def read_vocabulary(path: str | Path) -> tuple[str, ...]:
    """The values of a vocabulary file: UTF-8, one a line, none of the first million twice.

    Raises ValueError with what is wrong and its line, OSError if the file can't be read.
    """
    return tuple(_values(path))


def _values(path: str | Path) -> Iterator[str]:
    """The values, streamed; the same errors, where they are."""
    seen: dict[str, int] = {}
    number = read = 0
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise ValueError(_TOO_LARGE)
        for line, raw in enumerate(iter(partial(file.readline, _LARGEST), b""), 1):
            read += len(raw)
            if read > _LARGEST:  # a stream has no size
                raise ValueError(_TOO_LARGE)
            try:
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"line {line} is not UTF-8 text") from None
            for value in text.splitlines():
                number += 1
                if value in seen:
                    raise ValueError(f"line {number} repeats {value[:60]!r} of line {seen[value]}")
                if not value:
                    raise ValueError(f"line {number} is empty")
                if len(seen) < _REMEMBERED:
                    seen[value] = number
                yield value
    if not number:
        raise ValueError("the file is empty")


def check_vocabularies(recipe: Recipe, files: Files, report: Report) -> None:
    """Make the paths of `file(...)` vocabularies absolute; report those that can't be used."""
    for name, feature in recipe.features.items():
        if not isinstance(feature, IdFeature | CrossFeature) or feature.vocab.name != "file":
            continue
        path = f"features.{name}.vocab"
        span = recipe.origin.value(path) if recipe.origin else None
        if span is None:
            continue
        text = str(feature.vocab.args[0])
        full = os.path.normpath(os.path.join(base_folder(span), text))
        # what is typed on the command line is the user's own word
        refusal = files.refusal(full) if span.file is not None else None
        if refusal is not None:
            help = (
                f"only files below {files.root!r} are read; --allow-root DIR opens another folder"
            )
            report(Problem("GR121", f"{text!r} {refusal}", span, path, help))
            continue
        try:
            deque(_values(full), maxlen=0)
        except OSError as error:
            report(Problem("GR120", f"can't read {text!r}: {error.strerror or error}", span, path))
        except ValueError as error:
            report(
                Problem("GR120", f"{text!r}: {error}", span, path, "one value a line, each once")
            )
        else:
            vocab = Call("file", (full,))
            recipe.features[name] = feature.model_copy(update={"vocab": vocab})
