"""Values of `hash(N)` that were never trained: counted, although their rows are others' too."""

from __future__ import annotations

import numpy as np
import pytest

from graphrec.data import Counts, Encoder, Loader, SeenValues, open_data
from graphrec.ground.errors import DataError

FEATURES = "- {type: id, names: [item, tags], vocab: hash(500)}"
TAGS = '- {type: id, names: tags, vocab: hash(500), pool: mean, sep: "|"}'


def rows(first: int, number: int) -> dict[str, object]:
    place = first + np.arange(number)
    return {"item": place, "tags": [f"t{n % 7}|t{n}" for n in place], "click": place % 2}


def unseen(recipe, seen: SeenValues | None = None) -> tuple[SeenValues, Counts]:
    """Train on the rows of `recipe`, or look at its evaluation rows."""
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    sketch = encoder.seen_values() if seen is None else seen
    source = data.train if seen is None else data.eval
    assert source is not None
    encoder = encoder.with_seen(sketch, learns=seen is None)
    loader = Loader(recipe, encoder, source, 256, shuffle=seen is None)
    for _ in loader.epoch(0):
        pass
    return sketch, loader.counts


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_share_of_values_never_trained(recipe_of, parquet, csv_file, kind: str) -> None:
    write = parquet if kind == "parquet" else csv_file
    write(f"a.{kind}", rows(0, 4000))
    write(f"b.{kind}", rows(3000, 4000))
    features = f"- {{type: id, names: item, vocab: hash(500)}}\n{TAGS}"
    recipe = recipe_of(features, data=f"{{train: a.{kind}, eval: b.{kind}}}")
    sketch, counts = unseen(recipe)
    assert counts.unseen_rates() == {}, "of training rows nothing is unseen"
    _, counts = unseen(recipe, sketch)
    assert counts.values == {"item": 4000, "tags": 8000}
    rates = counts.unseen_rates()
    assert rates["item"] == pytest.approx(0.75, abs=0.02)
    assert rates["tags"] == pytest.approx(0.375, abs=0.02)
    other = SeenValues({"item": 500, "tags": 500})
    other.load(sketch.state())
    assert unseen(recipe, other)[1].unseen == counts.unseen


def test_rows_on_the_other_side_of_a_split_were_not_trained(recipe_of, parquet) -> None:
    table = rows(0, 4000)
    table["day"] = np.arange(4000) // 2000
    table["tags"] = [str(n) for n in table["tags"]]  # one row group, one dictionary
    parquet("a.parquet", table)
    recipe = recipe_of(FEATURES, data="{train: a.parquet, split: {by: day, eval: last(1)}}")
    sketch, _ = unseen(recipe)
    rates = unseen(recipe, sketch)[1].unseen_rates()
    assert rates == {"item": pytest.approx(1.0, abs=0.03), "tags": pytest.approx(1.0, abs=0.03)}


def test_what_can_not_be_told_is_not_said() -> None:
    slots = np.arange(100)
    sketch = SeenValues({"item": 1000})
    assert sketch.look("item", slots) == (0, 0), "nothing was trained"
    sketch.mark("item", slots[:50])
    assert sketch.look("item", slots) == (100, 50)
    sketch.complete = False  # the rest may yet come
    assert sketch.look("item", slots) == (0, 0)
    sketch.complete = True
    sketch.load({})  # of a checkpoint without it
    assert sketch.look("item", slots) == (0, 0)
    full = SeenValues({"item": 1})
    full.mark("item", np.arange(1 << full.bits["item"]))
    assert full.look("item", slots) == (0, 0)


def test_null_is_no_value(recipe_of, parquet) -> None:
    parquet("a.parquet", rows(0, 100))
    parquet("b.parquet", {**rows(0, 100), "item": [None] * 60 + [*range(40)]})
    recipe = recipe_of(FEATURES, data="{train: a.parquet, eval: b.parquet}")
    sketch, _ = unseen(recipe)
    _, counts = unseen(recipe, sketch)
    assert (counts.values["item"], counts.unseen["item"]) == (40, 0)


def test_limits_hold_for_hashed_values_too(recipe_of, parquet) -> None:
    parquet("a.parquet", rows(0, 1000))
    parquet("b.parquet", rows(1000, 1000))
    data = "{train: a.parquet, eval: b.parquet, limits: {unseen: 0.5}}"
    recipe = recipe_of(FEATURES, data=data)
    sketch, _ = unseen(recipe)
    with pytest.raises(DataError, match="of the values of `item` are unseen"):
        unseen(recipe, sketch)
