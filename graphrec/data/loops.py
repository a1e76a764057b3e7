"""For loops of one's own: an encoder of a recipe, and batches of files or of rows in memory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.data.dataset import open_data, open_files
from graphrec.data.encoder import Encoder
from graphrec.data.loader import Loader
from graphrec.data.memory_tables import NoSource, TableSource, as_table
from graphrec.data.plan import plan
from graphrec.data.source import Source
from graphrec.recipe.model import Recipe

if TYPE_CHECKING:
    from graphrec.nn.batch import Batch

__all__ = ["batches", "fitted", "source_of"]


def source_of(recipe: Recipe, data: Any = None) -> Source:
    """Rows that can be read again and again: files by globs, or rows in memory (see `as_table`).

    Without `data` the recipe's training data is meant. Raises DataError.
    """
    if data is None:
        return open_data(recipe).train
    if isinstance(data, str | Path):
        return open_files(recipe, (str(data),))
    if isinstance(data, list | tuple) and data and all(isinstance(d, str | Path) for d in data):
        return open_files(recipe, tuple(map(str, data)))
    if hasattr(data, "units"):
        given: Source = data
        return given
    needed = plan(recipe)
    return TableSource(as_table(data, needed.columns), needed.uses)


def fitted(recipe: Recipe, data: Any = None) -> Encoder:
    """The encoder of a recipe, fitted to `data` (see `source_of`) if there is anything to learn.

    Raises DataError where there is, and neither `data` nor the recipe names any.
    """
    named = recipe.data.train or recipe.data.synthetic
    return Encoder.fit(
        recipe, NoSource() if data is None and not named else source_of(recipe, data)
    )


def batches(
    encoder: Encoder,
    data: Any = None,
    batch_size: int | None = None,
    *,
    shuffle: bool = False,
    seed: int = 0,
) -> Generator[Batch, None, None]:
    """One pass over `data` (see `source_of`) in batches, for a loop of one's own.

    `batch_size` is the recipe's `train.batch` unless given; with `shuffle` rows are mixed, in
    another order for every `seed`. Raises DataError.
    """
    recipe = encoder.recipe
    rows = recipe.train.batch if batch_size is None else batch_size
    source = source_of(recipe, data)
    return Loader(recipe, encoder, source, rows, shuffle=shuffle, seed=seed).epoch(0)
