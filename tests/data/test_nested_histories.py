"""Histories whose steps are lists: several ids at a step, vectors; from lists and from text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from graphrec.compiler.pipeline import compile_recipe
from graphrec.data import Encoder, Loader, open_data
from graphrec.data.chunk import Chunk
from graphrec.data.source import Raw
from graphrec.ground.errors import DataError
from graphrec.nn.batch import Batch, Jagged

RECIPE = """
graphrec: 1
name: nested
features:
  - {{type: id, names: {{item: 9}}, dim: 2}}
  - {{type: id, names: tags, vocab: {vocab}, dim: 2, pool: mean{inner}}}
  - {{type: dense, names: place, width: 2{inner}}}
  - {{type: sequence, name: seen, of: [item, tags, place], max_len: 3{outer}}}
groups: {{pair: {{query: [item, tags, place], keys: seen}}, rest: [item]}}
graph:
  near: {{block: din, in: pair, hidden: [4]}}
  top: {{block: mlp, in: [rest, near], hidden: [4]}}
tasks: {{click: {{label: click, in: top}}}}
data: {{train: rows.{kind}, workers: 0}}
train: {{steps: 2, batch: 2}}
"""
ROWS = {
    "item": [1, 2, 3],
    "tags": [[1], [], [2, 3]],
    "place": [[0.5, 1.0], [0.0, 0.0], [2.0, 3.0]],
    "seen__item": [[4, 5], [], [1, 2, 3, 6]],
    "seen__tags": [[[7, 8], [1]], [], [[9], [2], [], [3, 4]]],
    "seen__place": [
        [[1.0, 2.0], [3.0, 4.0]],
        [],
        [[9.0, 9.0], [5.0, 6.0], [7.0, 8.0], [1.0, 0.0]],
    ],
    "click": [0, 1, 0],
}


def encoder_of(folder: Path, kind: str = "parquet", vocab: str = "10") -> Encoder:
    seps = {"inner": ', sep: ","', "outer": ', sep: "|"'} if kind == "csv" else {}
    path = folder / "nested.yaml"
    path.write_text(RECIPE.format(kind=kind, vocab=vocab, **{"inner": "", "outer": "", **seps}))
    recipe = compile_recipe(path).recipe
    return Encoder(recipe, Encoder.fit(recipe, None).learned)  # type: ignore[arg-type]


def ids(steps: Jagged) -> list[list[list[int]]]:
    """Ids of the steps of the rows."""
    assert isinstance(steps.values, Jagged)
    inner = [part.tolist() for part in steps.values.values.split(steps.values.lengths.tolist())]
    ends = steps.lengths.cumsum(0).tolist()
    return [inner[end - n : end] for n, end in zip(steps.lengths.tolist(), ends, strict=True)]


def test_ids_and_vectors_of_steps(tmp_path: Path) -> None:
    batch = encoder_of(tmp_path).encode(pa.table(ROWS))
    # the last three steps of the last row
    assert ids(batch.features["seen.tags"]) == [[[7, 8], [1]], [], [[2], [], [3, 4]]]
    place = batch.features["seen.place"]
    assert place.values.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [1, 0]]
    assert place.lengths.tolist() == [2, 0, 3]


def test_text_says_the_same(tmp_path: Path) -> None:
    def text(value: object) -> str:
        parts = value if isinstance(value, list) else [value]
        sep = "|" if parts and isinstance(parts[0], list) else ","
        return sep.join(text(p) if isinstance(p, list) else str(p) for p in parts)

    columns = {n: [text(v) for v in rows] for n, rows in ROWS.items() if n != "click"}
    columns["seen__item"] = [c.replace(",", "|") for c in columns["seen__item"]]
    columns["seen__tags"] = ["7,8|1", "", "9|2||3,4"]
    table = pa.table({**columns, "click": ROWS["click"]})
    found = encoder_of(tmp_path, "csv").encode(table)
    wanted = encoder_of(tmp_path).encode(pa.table(ROWS))
    assert ids(found.features["seen.tags"]) == ids(wanted.features["seen.tags"])
    assert torch.equal(found.features["seen.place"].values, wanted.features["seen.place"].values)
    assert torch.equal(found.features["place"], wanted.features["place"])


def test_the_model_pools_the_ids_of_a_step(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    module = compile_recipe(tmp_path / "nested.yaml").module()
    batch = encoder.encode(pa.table(ROWS))
    embedded = module.embeddings(batch.features).sequence("seen", ["seen.tags"])
    table = module.state_dict()["embeddings.tags.weight"]
    wanted = torch.stack(
        [table[[7, 8]].mean(0), table[1], table[2], table[2] * 0, table[3:5].mean(0)]
    )
    torch.testing.assert_close(embedded.values, wanted)
    assert module(batch)["probs"].shape == (3,)


def test_rows_are_taken_cut_and_joined(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    table = pa.table(ROWS)
    (batch,) = table.select(list(encoder.plan.columns)).to_batches()
    chunk, _ = encoder.encode_raw(Raw(batch, "rows", 0, 3))

    def tags(chunk: Chunk) -> list[list[list[int]]]:
        return ids(chunk.batch().features["seen.tags"])

    whole = tags(chunk)
    assert tags(chunk.take(np.array([2, 0]))) == [whole[2], whole[0]]
    assert tags(chunk.slice(1, 3)) == whole[1:]
    assert tags(Chunk.concat([chunk.slice(2, 3), chunk.slice(0, 2)])) == [whole[2], *whole[:2]]


def test_every_id_of_a_step_is_learned(tmp_path: Path) -> None:
    pq.write_table(pa.table(ROWS), tmp_path / "rows.parquet")
    path = tmp_path / "nested.yaml"
    path.write_text(RECIPE.format(kind="parquet", vocab="fit", inner="", outer=""))
    recipe = compile_recipe(path).recipe
    source = open_data(recipe).train
    encoder = Encoder.fit(recipe, source)
    # 9 was cut off with the oldest step; 1 and 2 and 3 occur twice
    assert sorted(encoder.vocabularies["tags"].values.to_pylist()) == ["1", "2", "3", "4", "7", "8"]
    loader = Loader(recipe, encoder, source, 2, shuffle=True, seed=1)
    seen = [row for batch in loader.epoch(0) for row in ids(batch.features["seen.tags"])]
    assert sorted(map(len, seen)) == [0, 2, 3]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("seen__place", [[1.0, 2.0], [3.0]], "has not 2 numbers"),
        ("seen__place", [[1.0, float("nan")], [3.0, 4.0]], "is not a finite number"),
        ("seen__tags", [[7, 8]], "has not as many steps as"),
    ],
)
def test_bad_steps_are_told_with_their_row(
    column: str, value: object, said: str, tmp_path: Path
) -> None:
    rows = {**ROWS, column: [[], value, ROWS[column][2]]}
    for name in ("seen__item", "seen__tags", "seen__place"):
        if name != column:
            rows[name] = [[], ROWS[name][0], ROWS[name][2]]
    with pytest.raises(DataError) as error:
        encoder_of(tmp_path).encode(pa.table(rows))
    (problem,) = error.value.problems
    assert problem.code == "GR706" and said in problem.message and "row 2 of" in problem.message


def test_batches_move(tmp_path: Path) -> None:
    batch = encoder_of(tmp_path).encode(pa.table(ROWS)).to("meta")
    assert isinstance(batch, Batch)
    assert batch.features["seen.tags"].values.values.is_meta
