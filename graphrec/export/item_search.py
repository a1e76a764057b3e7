"""The best items for the rows of files: a row for each of them, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from graphrec.blocks.library import BUILTIN, Library
from graphrec.data import Items, open_files
from graphrec.export.item_index import (
    HNSW,
    ItemIndex,
    Settings,
    found_share,
    need_faiss,
    need_retriever,
)
from graphrec.ground.errors import CheckpointError, Problem
from graphrec.recipe.training import Device
from graphrec.train.evaluate_run import Trained, load_run

__all__ = ["Indexed", "Search", "index_run", "search"]

_QUERIES, _ROWS = 1000, 4096


@dataclass(frozen=True)
class Indexed:
    """What an index is made of: items, their width, and the share it finds of an exact search."""

    folder: Path
    items: int
    width: int
    recall: dict[str, float]
    queries: str


def index_run(
    run: str,
    folder: str | None = None,
    *,
    items: str | None = None,
    exact: bool = False,
    settings: Settings | None = None,
    checkpoint: str | None = None,
    library: Library = BUILTIN,
    device: Device = "auto",
) -> Indexed:
    """Write the items of a run and an index over them (into RUN/index unless said).

    `items` are other files than the recipe's. With `exact` there is no index but the vectors. What
    it finds is measured with rows of the evaluation data; without any with the items themselves.
    """
    if not exact:
        need_faiss()
    trained = load_run(run, checkpoint, library=library, device=device)
    need_retriever(trained)
    table = trained.items(items)
    assert table is not None
    index = ItemIndex.of_run(trained, table)
    query, told = _queries(trained, index)
    recall = {}
    if not exact:
        index.graph = HNSW.build(index.vectors.numpy(), settings or Settings())
        cuts = [k for k in (10, 100) if k < len(table)] or [len(table)]
        recall = {str(k): found_share(index, query, k) for k in cuts}
    place = Path(folder) if folder else Path(run) / "index"
    index.write(place, trained, recall)
    return Indexed(place, len(table), index.vectors.shape[1], recall, told)


@dataclass(frozen=True)
class Search:
    """What to search for: rows of these files, in the items of a run."""

    run: str
    data: tuple[str, ...]
    k: int = 100
    keep: tuple[str, ...] = ()
    index: str | None = None
    items: str | None = None
    exact: bool = False
    checkpoint: str | None = None
    device: Device = "auto"


def search(job: Search, library: Library = BUILTIN) -> Iterator[Any]:
    """Arrow tables, one a chunk of rows: `row` from 1, the kept columns, `rank`, key, `score`.

    Items of a row's histories of `seen` are none of its results. Raises DataError for bad rows and
    CheckpointError for an index that is not of the run's weights.
    """
    trained = load_run(job.run, job.checkpoint, library=library, device=job.device)
    need_retriever(trained)
    retrieval = trained.recipe.retrieval
    assert retrieval is not None
    index, items = _searched(job, trained)
    reader = trained.encoder.only(_query_columns(trained), served=False)
    uses = {**dict.fromkeys(job.keep, "--keep"), **reader.plan.uses}
    source = open_files(trained.recipe, job.data, columns=replace(reader.plan, uses=uses))
    number = 0
    for unit in source.units():
        for raw in source.read(unit, rows=_ROWS):
            chunk, _, kept = reader.encode_kept(raw)
            rows = raw.table if kept is None else raw.table.take(pa.array(kept))
            hidden = items.seen(chunk.features) if items is not None else None
            scores, places = index.best(
                _encoded(trained, chunk.batch()),
                min(job.k, len(index.vectors)),
                torch.empty(0, 2, dtype=torch.int64)
                if hidden is None
                else torch.from_numpy(hidden),
            )
            yield _answers(rows, number, job.keep, retrieval.candidates.key, index, scores, places)
            number += chunk.num_rows


def _searched(job: Search, trained: Trained) -> tuple[ItemIndex, Items | None]:
    """What is searched, and the items themselves where histories have to be looked up."""
    folder = Path(job.index) if job.index else Path(job.run) / "index"
    given = job.index is not None or (folder / "index.json").is_file()
    items = None
    if not given or (trained.recipe.retrieval and trained.recipe.retrieval.seen):
        items = trained.items(job.items)
    if given:
        return ItemIndex.read(folder, trained, exact=job.exact), items
    if not job.exact:
        raise _no_index(folder)
    assert items is not None
    return ItemIndex.of_run(trained, items), items


def _no_index(folder: Path) -> CheckpointError:
    what = f"no index in {folder}"
    help = "make one: graphrec index RUN; or search exactly, without an index: --exact"
    return CheckpointError(Problem("GR824", what, help=help))


def _query_columns(trained: Trained) -> set[str]:
    """The columns that queries are made of, and the histories whose items are no results."""
    plan = trained.encoder.plan
    return {entry.key for entry in plan.fields} | {cross.key for cross in plan.crosses}


def _queries(trained: Trained, index: ItemIndex) -> tuple[Tensor, str]:
    """Vectors to try an index with, and what they are of."""
    source = trained.evaluation_rows()
    if source is None:
        return index.vectors[:_QUERIES], "items"
    reader = trained.encoder.only(_query_columns(trained), served=False)
    parts, rows = [], 0
    for unit in source.units():
        for raw in source.read(unit, list(reader.plan.columns), rows=_QUERIES):
            chunk, _ = reader.encode_raw(raw)
            parts.append(_encoded(trained, chunk.batch()))
            rows += chunk.num_rows
            if rows >= _QUERIES:
                return torch.cat(parts)[:_QUERIES], "rows of the evaluation data"
    return torch.cat(parts), "rows of the evaluation data"


def _encoded(trained: Trained, batch: Any) -> Tensor:
    with torch.inference_mode():
        vectors: Tensor = trained.module.encode_query(batch.to(trained.device))  # type: ignore[operator]
    return vectors.float().cpu()


def _answers(
    rows: Any,
    before: int,
    keep: Sequence[str],
    key: str,
    index: ItemIndex,
    scores: Tensor,
    places: Tensor,
) -> Any:
    """A row for every item found."""
    there = (scores > -torch.inf).nonzero()
    row, rank = there[:, 0], there[:, 1]
    columns = {"row": pa.array((row + before + 1).numpy())}
    columns |= {name: rows.column(name).take(pa.array(row.numpy())) for name in keep}
    columns["rank"] = pa.array((rank + 1).numpy())
    columns[key] = index.keys.take(pa.array(places[row, rank].numpy()))
    columns["score"] = pa.array(scores[row, rank].numpy())
    return pa.table(columns)
