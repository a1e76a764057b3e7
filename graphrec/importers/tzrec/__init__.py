"""Recipes from configs of another system: TorchEasyRec's protobuf text format.

    textproto   text -> messages with places
    section     typed access, and a record of what nobody asked for
    feature_configs, feature_draft, source_columns, table_settings, number_settings,
    vocabulary_lists, shared_tables   features
    feature_groups, histories   what models read
    builder, activation_names, rank_models, multitask_models, task_towers   the model
    train_config, optimizer_configs   how it is trained
    convert     all of it together
    merge_families, emit   the recipe as a person would write it

Facts about the format come from its public description; whatever has no counterpart is told with
its line. Wide tables: where only their sum is read (Wide & Deep, DeepFM) they become `.linear` of
width 1, the same functions; where their fields are read (xDeepFM) they are features of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from graphrec.errors import Problem, RecipeError, Span
from graphrec.importers.tzrec.convert import convert
from graphrec.importers.tzrec.emit import recipe_text
from graphrec.importers.tzrec.section import Notes, Section
from graphrec.importers.tzrec.textproto import parse_textproto
from graphrec.recipe.foreign import foreign_tool, importable

__all__ = ["Imported", "import_config"]

_LARGEST = 16 * 1024 * 1024


@dataclass(frozen=True)
class Imported:
    """A recipe's text, and what the import has to tell (warnings with lines of the config).

    `files` are the texts of the vocabulary files that the recipe names, to lie beside it.
    """

    text: str
    problems: tuple[Problem, ...]
    files: Mapping[str, str] = field(default_factory=dict)


def import_config(path: str | os.PathLike[str], schema: str = "recipe.schema.json") -> Imported:
    """The recipe that a TorchEasyRec config means; `schema` goes into the editor's line.

    Raises RecipeError where the text can't be read (GR130), or means no model that can be
    imported (GR131).
    """
    file = os.fspath(path)
    notes = Notes()
    text = _read(file)
    _refuse_others(text, file)
    config = Section(parse_textproto(text, file), "", notes)
    made = convert(config, file, notes)
    text = recipe_text(made, Path(file).name, notes.lines(), schema)
    files = {name: lines for name, lines in notes.files.items() if f"file({name})" in text}
    return Imported(text, notes.problems(), files)


def _refuse_others(text: str, file: str) -> None:
    """Name what is a file of another tool, before it is read as protobuf text."""
    tool = foreign_tool(text)
    if not tool or importable(tool):
        return
    what = f"this is a config of {tool}: what is imported are those of TorchEasyRec"
    mend = "write the recipe by hand: `graphrec recipes` lists models to start from"
    if tool == "graphrec":
        what, mend = "this is a recipe already", f"graphrec check {file}"
    raise RecipeError(Problem("GR131", what, Span(file, 1, 1), help=mend))


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
