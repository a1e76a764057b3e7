"""How well retrievers find: leave-last-out on MovieLens-100K and KuaiRand, beside simple baselines.

    python bench/retrieval.py SHARED [--seeds 3]

`SHARED/data` holds ml100k and kuairand. Of every user's wanted rows (liked films, long views) the
last is to be found, what comes after it is left out, all wanted rows before it train. All items
are candidates; those in the user's `seen` history are left out for every method alike.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from graphrec.compiler.pipeline import compile_recipe
from graphrec.train import train

CUTS = (10, 50)


@dataclass(frozen=True)
class Set:
    """A data set: its columns, and what a recipe says of it."""

    name: str
    key: str
    wanted: str
    history: str
    time: str
    items: tuple[str, ...]
    features: str
    epochs: int


MOVIES = Set(
    "ml100k",
    "movie_id",
    "like",
    "hist_liked",
    "ts",
    ("year", "genres"),
    """
  - {type: id, side: user, group: user, vocab: fit, names: [user_id, gender, occupation]}
  - {type: bucket, side: user, group: user, names: age, edges: quantile(10)}
  - {type: id, side: item, group: item, vocab: fit, names: [movie_id, year]}
  - {type: id, side: item, group: item, vocab: fit, names: genres, pool: mean}
  - {type: sequence, side: user, name: past, of: [movie_id], column: hist_liked, max_len: 30}
""",
    12,
)
VIDEOS = Set(
    "kuairand",
    "video_id",
    "long_view",
    "hist_long_view",
    "time_ms",
    ("author_id", "tags"),
    """
  - {type: id, side: user, group: user, vocab: fit, names: [user_id, user_active_degree]}
  - {type: id, side: item, group: item, vocab: fit, names: [video_id, author_id]}
  - {type: id, side: item, group: item, vocab: fit, names: tags, pool: mean}
  - {type: sequence, side: user, name: past, of: [video_id], column: hist_long_view, max_len: 30}
""",
    12,
)
HEAD = """\
graphrec: 1
name: {name}
data: {{train: train.parquet, eval: valid.parquet, workers: 0}}
defaults: {{feature: {{dim: 32}}}}
features:{features}
retrieval:
  query: query
  item: item_vector
  seen: past
  metrics: [recall(10), recall(50), ndcg(10)]
{retrieval}
train: {{epochs: {epochs}, batch: 512, lr: {{dense: 1e-3, sparse: 0.05}}}}
graph:
  item_vector: {{block: mlp, in: item, hidden: [64], out: 32}}
{graph}"""
DRAWN = (
    "  candidates: {{from: items.parquet, key: {key}, sample: 512, by: {by}, in_batch: {batch}}}\n"
)
COSINE = "  similarity: cosine\n  loss: {{sampled_softmax: {{temperature: 0.07, {more}}}}}"
JOIN = "  query: {block: mlp, in: [user, history], hidden: [64], out: 32}\n"
MODELS: dict[str, tuple[str, str]] = {
    "DSSM": (
        DRAWN.replace("{by}", "uniform").replace("{batch}", "false")
        + COSINE.replace("{more}", "logq: false"),
        "  history: {block: pooling, in: past}\n" + JOIN,
    ),
    "two towers, in-batch, logQ": (
        DRAWN.replace("{by}", "frequency").replace("{batch}", "true")
        + COSINE.replace("{more}", "logq: true"),
        "  history: {block: pooling, in: past}\n" + JOIN,
    ),
    "MIND": (
        DRAWN.replace("{by}", "uniform").replace("{batch}", "false")
        + COSINE.replace("{more}", "logq: false, power: 10"),
        "  several: {block: interests, in: past, number: 4, width: 32}\n"
        "  joined: concat(several, spread(user, several))\n"
        "  query: {block: mlp, in: joined, hidden: [64], out: 32}\n",
    ),
    "SASRec-like": (
        DRAWN.replace("{by}", "uniform").replace("{batch}", "false")
        + COSINE.replace("{more}", "logq: false"),
        "  states: {block: self_attention, in: past, width: 32, heads: 2, positions: 30, "
        "skip: true, norm: true, pool: none}\n"
        "  fed: {block: mlp, in: states, hidden: [64], out: 32, residual: true}\n"
        "  history: {block: pooling, in: fed, mode: last}\n" + JOIN,
    ),
    "HSTU": (
        DRAWN.replace("{by}", "uniform").replace("{batch}", "false")
        + COSINE.replace("{more}", "logq: false"),
        "  history: {block: hstu, in: past.keys, layers: 2, heads: 2, head_width: 16, max_len: 30, "
        "positions: 30}\n" + JOIN,
    ),
}


class Quiet:
    """A console that says nothing."""

    quiet = True

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


def prepared(data: Set, shared: Path, folder: Path, behind: int) -> None:
    """Write train, valid and items; first the last `behind` wanted rows of users are left out."""
    parts = [
        pq.read_table(shared / "data" / data.name / f"{p}.parquet") for p in ("train", "valid")
    ]
    whole = pa.concat_tables(parts)
    whole = whole.filter(pa.array(whole[data.wanted].to_numpy() > 0))
    whole = whole.sort_by([("user_id", "ascending"), (data.time, "ascending")])
    users = whole["user_id"].to_numpy()
    for _ in range(behind):
        whole = whole.filter(pa.array(np.append(users[1:] == users[:-1], False)))
        users = whole["user_id"].to_numpy()
    last = np.append(users[1:] != users[:-1], True)
    keys = whole[data.key].to_numpy()
    again = np.array(
        [keys[i] in (whole[data.history][i].as_py() or ()) for i in np.flatnonzero(last)]
    )
    held = np.flatnonzero(last)[~again]  # what was seen already is no discovery
    everything = pa.concat_tables(parts)
    _, first = np.unique(everything[data.key].to_numpy(), return_index=True)
    pq.write_table(whole.filter(pa.array(~last)), folder / "train.parquet")
    pq.write_table(whole.take(pa.array(held)), folder / "valid.parquet")
    items = everything.take(pa.array(first)).select([data.key, *data.items])
    pq.write_table(items, folder / "items.parquet")


def measured(scores: np.ndarray, own: int, seen: list[int]) -> tuple[float, ...]:
    """recall at every cut, then ndcg(10), of one row by its scores of all items."""
    scores = scores.copy()
    scores[[place for place in seen if place != own]] = -np.inf
    rank = 1 + int((scores >= scores[own]).sum()) - 1
    gain = 1 / np.log2(1 + rank) if rank <= 10 else 0.0
    return (*(float(rank <= cut) for cut in CUTS), gain)


def baselines(data: Set, folder: Path) -> dict[str, np.ndarray]:
    """Most popular, and item-kNN: cosine of co-occurrence with the history, 100 neighbours."""
    train_rows, valid, items = (
        pq.read_table(folder / f"{part}.parquet") for part in ("train", "valid", "items")
    )
    place = {key: i for i, key in enumerate(items[data.key].to_pylist())}
    counts = np.zeros(len(place))
    for key, number in Counter(train_rows[data.key].to_pylist()).items():
        counts[place[key]] = number
    users = {user: i for i, user in enumerate(sorted(set(train_rows["user_id"].to_pylist())))}
    seen = np.zeros((len(users), len(place)), np.float32)
    pairs = zip(train_rows["user_id"].to_pylist(), train_rows[data.key].to_pylist(), strict=True)
    for user, key in pairs:
        seen[users[user], place[key]] = 1
    near = seen.T @ seen
    norm = np.sqrt(np.maximum(np.diag(near), 1))
    near /= norm[:, None] * norm[None]
    np.fill_diagonal(near, 0)
    least = np.partition(near, -100, axis=1)[:, -100][:, None]
    near[near < least] = 0
    found: dict[str, list[tuple[float, ...]]] = {"most popular": [], "item-kNN": []}
    for row in valid.select([data.key, data.history]).to_pylist():
        history = [place[key] for key in (row[data.history] or [])[-30:] if key in place]
        own = place[row[data.key]]
        found["most popular"].append(measured(counts, own, history))
        # ties of rare items go by how popular they are
        found["item-kNN"].append(measured(near[history].sum(0) + 1e-9 * counts, own, history))
    return {name: np.mean(rows, axis=0) for name, rows in found.items()}


def of_models(data: Set, folder: Path, seeds: int, only: list[str]) -> dict[str, np.ndarray]:
    """Scores [seeds, metrics] of every model after its last epoch: none is chosen by its score."""
    table = {}
    for name, (retrieval, graph) in MODELS.items():
        if only and name not in only:
            continue
        scores = []
        for seed in range(seeds):
            words = "".join(c if c.isalnum() else "_" for c in name.lower())
            text = HEAD.format(
                name=words,
                features=data.features.rstrip(),
                retrieval=retrieval.format(key=data.key),
                epochs=data.epochs,
                graph=graph,
            )
            path = folder / f"{words}.yaml"
            path.write_text(text)
            compiled = compile_recipe(path, overrides=[f"train.seed={seed}"])
            run = train(compiled, console=Quiet(), run_dir=folder / f"{words}-{seed}")
            evaluated = [r for r in run.records if r["kind"] == "eval"]
            best = evaluated[-1]
            keys = ("recall(10)", "recall(50)", "ndcg(10)")
            scores.append([best[f"retrieval.{key}"] for key in keys])
            course = [round(r["retrieval.recall(10)"], 3) for r in evaluated]
            print(f"  {name} seed {seed}: {scores[-1]}, recall(10) by epoch {course}", flush=True)
        table[name] = np.array(scores)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("shared", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--behind", type=int, default=0, help="1: settings were chosen by this")
    parser.add_argument("--sets", nargs="*", default=["ml100k", "kuairand"])
    parser.add_argument("--models", nargs="*", default=[])
    args = parser.parse_args()
    for data in (MOVIES, VIDEOS):
        if data.name not in args.sets:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepared(data, args.shared, folder, args.behind)
            parts = ("train", "valid", "items")
            counts = [pq.read_metadata(folder / f"{part}.parquet").num_rows for part in parts]
            told = ", ".join(f"{n:,} {part}" for n, part in zip(counts, parts, strict=True))
            print(f"\n{data.name}, rows: {told}\n")
            lines = ["| | recall@10 | recall@50 | ndcg@10 |", "|---|---|---|---|"]
            for label, means in baselines(data, folder).items():
                lines.append(f"| {label} | " + " | ".join(f"{x:.3f}" for x in means) + " |")
            for label, scores in of_models(data, folder, args.seeds, args.models).items():
                cells = [
                    f"{m:.3f} ± {s:.3f}" for m, s in zip(scores.mean(0), scores.std(0), strict=True)
                ]
                lines.append(f"| {label} | " + " | ".join(cells) + " |")
            print("\n" + "\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
