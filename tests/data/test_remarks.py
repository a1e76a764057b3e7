"""What a run should say of its data, and what it must not go on with."""

from __future__ import annotations

import numpy as np
import pytest

from graphrec.data import Counts, Encoder, Loader, data_remarks, open_data
from graphrec.ground.errors import DataError

FEATURES = """
- {type: id, names: item, vocab: fit}
- {type: id, names: shop, vocab: 4}
- {type: dense, names: [price, time]}
"""
TASKS = """
click: {label: click, in: top}
buy: {label: buy, in: top, sample_weight: share}
"""


def rows(number: int, **changed: object) -> dict[str, object]:
    place = np.arange(number)
    table = {
        "item": place % 10, "shop": place % 4, "price": place / number, "time": place % 7 / 7,
        "click": place % 2, "buy": place % 3 == 0, "share": np.ones(number),
    }  # fmt: skip
    return table | changed


def counted(recipe, part: str = "train") -> Counts:
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    loader = Loader(recipe, encoder, getattr(data, part), 64, shuffle=False)
    for _ in loader.epoch(0):
        pass
    return loader.counts


def said(recipe, training: Counts, evaluation: Counts | None = None) -> list[tuple[str, str]]:
    return [(r.kind, r.text) for r in data_remarks(recipe, training, evaluation)]


def test_there_is_nothing_to_say_of_good_rows(recipe_of, parquet) -> None:
    parquet("a.parquet", rows(200))
    recipe = recipe_of(FEATURES, TASKS, "{train: a.parquet}")
    assert said(recipe, counted(recipe), counted(recipe)) == []


ODD = [
    ({"item": [7] * 200}, "constant", "the same in every row: `item`"),
    ({"price": [None] * 200}, "null", "null in every row: `price`"),
    ({"time": np.arange(200) + 1_700_000_000}, "large", "1.7e+09 to 1.7e+09 reach the model"),
    ({"click": [1] * 200}, "one class", "every training label is 1"),
    ({"click": [None] * 200}, "unlabelled", "no training row has a label (column `click`)"),
    ({"click": [None, 0, 1, 1] * 50}, "unlabelled", "50 training rows have no label, of 200"),
    ({"share": np.zeros(200)}, "unusable", "task `buy`: no training row counts for its loss"),
    ({"shop": np.arange(200)}, "unseen", "outside their vocabulary in the training rows: `shop` 98%"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "kind", "words"), ODD)
def test_what_is_odd_is_said(recipe_of, parquet, changed, kind, words) -> None:
    parquet("a.parquet", rows(200, **changed))
    recipe = recipe_of(FEATURES, TASKS, "{train: a.parquet}")
    [(found, text)] = said(recipe, counted(recipe))
    assert (found, words in text) == (kind, True), text


def test_evaluation_rows_have_remarks_of_their_own(recipe_of, parquet) -> None:
    parquet("a.parquet", rows(200))
    parquet("b.parquet", rows(200, item=np.arange(200) + 500))
    recipe = recipe_of(FEATURES, TASKS, "{train: a.parquet, eval: b.parquet}")
    remarks = said(recipe, counted(recipe), counted(recipe, "eval"))
    assert remarks == [("unseen", "unseen values in the evaluation rows: `item` 100%")]


def test_counts_survive_as_json(recipe_of, parquet) -> None:
    parquet("a.parquet", rows(200, click=[None, 0, 1, 1] * 50))
    recipe = recipe_of(FEATURES, TASKS, "{train: a.parquet}")
    counts = counted(recipe)
    assert Counts.of(counts.plain()) == counts
    twice = Counts.of({})
    twice.add(counts)
    twice.add(counts)
    assert (twice.read, twice.unlabelled["click"], twice.labels) == (400, 100, counts.labels)


def test_limits_end_the_epoch(recipe_of, parquet) -> None:
    parquet("a.parquet", rows(200, shop=np.arange(200), click=[2] + [0, 1] * 99 + [0]))
    limits = "limits: {unseen: 0.5, quarantined: 0.001}"
    recipe = recipe_of(FEATURES, TASKS, f"{{train: a.parquet, bad_rows: quarantine, {limits}}}")
    with pytest.raises(DataError) as caught:
        counted(recipe)
    lost, unseen = caught.value.problems
    assert "1 of 200 rows were left out (0.5%); data.limits.quarantined allows 0.1%" in lost.message
    assert "98.0% of the values of `shop` are unseen" in unseen.message
    assert {lost.code, unseen.code} == {"GR713"}


DOUBTS = [
    ([f"{n}:0.{n}|4:1" for n in range(1, 9)], "multi", "look like key:weight"),
    ([f"{n}" for n in range(8)], "multi", None),
    (["None", "nan", "a", "b", "c", "d", "e", "f"], "single", "25% of its texts look like null"),
    ([f"{n} " for n in range(8)], "single", "begin or end with a space"),
    ([f"1.2345{n}E+15" for n in range(8)], "single", "lost digits"),
    ([f"{n}.{n + 1}" for n in range(8)], "single", "are numbers with a fraction"),
    ([n + 0.5 for n in range(8)], "single", "are numbers with a fraction"),
    ([f"[{n}, 3]" for n in range(8)], "single", "look like lists in brackets"),
    ([f"drama|film{n}" for n in range(8)], "single", "look like several values in one"),
    ([f"{n},{n + 1}" for n in range(8)], "single", "look like several values in one"),
    ([f"Paris, {n} rue: a (1e5)" for n in range(8)], "single", None),
    ([f"a:{n}:1e5" for n in range(8)], "single", None),
]


@pytest.mark.parametrize(("texts", "form", "words"), DOUBTS)
def test_texts_that_look_like_something_else_are_doubted(
    recipe_of, parquet, texts, form, words
) -> None:
    parquet("a.parquet", rows(200, item=texts * 25))
    pooled = ', pool: mean, sep: "|"' if form == "multi" else ""
    for vocab in ("fit", "hash(10)"):
        features = FEATURES.replace("item, vocab: fit", f"item, vocab: {vocab}{pooled}")
        recipe = recipe_of(features, TASKS, "{train: a.parquet}")
        remarks = said(recipe, counted(recipe))
        assert [kind for kind, _ in remarks] == ["doubtful"] * (words is not None), remarks
        assert words is None or words in remarks[0][1]
