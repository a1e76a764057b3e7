"""A config of another system -> the text of a recipe, whichever system it is."""

from __future__ import annotations

import os

from graphrec.ground.errors import Problem, RecipeError, Span
from graphrec.ground.text import open_regular
from graphrec.importers.easyrec import is_easyrec, translated
from graphrec.importers.tzrec import Imported, recipe_of
from graphrec.importers.tzrec.section import Notes
from graphrec.importers.tzrec.textproto import parse_textproto
from graphrec.recipe.foreign import foreign_tool, importable

__all__ = ["import_config"]

_LARGEST = 16 * 1024 * 1024


def import_config(path: str | os.PathLike[str], schema: str = "recipe.schema.json") -> Imported:
    """The recipe that a config of TorchEasyRec or EasyRec means.

    `schema` goes into the editor's line. Raises RecipeError where the text can't be read (GR130),
    or means no model that can be imported (GR131).
    """
    file = os.fspath(path)
    notes = Notes()
    text = _read(file)
    _refuse_others(text, file)
    config = parse_textproto(text, file)
    if is_easyrec(config):
        return recipe_of(translated(config, notes), file, "EasyRec", notes, schema)
    return recipe_of(config, file, "TorchEasyRec", notes, schema)


def _refuse_others(text: str, file: str) -> None:
    """Name what is a file of another tool, before it is read as protobuf text."""
    tool = foreign_tool(text)
    if not tool or importable(tool):
        return
    what = f"this is a config of {tool}; those of TorchEasyRec and EasyRec are imported"
    mend = "write the recipe by hand: `graphrec recipes` lists models to start from"
    if tool == "graphrec":
        what, mend = "this is a recipe already", f"graphrec check {file}"
    raise RecipeError(Problem("GR131", what, Span(file, 1, 1), help=mend))


def _read(file: str) -> str:
    try:
        with open_regular(file) as stream:
            data = stream.read(_LARGEST + 1)
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
