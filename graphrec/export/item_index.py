"""The items of a retriever as files: their vectors, and an index that finds the nearest ones.

    items.parquet   the key and the vector of every item
    vectors.npy     the same vectors, float32 [N, D], for any program
    hnsw.faiss      a graph over them (Malkov and Yashunin, HNSW, 2018), by faiss
    index.json      of which run they are, and how much of an exact search the index finds

faiss, because its wheels are kept for every Python, it needs numpy alone, and it holds inner
products as they are: the vectors need no length of one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from graphrec.data import Items
from graphrec.ground.errors import CheckpointError, EnvironmentFault, Problem, RecipeError
from graphrec.ground.text import write_text
from graphrec.train.evaluate_run import Trained
from graphrec.train.exact_search import best
from graphrec.train.retrieval_scores import item_vectors

__all__ = ["HNSW", "ItemIndex", "Settings", "found_share", "need_faiss", "need_retriever"]

_FORMAT = 1
_FILES = ("items.parquet", "vectors.npy", "hnsw.faiss", "index.json")


@dataclass(frozen=True)
class Settings:
    """Of the graph: links of an item, and how many are looked at to add and to find one."""

    links: int = 32
    add: int = 128
    find: int = 256


class HNSW:
    """A graph over vectors that finds those of the largest inner products, nearly always."""

    def __init__(self, graph: Any, settings: Settings) -> None:
        self._graph, self.settings = graph, settings

    @classmethod
    def build(cls, vectors: np.ndarray[Any, Any], settings: Settings) -> HNSW:
        """Over vectors [N, D]; on one thread, so that the same vectors give the same graph."""
        faiss = need_faiss()
        graph = faiss.IndexHNSWFlat(vectors.shape[1], settings.links, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = settings.add
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            graph.add(np.ascontiguousarray(vectors, np.float32))
        finally:
            faiss.omp_set_num_threads(threads)
        return cls(graph, settings)

    @classmethod
    def read(cls, path: Path, settings: Settings) -> HNSW:
        """What `write` wrote."""
        return cls(need_faiss().read_index(str(path)), settings)

    def write(self, path: Path) -> None:
        """As one file of faiss's own form."""
        need_faiss().write_index(self._graph, str(path))

    def best(self, query: Tensor, k: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and places [B, k] of the items found, the best first; as `exact_search.best`.

        Where less than k are found, the rest has score -inf and place 0.
        """
        rows, interests = len(query), query.shape[1] if query.dim() == 3 else 1
        most = int(torch.bincount(hidden[:, 0], minlength=1).max()) if len(hidden) else 0
        wanted = min(k + most, int(self._graph.ntotal))
        self._graph.hnsw.efSearch = max(self.settings.find, wanted)
        flat = np.ascontiguousarray(query.reshape(rows * interests, -1).numpy(), np.float32)
        scores, places = map(torch.from_numpy, self._graph.search(flat, wanted))
        scores, places = scores.view(rows, -1), places.view(rows, -1)
        scores = scores.masked_fill(places < 0, -torch.inf)
        # an item that several interests find counts once, by its best score
        order = scores.argsort(dim=1, descending=True, stable=True)
        scores, places = scores.gather(1, order), places.gather(1, order).clamp(min=0)
        scores = scores.masked_fill(_again(places) | _among(places, hidden), -torch.inf)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
        return scores.gather(1, order), places.gather(1, order)


class ItemIndex:
    """A run's items with their vectors, and how they are searched: exactly, or by a graph."""

    def __init__(self, keys: Any, vectors: Tensor, graph: HNSW | None = None) -> None:
        self.keys, self.vectors, self.graph = keys, vectors, graph

    @classmethod
    def of_run(cls, trained: Trained, items: Items) -> ItemIndex:
        """The items as the run's checkpoint sees them, without a graph."""
        return cls(items.keys, item_vectors(trained.module, items, trained.device))

    @classmethod
    def read(cls, folder: Path, trained: Trained, *, exact: bool = False) -> ItemIndex:
        """What `write` wrote, for the same weights; with `exact` without its graph.

        Raises CheckpointError (GR824) for files that are not there, damaged, or of other weights.
        """
        try:
            facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            if facts["format"] != _FORMAT:
                raise ValueError(f"format {facts['format']}, understood here: {_FORMAT}")
            if facts["weights"] != weights_of(trained):
                raise _unusable(folder, "it is of other weights than those of the run")
            keys = pq.read_table(folder / "items.parquet", columns=[facts["key"]]).column(0)
            vectors = torch.from_numpy(np.load(folder / "vectors.npy", allow_pickle=False))
            if list(vectors.shape) != [facts["items"], facts["width"]] != [len(keys), -1]:
                raise ValueError("files do not belong together")
            graph = None
            if facts["graph"] is not None and not exact:
                graph = HNSW.read(folder / "hnsw.faiss", Settings(**facts["graph"]))
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, pa.ArrowException) as fault:
            if isinstance(fault, CheckpointError | EnvironmentFault):
                raise
            raise _unusable(folder, " ".join(str(fault).split())[:200]) from None
        return cls(keys.combine_chunks(), vectors, graph)

    def write(self, folder: Path, trained: Trained, recall: dict[str, float]) -> None:
        """Write all files; the description last, so that what is not whole is not taken for one."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        retrieval = trained.recipe.retrieval
        assert retrieval is not None
        vectors, key = self.vectors.numpy(), retrieval.candidates.key
        listed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        pq.write_table(pa.table({key: self.keys, "vector": listed}), folder / "items.parquet")
        np.save(folder / "vectors.npy", vectors, allow_pickle=False)
        if self.graph is not None:
            self.graph.write(folder / "hnsw.faiss")
        facts = {
            "format": _FORMAT,
            "run": trained.recipe.name,
            "step": trained.checkpoint.position.step,
            "weights": weights_of(trained),
            "key": key,
            "items": len(vectors),
            "width": vectors.shape[1],
            "similarity": retrieval.similarity,
            "graph": None if self.graph is None else vars(self.graph.settings),
            "recall": recall,
        }
        write_text(folder / "index.json", json.dumps(facts, indent=2) + "\n")

    def best(self, query: Tensor, k: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and places [B, k] of the best items, by the graph where there is one."""
        if self.graph is not None:
            return self.graph.best(query, k, hidden)
        return best(query, self.vectors, k, hidden)


def found_share(index: ItemIndex, query: Tensor, k: int) -> float:
    """The share of the k best items of an exact search that the index finds, over queries."""
    none = torch.empty(0, 2, dtype=torch.int64)
    _, exact = best(query, index.vectors, k, none)
    scores, places = index.best(query, k, none)
    places = places.masked_fill(scores == -torch.inf, -1)
    return float((exact[:, :, None] == places[:, None, :]).any(2).double().mean())


def weights_of(trained: Trained) -> str:
    """sha256 of the weights that vectors come from."""
    return str(trained.checkpoint.files["model.safetensors"]["sha256"])


def need_retriever(trained: Trained) -> None:
    """RecipeError (GR241) for a run that has no vectors."""
    if trained.recipe.retrieval is None:
        what = f"recipe {trained.recipe.name} has no `retrieval`: it has no vectors to search"
        help = "graphrec predict scores rows, graphrec recipes lists retrievers"
        raise RecipeError([Problem("GR241", what, help=help)])


def need_faiss() -> Any:
    """faiss; EnvironmentFault (GR824) where it is not installed."""
    if find_spec("faiss") is None:
        what = "an index needs faiss, which is not installed"
        help = "pip install 'graphrec[search]'; or search exactly, without an index: --exact"
        raise EnvironmentFault(Problem("GR824", what, help=help))
    import faiss

    return faiss


def _unusable(folder: Path, why: str) -> CheckpointError:
    what = f"the index in {folder} can't be used: {why}"
    return CheckpointError(Problem("GR824", what, help="make it again: graphrec index RUN"))


def _again(places: Tensor) -> Tensor:
    """Which of each row's places stood there before [B, K]."""
    order = places.argsort(dim=1, stable=True)
    ordered = places.gather(1, order)
    again = torch.zeros_like(places, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return torch.zeros_like(again).scatter(1, order, again)


def _among(places: Tensor, hidden: Tensor) -> Tensor:
    """Which places [B, K] are hidden from their row."""
    if not len(hidden):
        return torch.zeros_like(places, dtype=torch.bool)
    base = int(max(places.max(), hidden[:, 1].max())) + 1
    rows = torch.arange(len(places))[:, None]
    return torch.isin(rows * base + places, hidden[:, 0] * base + hidden[:, 1])
