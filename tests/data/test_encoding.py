"""Every kind of feature and label, from raw cells to tensors."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from graphrec.data import NULL_KEY, Encoder, Loader, open_data
from graphrec.ground.errors import CheckpointError, DataError
from graphrec.nn.batch import Batch


def batch_of(recipe, **columns) -> Batch:
    """The encoder fitted on these columns, and their batch."""
    return fitted(recipe, **columns)[1]


def fitted(recipe, **columns) -> tuple[Encoder, Batch]:
    columns.setdefault("click", [0] * len(next(iter(columns.values()))))
    table = pa.table(columns)
    encoder = Encoder.fit(recipe, TableSource(table))
    return encoder, encoder.encode(table)


class TableSource:
    """Rows in memory, in chunks of two."""

    name, num_rows, fingerprint, mixed = "a table", None, "", True

    def __init__(self, table: pa.Table) -> None:
        self.batches = table.to_batches(max_chunksize=2)

    def check(self) -> None:
        """Rows in memory stay as they are."""

    def units(self):
        from graphrec.data.source import Unit

        return [Unit(0)]

    def read(self, unit, columns=None):
        from graphrec.data.source import Raw

        start = 0
        for batch in self.batches:
            some = batch if columns is None else batch.select(columns)
            yield Raw(some, self.name, start, some.num_rows)
            start += some.num_rows


def lists(jagged) -> list[list]:
    parts = torch.split(jagged.values, jagged.lengths.tolist())
    return [part.squeeze(-1).tolist() if part.dim() > 1 else part.tolist() for part in parts]


# ---- ids --------------------------------------------------------------------------------------


def test_integer_vocabulary_sends_others_to_the_last_row(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: 10}")
    encoder, batch = fitted(recipe, a=pa.array([0, 9, 10, -124, 2**62, None]))
    assert batch.features["a"].tolist() == [0, 9, 10, 10, 10, 10]
    assert batch.features["a"].dtype == torch.int64
    assert encoder.rows == {"a": 11}


def test_integer_vocabulary_from_text(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: 10}")
    cells = ["3", "007", "0" * 40 + "4", "-1", "99999999999999999999999", None]
    assert batch_of(recipe, a=cells).features["a"].tolist() == [3, 7, 4, 10, 10, 10]


def test_fitted_vocabulary_is_ordered_by_count_then_value(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: fit}")
    encoder, batch = fitted(recipe, a=["c", "b", "b", "a", None, "c", "ä"])
    assert encoder.learned.vocabularies["a"].to_pylist() == ["b", "c", "a", "ä"]
    assert batch.features["a"].tolist() == [1, 0, 0, 2, 4, 1, 3]
    assert encoder.rows == {"a": 5}


def test_fitted_vocabulary_min_count(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: fit(min_count=2)}")
    encoder, batch = fitted(recipe, a=[5, 7, 5, 5, 7, 8])
    assert batch.features["a"].tolist() == [0, 1, 0, 0, 1, 2]
    assert encoder.encode(pa.table({"a": [7, 9], "click": [0, 0]})).features["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 20, 300], pa.int16()),
        pa.array([1, 20, 300], pa.uint64()),
        pa.array([1.0, 20.0, 300.0]),
        pa.array(["1", "20", "300"]),
        pa.array(["1", "20", "300"], pa.large_string()),
        pa.array(["1", "20", "300"], pa.string_view()),
        pa.array([b"1", b"20", b"300"]),
        pa.array(["1", "20", "300"]).dictionary_encode(),
        pa.array([1, 20, 300]).dictionary_encode(),
        pa.array([Decimal(1), Decimal(20), Decimal(300)]),
    ],
    ids=lambda a: str(a.type).partition("<")[0],
)
@pytest.mark.parametrize("vocab", ["fit", "1000", "hash(1000)"])
def test_a_value_has_one_row_whatever_its_type(recipe_of, values, vocab) -> None:
    recipe = recipe_of(f"- {{type: id, names: a, vocab: {vocab}}}")
    numbers = pa.table({"a": [1, 1, 1, 20, 20, 300], "click": [0] * 6})
    encoder = Encoder.fit(recipe, TableSource(numbers))
    expected = encoder.encode(numbers).features["a"][[0, 3, 5]]
    found = encoder.encode(pa.table({"a": values, "click": [0] * 3})).features["a"]
    assert found.tolist() == expected.tolist()
    assert len(set(found.tolist())) == 3


def test_other_types_are_ids_by_their_text(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: [a, b, c], vocab: fit}")
    days = [datetime.date(2017, 5, 13), datetime.date(2017, 5, 13), datetime.date(2017, 5, 14)]
    encoder, batch = fitted(
        recipe, a=days, b=[True, True, False], c=pa.array([2**64 - 1] * 2 + [1], pa.uint64())
    )
    assert encoder.learned.vocabularies["a"].to_pylist() == ["2017-05-13", "2017-05-14"]
    assert encoder.learned.vocabularies["b"].to_pylist() == ["1", "0"]
    assert encoder.learned.vocabularies["c"].to_pylist() == [str(2**64 - 1), "1"]
    assert all(batch.features[name].tolist() == [0, 0, 1] for name in "abc")


def test_default_stands_for_null(recipe_of) -> None:
    recipe = recipe_of(
        """
- {type: id, names: a, vocab: 10, default: 3}
- {type: id, names: b, vocab: fit, default: none}
- {type: id, names: c, vocab: hash(50), default: x}
- {type: bucket, names: d, edges: [1, 2], default: 1.5}
"""
    )
    encoder, batch = fitted(
        recipe, a=[1, None], b=["u", None], c=["x", None], d=pa.array([0.5, None])
    )
    assert batch.features["a"].tolist() == [1, 3]
    assert encoder.learned.vocabularies["b"].to_pylist() == ["none", "u"]
    assert batch.features["b"].tolist() == [1, 0]
    assert batch.features["c"][0] == batch.features["c"][1]
    assert batch.features["d"].tolist() == [0, 1]


def test_file_vocabulary(recipe_of, tmp_path: Path) -> None:
    (tmp_path / "brands.txt").write_text("nike\npuma\n", encoding="utf-8")
    recipe = recipe_of("- {type: id, names: a, vocab: file(brands.txt)}")
    encoder, batch = fitted(recipe, a=["puma", "nike", "fila", None])
    assert batch.features["a"].tolist() == [1, 0, 2, 2]
    assert encoder.rows == {"a": 3}


def test_unseen_values_are_counted_and_never_share_a_row(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: fit}")
    encoder, _ = fitted(recipe, a=[1, 2, 3])
    table = pa.table({"a": [1, 4, None, 5], "click": [0, 1, 0, 1]})
    loader = Loader(recipe, encoder, TableSource(table), 10, shuffle=False)
    [batch] = loader.epoch(0)
    assert batch.features["a"].tolist() == [encoder.encode(table).features["a"][0], 3, 3, 3]
    assert loader.counts.unseen_rates() == {"a": 2 / 3}


def test_oov_error_names_feature_value_and_file(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: 3, oov: error}")
    with pytest.raises(
        DataError, match=r"column `a`, row 2 of the table: 7 is not in the vocabulary"
    ):
        batch_of(recipe, a=[1, 7, None])


def test_cross_is_a_function_of_the_pair(recipe_of) -> None:
    recipe = recipe_of(
        """
- {type: id, names: [a, b], vocab: 5}
- {type: cross, name: ab, of: [a, b], vocab: hash(1000)}
"""
    )
    encoder, batch = fitted(recipe, a=[1, 1, 2, None, 1], b=[2, 3, 1, 1, 2])
    rows = batch.features["ab"].tolist()
    assert rows[0] == rows[4] and len(set(rows)) == 4
    assert rows[3] == 1000 and encoder.rows["ab"] == 1001
    text = encoder.encode(pa.table({"a": ["1"], "b": ["2"], "click": [0]}))
    assert text.features["ab"].tolist() == rows[:1]


def test_shared_tables_count_all_their_columns(recipe_of) -> None:
    recipe = recipe_of(
        """
- {type: id, names: [a, b], vocab: fit, share: words}
- {type: sequence, name: s, of: [a], max_len: 2}
"""
    )
    encoder, batch = fitted(recipe, a=["x", "y"], b=["y", "z"], s__a=[["z", "z", "w"], []])
    assert encoder.learned.vocabularies["words"].to_pylist() == ["y", "z", "w", "x"]
    assert encoder.rows == {"words": 5}
    assert lists(batch.features["s.a"]) == [[1, 2], []]


def test_histories_with_tables_of_their_own(recipe_of) -> None:
    recipe = recipe_of(
        """
- {type: id, names: a, vocab: fit}
- {type: sequence, name: s, of: [a], max_len: 2, share: false}
"""
    )
    encoder, _ = fitted(recipe, a=["x"], s__a=[["z", "w"]])
    assert encoder.rows == {"a": 2, "s__a": 3}


# ---- several values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [
        [[1, 2], [], None, [3]],
        pa.array([[1, 2], [], None, [3]], pa.large_list(pa.int8())),
        ["1|2", "", None, "3"],
    ],
    ids=["list", "large_list", "text"],
)
def test_multi_values(recipe_of, cells) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: 10, pool: mean, sep: '|'}")
    assert lists(batch_of(recipe, a=cells).features["a"]) == [[1, 2], [], [], [3]]


def test_single_values_of_a_pooled_feature_are_lists_of_one(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: 10, pool: sum}")
    assert lists(batch_of(recipe, a=[4, None]).features["a"]) == [[4], []]


def test_a_null_inside_a_list_is_no_value(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: 10, pool: sum}")
    assert lists(batch_of(recipe, a=[[1, None, 2]]).features["a"]) == [[1, 2]]


def test_weights_of_values(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: 10, pool: sum, weights: w}")
    jagged = batch_of(recipe, a=[[1, 2], [3]], w=[[0.5, 2.0], [1.0]]).features["a"]
    assert jagged.weights is not None and jagged.weights.tolist() == [0.5, 2.0, 1.0]


@pytest.mark.parametrize(("keep", "kept"), [("last", [3, 4]), ("first", [1, 2])])
def test_histories_are_cut(recipe_of, keep, kept) -> None:
    recipe = recipe_of(
        f"""
- {{type: id, names: a, vocab: 10}}
- {{type: dense, names: t, transform: log1p}}
- {{type: bucket, names: p, edges: [2.5]}}
- {{type: sequence, name: s, of: [a, t, p], max_len: 2, keep: {keep}}}
"""
    )
    history = {f"s__{name}": [[1, 2, 3, 4], [5], []] for name in "atp"}
    features = batch_of(recipe, a=[0] * 3, t=[0] * 3, p=[0] * 3, **history).features
    assert lists(features["s.a"]) == [kept, [5], []]
    assert lists(features["s.p"]) == [[int(x > 2.5) for x in kept], [1], []]
    assert features["s.t"].values.shape == (3, 1)
    expected = [math.log1p(x) for x in [*kept, 5]]
    assert features["s.t"].values.flatten().tolist() == pytest.approx(expected)
    assert features["s.a"].lengths is features["s.t"].lengths


# ---- numbers ----------------------------------------------------------------------------------


def test_log1p_keeps_the_sign(recipe_of) -> None:
    recipe = recipe_of("- {type: dense, names: x, transform: log1p}")
    found = batch_of(recipe, x=[3.0, -3.0, None]).features["x"]
    assert found.shape == (3, 1) and found.dtype == torch.float32
    assert found.flatten().tolist() == pytest.approx([math.log(4), -math.log(4), 0])


def test_null_becomes_the_default_before_the_transform(recipe_of) -> None:
    recipe = recipe_of("- {type: dense, names: x, transform: log1p, default: 1.0}")
    assert batch_of(recipe, x=[None, 0.0]).features["x"].flatten().tolist() == pytest.approx(
        [math.log(2), 0]
    )


def test_zscore_and_minmax_are_fitted(recipe_of) -> None:
    recipe = recipe_of(
        "- {type: dense, names: x, transform: zscore}\n- {type: dense, names: y, transform: minmax}"
    )
    values = [1.0, 2.0, 3.0, 4.0, 10.0]
    features = batch_of(recipe, x=values, y=values).features
    expected = (np.array(values) - np.mean(values)) / np.std(values)
    assert features["x"].flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert features["y"].flatten().tolist() == pytest.approx([0, 1 / 9, 2 / 9, 3 / 9, 1])


def test_given_statistics_need_no_data(recipe_of) -> None:
    recipe = recipe_of(
        """
- {type: dense, names: x, transform: zscore, stats: [1.0, 2.0]}
- {type: dense, names: y, transform: minmax, stats: [10.0, 30.0]}
"""
    )
    features = batch_of(recipe, x=[5.0, 1.0], y=[20.0, 40.0]).features
    assert features["x"].flatten().tolist() == [2, 0]
    assert features["y"].flatten().tolist() == [0.5, 1.5]


def test_a_constant_column_is_zero_not_nan(recipe_of) -> None:
    recipe = recipe_of("- {type: dense, names: x, transform: zscore}")
    assert batch_of(recipe, x=[7.0, 7.0]).features["x"].flatten().tolist() == [0, 0]


def test_vectors(recipe_of) -> None:
    recipe = recipe_of("- {type: dense, names: x, width: 2, default: 9.0, sep: ' '}")
    fixed = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2))
    assert batch_of(recipe, x=fixed).features["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert batch_of(recipe, x=[[1, 2], None, [3, None]]).features["x"].tolist() == [
        [1, 2],
        [9, 9],
        [3, 9],
    ]
    assert batch_of(recipe, x=["1 2", None, "3 4"]).features["x"].tolist() == [
        [1, 2],
        [9, 9],
        [3, 4],
    ]


def test_buckets(recipe_of) -> None:
    recipe = recipe_of("- {type: bucket, names: x, edges: [0, 10]}")
    encoder, batch = fitted(recipe, x=[-1.0, 0.0, 9.9, 10.0, 1e30, None])
    assert batch.features["x"].tolist() == [0, 1, 1, 2, 2, 3]
    assert encoder.rows == {"x": 4}


def test_quantile_buckets(recipe_of) -> None:
    recipe = recipe_of("- {type: bucket, names: x, edges: quantile(4)}")
    encoder, batch = fitted(recipe, x=[*range(100), None])
    counts = torch.bincount(batch.features["x"], minlength=5).tolist()
    assert counts == [25, 25, 25, 25, 1]
    assert encoder.rows == {"x": 5}


@pytest.mark.parametrize(
    ("values", "buckets", "own"),
    [
        ([0] * 900 + [*range(1, 101)], 10, [0]),
        ([5] * 300 + [7] * 300 + [*range(100, 500)], 10, [5, 7]),
        ([*range(-200, 0), *[0] * 600, *range(1, 201)], 8, [0]),
        ([*range(100)] * 3 + [50] * 90, 4, []),
        ([1, 2, 2, 3], 9, [1, 2, 3]),
    ],
)
def test_a_value_that_is_half_of_the_column_has_a_bucket_of_its_own(
    values: list[int], buckets: int, own: list[int]
) -> None:
    from graphrec.data.quantiles import quantile_edges

    column = np.random.default_rng(0).permutation(np.array(values, np.float64))
    edges = quantile_edges(column, buckets)
    assert len(edges) < buckets and (np.diff(edges) > 0).all()
    placed = np.searchsorted(edges, column, side="right")
    assert len(np.unique(placed)) == len(edges) + 1, "no bucket is empty"
    for value in own:
        assert set(column[placed == np.searchsorted(edges, value, side="right")]) == {value}
    light = np.bincount(placed)[np.setdiff1d(placed, np.searchsorted(edges, own, side="right"))]
    assert not len(light) or light.max() <= 3 * max(1, light.min()) + 2, "the others are alike"


def test_random_columns_are_cut_into_at_most_the_buckets_asked_for() -> None:
    from graphrec.data.quantiles import quantile_edges

    rng = np.random.default_rng(1)
    for _ in range(300):
        size, buckets = int(rng.integers(1, 400)), int(rng.integers(2, 40))
        values = rng.choice(rng.normal(size=30), size) * rng.integers(0, 2, size)
        values[rng.random(size) < rng.random()] = rng.normal(size=1)[0]
        values = np.where(rng.random(size) < rng.random(), rng.normal(size=size), values)
        edges = quantile_edges(values, buckets)
        assert len(edges) < buckets and (np.diff(edges) > 0).all()
        heavy = [
            v
            for v, n in zip(*np.unique(values, return_counts=True), strict=True)
            if n * buckets > 2.5 * size
        ]
        placed = np.searchsorted(edges, values, side="right")
        for value in heavy:
            assert len(set(values[placed == np.searchsorted(edges, value, side="right")])) == 1


def test_quantiles_of_a_sample_are_close_and_repeatable() -> None:
    from graphrec.data.accumulators import EXACT, Sample

    values = np.random.default_rng(0).permutation(5 * EXACT).astype(np.float64)
    edges = []
    for _ in range(2):
        sample = Sample(7)
        for part in np.array_split(values, 50):
            sample.add(part)
        edges.append(sample.edges(10))
    assert (edges[0] == edges[1]).all()
    assert np.abs(edges[0] / (5 * EXACT) - np.arange(1, 10) / 10).max() < 0.003


# ---- tasks ------------------------------------------------------------------------------------


def test_labels(recipe_of) -> None:
    recipe = recipe_of(
        "- {type: id, names: a, vocab: 9}",
        """
click: {label: click, in: top}
like: {label: {column: rating, above: 3.5}, in: top}
time: {label: {column: seconds, transform: log1p}, in: top, kind: regression}
stars: {label: rating, in: top, kind: multiclass, classes: 6}
""",
    )
    encoder, batch = fitted(
        recipe,
        a=[1, 2, 3],
        click=[True, None, False],
        rating=[4.0, 3.0, None],
        seconds=[0, None, 9],
    )
    nan = float("nan")
    assert batch.labels["click"].tolist() == pytest.approx([1, nan, 0], nan_ok=True)
    assert batch.labels["like"].tolist() == pytest.approx([1, 0, nan], nan_ok=True)
    assert batch.labels["time"].tolist() == pytest.approx([0, nan, math.log(10)], nan_ok=True)
    assert batch.labels["stars"].tolist() == [4, 3, -1]
    assert batch.labels["stars"].dtype == torch.int64


def test_weights_spaces_and_groups(recipe_of) -> None:
    recipe = recipe_of(
        "- {type: id, names: user, column: uid, vocab: fit}",
        """
click: {label: click, in: top, sample_weight: w, metrics: [auc, gauc(user), gauc(day)]}
buy: {label: buy, in: top, space: click}
late: {label: late, in: top, space: inside}
like: {label: {column: rating, above: 3.5}, in: top}
more: {label: more, in: top, space: like}
""",
    )
    ones = [1, 1, 1]
    batch = batch_of(
        recipe,
        uid=["u", None, "u"],
        day=[3, 4, None],
        click=[1, 0, None],
        w=[1.5, 2.0, 0.0],
        inside=[0.0, None, 2.0],
        rating=[5.0, 1.0, 2.0],
        buy=ones,
        late=ones,
        more=ones,
    )
    assert batch.weights["click"].tolist() == [1.5, 2.0, 0.0]
    user, day = batch.columns["user"], batch.columns["day"]
    assert user[0] == user[2] != user[1] == NULL_KEY
    assert day.tolist() == [3, 4, NULL_KEY]
    assert (batch.columns["click"] > 0).tolist() == [True, False, False]
    assert (batch.columns["inside"] > 0).tolist() == [False, False, True]
    assert (batch.columns["like"] > 0).tolist() == [True, False, False]


# ---- kept with a run --------------------------------------------------------------------------

EVERYTHING = """
- {type: id, names: [a, b], vocab: fit, share: t/x}
- {type: id, names: f, vocab: file(f.txt)}
- {type: dense, names: z, transform: zscore}
- {type: bucket, names: q, edges: quantile(3)}
"""


def test_saved_and_loaded(recipe_of, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("x\ny\n", encoding="utf-8")
    recipe = recipe_of(EVERYTHING)
    columns = {
        "a": ["p", "new\nline", None],
        "b": ["p", '"', "r"],
        "f": ["y", "x", "?"],
        "z": [0.1, 0.7, 0.9],
        "q": [1.0, 2.0, 3.0],
    }
    encoder, batch = fitted(recipe, **columns)
    run = tmp_path / "run"
    encoder.save(run)
    (tmp_path / "f.txt").unlink()
    again = Encoder.load(recipe, run)
    assert again.rows == encoder.rows
    found = again.encode(pa.table({**columns, "click": [0] * 3}))
    for name, value in batch.features.items():
        assert torch.equal(value, found.features[name])


@pytest.mark.parametrize("damage", ["vocab/t%2Fx.parquet", "stats.json"])
@pytest.mark.parametrize("how", ["missing", "cut"])
def test_a_damaged_run_is_a_checkpoint_error(recipe_of, tmp_path: Path, damage, how) -> None:
    (tmp_path / "f.txt").write_text("x\n", encoding="utf-8")
    recipe = recipe_of(EVERYTHING)
    encoder, _ = fitted(recipe, a=["p"], b=["q"], f=["x"], z=[1.0], q=[1.0])
    run = tmp_path / "run"
    encoder.save(run)
    path = run / damage
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="GR8"):
        Encoder.load(recipe, run)


def test_missing_column_of_a_table(recipe_of) -> None:
    recipe = recipe_of("- {type: id, names: a, vocab: 10}")
    with pytest.raises(DataError, match="no column `a`, which feature `a` needs"):
        Encoder.fit(recipe, TableSource(pa.table({"b": [1]}))).encode(
            pa.table({"b": [1], "click": [1]})
        )


def test_files_end_to_end(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": [1, 2], "click": [0, 1]})
    recipe = recipe_of("- {type: id, names: a, vocab: fit}", data="{train: a.parquet}")
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    [batch] = Loader(recipe, encoder, data.train, 10, shuffle=True).epoch(0)
    assert sorted(batch.features["a"].tolist()) == [0, 1]
