"""What rows are compared with: chances that are exact, draws that depend on the place alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.compiler.pipeline import compile_recipe
from graphrec.data import Encoder, Items, Negatives, open_data
from graphrec.data.chunk import Chunk
from graphrec.ground.errors import DataError
from graphrec.nn.batch import Compared

FILMS, ROWS, BATCH = 12, 40, 8
RECIPE = """\
graphrec: 1
name: films
data: {train: rows.parquet, workers: 0}
features:
  - {type: id, side: user, names: user, vocab: 10, dim: 4}
  - {type: id, side: item, names: film, vocab: fit, dim: 4}
  - {type: sequence, side: user, name: past, of: [film], max_len: 4}
groups: {who: [user], what: [film]}
graph: {past_mean: {block: pooling, in: past}, query: {block: linear, in: [who, past_mean], out: 4}}
retrieval:
  query: query
  item: what
  candidates: {from: items.parquet, key: film, sample: 3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Films are texts; film f is wanted by about f rows of every sum(f)."""
    rng = np.random.default_rng(0)
    films = [f"f{n}" for n in rng.choice(FILMS, ROWS, p=np.arange(FILMS) / sum(range(FILMS)))]
    rows = {
        "user": rng.integers(0, 10, ROWS),
        "film": films,
        "past__film": [[films[i - 1], "f0", "unknown"] if i else [] for i in range(ROWS)],
        "liked": (np.arange(ROWS) % 3 > 0).astype(np.int8),
    }
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    order = [f"f{n}" for n in rng.permutation(FILMS)]
    weights = 1.0 + np.arange(FILMS)
    pq.write_table(pa.table({"film": order, "weight": weights}), tmp_path / "items.parquet")
    edges = {"user": [1, 1, 1, 2], "film": ["f0", "f1", "f2", "f0"]}
    pq.write_table(pa.table(edges), tmp_path / "edges.parquet")
    (tmp_path / "films.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(folder: Path, *overrides: str, seed: int = 7) -> tuple[Negatives, Items, Chunk]:
    recipe = compile_recipe(folder / "films.yaml", overrides=overrides).recipe
    data = open_data(recipe)
    assert data.items is not None
    encoder = Encoder.fit(recipe, data.train, data.items)
    items = Items(encoder, data.items)
    raw = next(data.train.read(data.train.units()[0]))
    return Negatives(encoder, items, data.train, seed), items, encoder.encode_raw(raw)[0]


def among(compared: Compared, items: Items) -> list[str]:
    """The keys of the items of a batch: ids are rows of one vocabulary."""
    rows = items.rows.features["film"]
    ids = compared.batch.features["film"]
    places = {int(row): place for place, row in enumerate(rows)}  # type: ignore[arg-type]
    return [items.keys[places[int(i)]].as_py() for i in ids]  # type: ignore[union-attr]


@pytest.mark.parametrize("by", ["uniform", "frequency", "weight"])
@pytest.mark.parametrize("in_batch", ["true", "false"])
def test_the_correction_is_the_chance_to_be_among_the_negatives(
    folder: Path, by: str, in_batch: str
) -> None:
    """Over many batches of random rows each item is there as often as its log_q says."""
    changes = (f"retrieval.candidates.by={by}", f"retrieval.candidates.in_batch={in_batch}")
    negatives, items, chunk = opened(folder, *changes)
    rng = np.random.default_rng(1)
    draws, seen, told = 3000, dict.fromkeys(items.keys.to_pylist(), 0), dict[str, float]()
    for number in range(draws):
        some = chunk.take(rng.integers(0, ROWS, BATCH))
        compared = negatives.compared(some, 0, number)
        names = among(compared, items)
        for name, shared, log_q in zip(names, compared.shared, compared.log_q, strict=True):
            seen[name] += bool(shared)
            told[name] = float(log_q.double().exp())
    for name, chance in told.items():
        error = 4 * np.sqrt(chance * (1 - chance) / draws) + 1e-3
        assert seen[name] / draws == pytest.approx(chance, abs=error), name


def test_every_item_is_there_once_and_rows_know_their_own(folder: Path) -> None:
    negatives, items, chunk = opened(folder, "retrieval.candidates.sample=50")
    compared = negatives.compared(chunk, 0, 0)
    names = among(compared, items)
    assert len(set(names)) == len(names)
    films = pq.read_table(folder / "rows.parquet")["film"].to_pylist()
    assert [names[place] for place in compared.own] == films


def test_draws_depend_on_seed_epoch_and_row_alone(folder: Path) -> None:
    negatives, _, chunk = opened(folder)
    again, _, _ = opened(folder)
    other, _, _ = opened(folder, seed=8)

    def drawn(which: Negatives, epoch: int, row: int) -> list[object]:
        compared = which.compared(chunk.slice(0, BATCH), epoch, row)
        return [compared.batch.features["film"].tolist(), compared.log_q.tolist()]  # type: ignore[union-attr]

    first = drawn(negatives, 0, 0)
    drawn(negatives, 5, 5)  # what was drawn before changes nothing
    assert drawn(negatives, 0, 0) == first == drawn(again, 0, 0)
    assert first not in (drawn(negatives, 1, 0), drawn(negatives, 0, BATCH), drawn(other, 0, 0))


def test_hard_negatives_are_of_their_query_and_what_was_seen_is_hidden(folder: Path) -> None:
    changes = ["retrieval.candidates.hard=edges.parquet", "retrieval.candidates.hard_by=user"]
    changes += ["retrieval.seen=past", "retrieval.candidates.hard_sample=2"]
    negatives, items, chunk = opened(folder, *changes, "retrieval.candidates.sample=0")
    compared = negatives.compared(chunk, 0, 0)
    names = among(compared, items)
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    hard: dict[int, set[str]] = {}
    for row, place in compared.hard.tolist():
        hard.setdefault(row, set()).add(names[place])
    for number, row in enumerate(rows):
        allowed = {1: {"f0", "f1", "f2"}, 2: {"f0"}}.get(row["user"], set())
        assert hard.get(number, set()) <= allowed
        assert len(hard.get(number, set())) == min(2, len(allowed))
    hidden = {(row, names[place]) for row, place in compared.hidden.tolist()}
    expected = {(n, f) for n, row in enumerate(rows) for f in row["past__film"] if f in names}
    assert hidden == expected
    only_hard = [n for n, shared in zip(names, compared.shared, strict=True) if not shared]
    assert set(only_hard) <= {"f0", "f1", "f2"}
    assert all(float(q) == 0 for q, s in zip(compared.log_q, compared.shared, strict=True) if not s)


def test_rows_that_wanted_nothing_bring_no_items(folder: Path) -> None:
    changes = ("retrieval.label=liked", "retrieval.candidates.sample=0")
    negatives, items, chunk = opened(folder, *changes)
    films = pq.read_table(folder / "rows.parquet").filter(pa.array(np.arange(ROWS) % 3 > 0))
    compared = negatives.compared(chunk, 0, 0)
    assert set(among(compared, items)) == set(films["film"].to_pylist())


@pytest.mark.parametrize(
    ("films", "weights", "words"),
    [
        (["f1", "f1"], [1.0, 1.0], "'f1' is there twice"),
        (["f1", None], [1.0, 1.0], "an item without `film`"),
        (["f1", "f2"], [1.0, 1.0], "is not among the 2 items"),
        ([f"f{n}" for n in range(FILMS)], [0.0] * FILMS, "every one needs a number above 0"),
        ([], [], "there are no items"),
    ],
)
def test_items_that_cannot_be_searched_are_told(
    folder: Path, films: list[str | None], weights: list[float], words: str
) -> None:
    schema = pa.schema({"film": pa.string(), "weight": pa.float64()})
    pq.write_table(pa.table([films, weights], schema=schema), folder / "items.parquet")
    with pytest.raises(DataError, match="GR716") as caught:
        negatives, _, chunk = opened(folder, "retrieval.candidates.by=weight")
        negatives.compared(chunk, 0, 0)
    assert words in str(caught.value)


def test_a_row_without_a_key_wants_nothing(folder: Path) -> None:
    rows = pq.read_table(folder / "rows.parquet")
    films = rows["film"].to_pylist()
    holed = pa.array([None if n % 4 == 0 else film for n, film in enumerate(films)])
    pq.write_table(rows.set_column(1, "film", holed), folder / "rows.parquet")
    negatives, items, chunk = opened(folder, "retrieval.candidates.sample=0")
    assert negatives.positive(chunk).tolist() == [n % 4 > 0 for n in range(ROWS)]
    wanted = {film for n, film in enumerate(films) if n % 4}
    assert set(among(negatives.compared(chunk, 0, 0), items)) == wanted
