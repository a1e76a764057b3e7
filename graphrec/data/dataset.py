"""A recipe's data: the rows to train on and to evaluate on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from graphrec.data.faults import bad_data
from graphrec.data.files import find_files, fingerprint
from graphrec.data.filesource import FileSource, drawn, split
from graphrec.data.partitions import partitions_of
from graphrec.data.plan import Plan, item_plan, row_plan
from graphrec.data.source import Source
from graphrec.recipe.calls import parse_call
from graphrec.recipe.model import Recipe
from graphrec.recipe.training import Split

__all__ = ["DataSet", "open_data", "open_files", "open_items"]


@dataclass(frozen=True)
class DataSet:
    """What `open_data` found; `eval` is None where the recipe names no evaluation data.

    `items` are those that a retriever searches, None for other recipes.
    """

    train: Source
    eval: Source | None
    fingerprint: str
    items: Source | None = None


def open_data(recipe: Recipe, base_dir: Path | None = None) -> DataSet:
    """Find and check the data of a recipe: files, or a generator for `data.synthetic`.

    Relative globs (a recipe that was read has none) start at `base_dir`, else at the working
    directory. Raises DataError with every missing file and column.
    """
    rows = _open_rows(recipe, base_dir)
    if recipe.retrieval is None:
        return rows
    items = rows.items or open_items(recipe, base_dir)
    parts = [rows.fingerprint, items.fingerprint]
    if recipe.retrieval.candidates.hard is not None:
        parts.append(
            fingerprint(find_files((recipe.retrieval.candidates.hard,), base_dir or Path()))
        )
    return replace(
        rows, items=items, fingerprint=hashlib.sha256(" ".join(parts).encode()).hexdigest()
    )


def open_items(recipe: Recipe, base_dir: Path | None = None, globs: str | None = None) -> Source:
    """The items that a retriever searches: those of its recipe, or of other files."""
    assert recipe.retrieval is not None
    if globs is None and recipe.data.synthetic is not None:
        rows = _open_rows(recipe, base_dir).items
        assert rows is not None
        return rows
    files = (globs or recipe.retrieval.candidates.source,)
    return open_files(recipe, files, base_dir, item_plan(recipe))


def _open_rows(recipe: Recipe, base_dir: Path | None) -> DataSet:
    data = recipe.data
    if data.synthetic is not None:
        from graphrec.data.synthetic import SyntheticSource

        generator = SyntheticSource(recipe, data.synthetic)
        items = None if recipe.retrieval is None else generator.items()
        return DataSet(generator, generator.held_out, generator.fingerprint, items)
    if not data.train:
        raise bad_data(
            "GR701",
            "the recipe names no training data",
            "-o data.train=FILES.parquet, or try it on generated rows: -o data.synthetic=200_000",
        )
    train = open_files(recipe, data.train, base_dir)
    if data.split is not None:
        if data.eval:
            raise bad_data("GR710", "data.split and data.eval are both given", "keep one of them")
        return DataSet(*_parts(train, data.split), train.fingerprint)
    if not data.eval:
        return DataSet(train, None, train.fingerprint)
    evaluation = open_files(recipe, data.eval, base_dir)
    if data.overlap == "refuse" and data.train != data.eval:
        _refuse_overlap(train, evaluation)
    return DataSet(train, evaluation, train.fingerprint)


def _refuse_overlap(train: FileSource, evaluation: FileSource) -> None:
    """A glob of training files that takes evaluation files in flatters every number."""
    known = {path.resolve() for path in train.paths}
    shared = [path for path in evaluation.paths if path.resolve() in known]
    if not shared:
        return
    names = ", ".join(map(_placed, shared[:3])) + (" and more" if len(shared) > 3 else "")
    raise bad_data(
        "GR710",
        f"data.train and data.eval both take {names}: the model would be scored on rows that it"
        " was trained on",
        "name other files, or, if it is meant so: data.overlap: allow",
    )


def _placed(path: Path) -> str:
    values = ", ".join(f"{name}={value}" for name, value in partitions_of(path).items())
    return f"{path} (partition {values})" if values else str(path)


def _parts(source: FileSource, rule: Split) -> tuple[FileSource, FileSource]:
    if rule.random is not None:
        return drawn(source, rule.random, rule.by)
    return split(source, rule.by or "", _held_out(rule.eval or ""))


def _held_out(text: str) -> int:
    call = parse_call(text)
    number = (
        call.args[0] if call.name == "last" and len(call.args) == 1 and not call.kwargs else None
    )
    if type(number) is not int or number < 1:
        raise bad_data(
            "GR710", f"data.split.eval: {text} is not last(N)", "last(1): the newest value"
        )
    return number


def open_files(
    recipe: Recipe,
    globs: tuple[str, ...],
    base_dir: Path | None = None,
    columns: Plan | None = None,
) -> FileSource:
    """A source over the files of some globs, for the recipe's columns or those of another plan."""
    files = find_files(globs, base_dir or Path())
    return FileSource(files, row_plan(recipe) if columns is None else columns, recipe.data)
