"""The reader without Arrow gives what the encoder gives, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from graphrec.data import Encoder
from graphrec.data.chunk import Ragged
from graphrec.data.raw_cells import BadCell, Table, canonical, hash_bytes
from graphrec.data.row_reader import Features
from graphrec.data.row_spec import row_features
from graphrec.data.source import Raw, Unit
from graphrec.data.spelling import canonical_text
from graphrec.export.proof_rows import proof_rows
from graphrec.ground.errors import DataError

FEATURES = """\
- {type: id, names: {a: 20}}
- {type: id, names: b, vocab: hash(50)}
- {type: id, names: c, vocab: fit}
- {type: id, names: d, vocab: fit, default: x}
- {type: id, names: {e: 9}, pool: mean}
- {type: id, names: f, vocab: fit, pool: sum, sep: "|"}
- {type: id, names: g, vocab: hash(30), pool: sum, weights: g_weight}
- {type: id, names: i, vocab: hash(30), pool: mean, weights: inside, sep: ","}
- {type: id, names: {j: 9}, pool: sum, pad: 0}
- {type: dense, names: z, transform: zscore}
- {type: dense, names: [p, q], transform: log1p, default: 3}
- {type: dense, names: r, width: 3, transform: zscore}
- {type: dense, names: s, width: 2, sep: ";"}
- {type: bucket, names: t, edges: quantile(5)}
- {type: bucket, names: u, edges: [1, 2.5], default: 2}
- {type: cross, name: ab, of: [a, b, d], vocab: hash(100)}
- {type: sequence, name: h, of: [a, c, p, r, t], max_len: 4, pad: 0}
- {type: sequence, name: k, of: [b], max_len: 3, keep: first, sep: ","}
- {type: sequence, name: n, of: [e, f], max_len: 3}
"""


class Rows:
    """A table as a source."""

    name, num_rows, fingerprint = "rows", None, ""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def units(self) -> list[Unit]:
        return [Unit(0)]

    def read(self, unit: Unit, columns: Any = None) -> Any:
        table = self.table if columns is None else self.table.select(columns)
        for batch in table.combine_chunks().to_batches():
            yield Raw(batch, "rows", 0, batch.num_rows)


def train_rows(count: int) -> pa.Table:
    random = np.random.default_rng(5)
    texts = [f"w{i}" for i in random.integers(0, 12, count)]
    lists = [[f"w{i}" for i in random.integers(0, 12, 2)] for _ in range(count)]
    numbers = random.normal(size=count).tolist()
    vectors = random.normal(size=(count, 3)).tolist()
    return pa.table(
        {
            **dict.fromkeys(("a", "b"), random.integers(0, 20, count)),
            **dict.fromkeys(("c", "d"), texts),
            **{"e": [[1], *[[2, 3]] * (count - 1)], "f": ["|".join(x) for x in lists]},
            **{"g": lists, "g_weight": [[1.0, 2.0]] * count},
            **{"p": numbers, "q": numbers, "r": vectors, "s": ["1;2"] * count},
            **{"i": ["w1:0.5,w2"] * count, "j": [[0, 3]] * count, "z": numbers},
            **{"t": numbers, "u": numbers, "h__a": [[1]] * count, "h__c": lists},
            **{"h__p": [[1.0]] * count, "h__r": [[v] for v in vectors], "h__t": [[1.0]] * count},
            **{"k__b": ["1,2"] * count, "n__e": [[[1]]] * count, "n__f": [[x[0]] for x in lists]},
            "click": random.integers(0, 2, count),
        }
    )


@pytest.fixture
def encoder(recipe_of: Any) -> Encoder:
    recipe = recipe_of(FEATURES, more="")
    fitted = Encoder.fit(recipe, Rows(train_rows(200)))
    keys = [*(f.key for f in fitted.plan.fields), *(c.key for c in fitted.plan.crosses)]
    return fitted.only(keys)


def flat(encoder: Encoder, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The encoder's chunk, in the names of the reader."""
    table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    (batch,) = table.combine_chunks().to_batches()
    chunk, _ = encoder.encode_raw(Raw(batch, "rows", 0, batch.num_rows))
    found: dict[str, np.ndarray] = {}
    for key, value in chunk.features.items():
        if not isinstance(value, Ragged):
            found[key] = value
            continue
        found[f"{key.partition('.')[0]}.lengths"] = np.diff(value.offsets)
        if value.weights is not None:
            found[f"{key}.weights"] = value.weights
        if isinstance(value.values, Ragged):
            found[f"{key}.lengths"] = np.diff(value.values.offsets)
            value = value.values
        found[f"{key}.values"] = value.values
    return found


def test_every_kind_of_feature_is_read_as_the_encoder_does(encoder: Encoder) -> None:
    keys = [*(f.key for f in encoder.plan.fields), *(c.key for c in encoder.plan.crosses)]
    reader = row_features(encoder, dict.fromkeys(keys, "candidates"))
    for rows in (proof_rows(encoder, 700), proof_rows(encoder, 1, seed=3)):
        expected, found = flat(encoder, rows), reader(rows)
        assert expected.keys() == found.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
            assert found[name].dtype == (np.float32 if values.dtype.kind == "f" else np.int64)


@pytest.mark.parametrize(
    ("column", "cell", "why"),
    [
        ("a", "seven", "'seven' is not an integer"),
        ("a", 1.5, "1.5 is not an integer"),
        ("b", 1 << 70, "does not fit in 64 bits"),
        ("c", {"x": 1}, "is of type dict"),
        ("p", "much", "'much' is not a number"),
        ("q", float("inf"), "inf is not a finite number"),
        ("r", [1.0, 2.0], "has not 3 numbers"),
        ("s", "1;2;3", "has not 2 numbers"),
        ("g", ["w1"], "has not as many weights as `g` has values"),
        ("h__a", 5, "5 is no list"),
        ("h__c", [], "has not as many steps as `h__a`"),
    ],
)
def test_bad_cells_are_named_by_both(encoder: Encoder, column: str, cell: Any, why: str) -> None:
    rows = [row for row in proof_rows(encoder, 300) if len(row["h__a"]) == 2 == len(row["g"])][:3]
    rows[1] = {**rows[1], column: cell}
    with pytest.raises(BadCell, match=f"column `{'g_weight' if column == 'g' else column}`") as bad:
        row_features(encoder, _Sides())(rows)
    assert why in str(bad.value)
    if not isinstance(cell, dict) and column != "b" and cell != 5:
        with pytest.raises((DataError, pa.ArrowException)):
            flat(encoder, rows)


class _Sides(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "candidates"


def test_values_of_several_types_are_the_same_value() -> None:
    listed = {"text": np.frombuffer(b"71", np.uint8), "offsets": np.array([0, 1, 2])}
    hashes = np.array([hash_bytes(b"7"), hash_bytes(b"1")], np.uint64)
    order = np.argsort(hashes)
    table = Table("listed", 3, {**listed, "hashes": hashes[order], "order": order})
    entry = {"name": "x", "column": "x", "feature": "x", "kind": "id", "form": "single", "oov": ""}
    reader = Features(
        {"entries": [{**entry, "table": "x", "side": "item", "default": None}]}, {"x": table}
    )
    cells = [
        "7",
        7,
        7.0,
        np.int32(7),
        "+7",
        "7.00",
        np.str_("7"),
        True,
        "true",
        1.0,
        None,
        "",
        "07",
    ]
    assert reader([{"x": c} for c in cells])["x"].tolist() == [0] * 7 + [1] * 3 + [2] * 3


@pytest.mark.parametrize(
    "text",
    [
        *("14.00", "+1", "-0", "-5.0", "True", "FALSE", "007", "1.50", "5.", "1e2", "+x", "true!"),
        *("2024-01-05T00:00:00Z", "2024-01-05 10:00:00.1200", "2024-01-05T10:00:00+00:00", ""),
        *("9" * 45 + ".0", "12 ", "\u0665", "1\n"),
    ],
)
def test_spellings_are_those_of_columns(text: str) -> None:
    assert canonical(text) == canonical_text(text)


@pytest.mark.parametrize(
    "cell",
    [
        "[1, 2]",
        "['w1', 'w2']",
        '["w1", "w,2"]',
        "{w1,w2}",
        "[]",
        "[ 7 ]",
        "(1 2  3)",
        "w1|w2",
        "w1",
    ],
)
def test_texts_of_lists_are_those_of_columns(encoder: Encoder, cell: str) -> None:
    rows = [{**row, "f": cell} for row in proof_rows(encoder, 2)]
    reader = row_features(encoder, _Sides())
    expected, found = flat(encoder, rows), reader(rows)
    np.testing.assert_array_equal(found["f.values"], expected["f.values"])
    np.testing.assert_array_equal(found["f.lengths"], expected["f.lengths"])
