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

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from graphrec.ground.errors import Problem
from graphrec.importers.tzrec.convert import convert
from graphrec.importers.tzrec.emit import recipe_text
from graphrec.importers.tzrec.section import Notes, Section
from graphrec.importers.tzrec.textproto import Message

__all__ = ["Imported", "recipe_of"]


@dataclass(frozen=True)
class Imported:
    """A recipe's text, and what the import has to tell (warnings with lines of the config).

    `files` are the texts of the vocabulary files that the recipe names, to lie beside it.
    """

    text: str
    problems: tuple[Problem, ...]
    files: Mapping[str, str] = field(default_factory=dict)


def recipe_of(config: Message, file: str, system: str, notes: Notes, schema: str) -> Imported:
    """The recipe that a config of `system` means; `schema` goes into the editor's line.

    Raises RecipeError (GR131) where it means no model that can be imported.
    """
    recipe = convert(Section(config, "", notes), file, notes)
    text = recipe_text(recipe, f"{Path(file).name} ({system})", notes.lines(), schema)
    files = {name: lines for name, lines in notes.files.items() if f"file({name})" in text}
    return Imported(text, notes.problems(), files)
