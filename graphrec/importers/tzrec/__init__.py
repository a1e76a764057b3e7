"""Recipes from configs of another system: TorchEasyRec's protobuf text format.

    textproto   text -> messages with places
    section     typed access, and a record of what nobody asked for
    columns, features, histories, groups   features and feature groups
    builder, rank, multitask, tasks, training, optimizers   the model and how it is trained
    convert     all of it together
    families, emit   the recipe as a person would write it

Facts about the format come from its public description; whatever has no counterpart is told with
its line. Wide tables: where only their sum is read (Wide & Deep, DeepFM) they become `.linear` of
width 1, the same functions; where their fields are read (xDeepFM) they are features of their own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from graphrec.errors import Problem, RecipeError
from graphrec.importers.tzrec.convert import convert
from graphrec.importers.tzrec.emit import recipe_text
from graphrec.importers.tzrec.section import Notes, Section
from graphrec.importers.tzrec.textproto import parse_textproto

__all__ = ["Imported", "import_config"]

_LARGEST = 16 * 1024 * 1024


@dataclass(frozen=True)
class Imported:
    """A recipe's text, and what the import has to tell (warnings with lines of the config)."""

    text: str
    problems: tuple[Problem, ...]


def import_config(path: str | os.PathLike[str], schema: str = "recipe.schema.json") -> Imported:
    """The recipe that a TorchEasyRec config means; `schema` goes into the editor's line.

    Raises RecipeError where the text can't be read (GR130), or means no model that can be
    imported (GR131).
    """
    file = os.fspath(path)
    notes = Notes()
    config = Section(parse_textproto(_read(file), file), "", notes)
    made = convert(config, file, notes)
    text = recipe_text(made, Path(file).name, notes.lines(), schema)
    return Imported(text, notes.problems())


def _read(file: str) -> str:
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        what = f"can't read {file!r}: {error.strerror or error}"
        raise RecipeError(Problem("GR120", what)) from None
    if len(data) > _LARGEST:
        raise RecipeError(Problem("GR106", f"{file}: more than 16 MiB of text"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RecipeError(Problem("GR107", f"{file}: line {line} is not UTF-8 text")) from None
