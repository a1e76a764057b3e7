"""Recipes proposed from data: roles by name and value, odd columns, real data, and training."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest

from graphrec.compiler.pipeline import check_recipe
from graphrec.ground.errors import DataError
from graphrec.importers.from_data import propose
from graphrec.importers.from_data.column_sides import with_sides
from graphrec.importers.from_data.label_columns import labels_of
from graphrec.importers.from_data.leaks import leak
from graphrec.importers.from_data.profile import profile
from graphrec.importers.from_data.roles import histories, role_of
from graphrec.recipe import read_recipe
from graphrec.recipe.model import Recipe

ROWS = 1200
rng = np.random.default_rng(7)


def write(folder: Path, name: str = "train.parquet", **columns: Any) -> Path:
    path = folder / name
    pq.write_table(pa.table(columns), path)
    return path


def proposed(path: Path, *labels: str, **kinds: str) -> tuple[Recipe, str]:
    """The proposed recipe, read again from the folder of its data; it has no errors."""
    text = propose(str(path), labels, kinds, name="mine", folder=str(path.parent), schema="s.json")
    file = path.parent / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    assert not check_recipe(file).problems, text
    return read_recipe(file), text


def clicks() -> Any:
    return rng.integers(0, 2, ROWS)


def role(name: str, values: Any) -> tuple[str, dict[str, Any], str]:
    made = role_of(profile(name, pa.chunked_array([pa.array(values)])))
    return made.kind, dict(made.settings), made.why


# ---- one column -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "kind", "settings"),
    [
        ("city", ["a", "b"] * 600, "id", {"vocab": "fit"}),
        ("user_id", rng.integers(0, 400, ROWS), "id", {"vocab": "fit"}),
        ("hour", rng.integers(0, 24, ROWS), "id", {"vocab": "fit"}),
        ("vip", [True, False] * 600, "id", {"vocab": "fit"}),
        ("thing", [f"t{i}" for i in range(2500)] * 2, "id", {"vocab": "fit(min_count=2)"}),
        ("device_id", np.arange(150_000).repeat(2), "id", {"vocab": "hash(300_000)"}),
        ("age", rng.integers(18, 80, ROWS), "bucket", {"edges": "quantile(10)"}),
        ("gain", np.where(rng.random(ROWS) < 0.9, 0, rng.random(ROWS)), "bucket", {"edges": "quantile(10)"}),
        ("price", rng.lognormal(3, 3, 30_000), "bucket", {"edges": "quantile(50)"}),
        ("temperature", rng.normal(0, 1, 7000), "bucket", {"edges": "quantile(20)"}),
        ("brand", rng.choice(900_000, 3000, replace=False)[rng.integers(0, 3000, 20_000)], "id", {"vocab": "fit(min_count=2)"}),
        ("x7", rng.choice(900_000, 900, replace=False)[rng.integers(0, 900, 20_000)], "id", {"vocab": "fit"}),
        ("x7", (rng.lognormal(3, 2, 20_000)).astype(int), "bucket", {"edges": "quantile(50)"}),
        ("x7", rng.normal(500, 60, 20_000).astype(int), "bucket", {"edges": "quantile(50)"}),
        ("x7", rng.integers(20, 900, 20_000) * 100, "bucket", {"edges": "quantile(50)"}),
        ("x7", rng.integers(-300, 300, ROWS), "bucket", {"edges": "quantile(10)"}),
        ("item_id", [None if x < 20 else float(x) for x in rng.integers(0, 400, ROWS)], "id", {"vocab": "fit"}),
        ("tags", [[1, 2], [3]] * 600, "pooled", {"vocab": "fit", "pool": "mean"}),
        ("genres", ["a|b", "b|c", "c|a", "a|b|c", "b|a", "c|b"] * 200, "id", {"vocab": "fit"}),
        ("vector", [[0.1, 0.2, 0.3]] * 599 + [[1.5, 2.5, 0.1]], "dense", {"width": 3, "transform": "zscore"}),
    ],
)  # fmt: skip
def test_what_a_column_is_for(name: str, values: Any, kind: str, settings: dict[str, Any]) -> None:
    assert role(name, values)[:2] == (kind, settings)


def test_texts_of_many_combinations_are_several_values() -> None:
    parts = [f"g{i}" for i in range(12)]
    texts = ["|".join(rng.choice(parts, rng.integers(1, 4), replace=False)) for _ in range(ROWS)]
    kind, settings, _ = role("genres", texts)
    assert kind == "pooled" and settings["sep"] == "|"


@pytest.mark.parametrize("mark", ["|", "^", " ", "\x1d", "\x01", ",", ";"])
def test_ids_joined_by_a_mark_are_several_values(mark: str) -> None:
    texts = [mark.join(map(str, rng.integers(100, 400, rng.integers(0, 6)))) for _ in range(600)]
    kind, settings, _ = role("hist", texts)
    assert (kind, settings["sep"], settings["vocab"]) == ("pooled", mark, "fit")


@pytest.mark.parametrize("mark", [" ", ",", "|"])
def test_prose_is_one_value(mark: str) -> None:
    words = [f"{a}{b}" for a in "bcdfg" for b in "aeiou"]
    texts = [f"{mark} ".join(rng.choice(words, 3)).replace("  ", " ") for _ in range(400)] * 3
    assert role("title", texts)[0] == "id"


def test_lists_that_are_printed() -> None:
    lists = [list(map(int, rng.integers(0, 90, rng.integers(0, 6)))) for _ in range(ROWS)]
    for texts in (list(map(str, lists)), [str([f"v{x}" for x in row]) for row in lists]):
        kind, settings, _ = role("clicked", texts)
        assert kind == "pooled" and settings == {"vocab": "fit", "pool": "mean", "sep": ","}
    vectors = [str([round(float(x), 3) for x in rng.random(4)]) for _ in range(ROWS)]
    kind, settings, _ = role("embedding", vectors)
    assert kind == "dense" and settings == {"width": 4, "transform": "zscore", "sep": ","}


def test_weights_inside_the_values_and_filled_up_lists() -> None:
    pairs = [
        ",".join(f"t{i}:{rng.random():.2f}" for i in rng.integers(0, 40, 3)) for _ in range(ROWS)
    ]
    kind, settings, _ = role("interests", pairs)
    assert kind == "pooled"
    assert settings == {"vocab": "fit", "pool": "sum", "sep": ",", "weights": "inside"}
    filled = [
        [int(x) for x in rng.integers(1, 90, n)] + [0] * (8 - n) for n in rng.integers(0, 9, ROWS)
    ]
    kind, settings, _ = role("clicked", filled)
    assert kind == "pooled" and settings["pad"] == 0


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("sample_weight", rng.random(ROWS), "weights of rows"),
        ("same", [3] * ROWS, "always the same"),
        ("gone", pa.nulls(ROWS, pa.int64()), "has no values"),
        ("nothing", pa.nulls(ROWS), "has no values"),
        ("day", [datetime.date(2024, 1, 1 + i % 28) for i in range(ROWS)], "a time"),
        ("ts", 1_700_000_000 + np.arange(ROWS), "a time"),
        ("time_ms", 1_700_000_000_000 + np.arange(ROWS), "a time"),
        ("date", [20240101 + i % 28 for i in range(ROWS)], "a time"),
        ("row", [f"r{i}" for i in range(ROWS)], "another value in every row"),
        ("comment_text", [f"{'word ' * 20}{i % 50}" for i in range(ROWS)], "free text"),
        ("deep", [[[1]]] * ROWS, "lists of lists"),
        ("empty", pa.array([[]] * ROWS, pa.list_(pa.int64())), "empty"),
        ("record", [{"a": 1}] * ROWS, "holds struct"),
        ("raw", [b"x"] * ROWS, "holds bytes"),
        ("uneven", [[0.5], [0.5, 0.7]] * 600, "different lengths"),
    ],
)
def test_what_is_left_out_and_why(name: str, values: Any, why: str) -> None:
    kind, _, said = role(name, values)
    assert kind == "out" and why in said


def test_a_history_shares_the_table_of_the_values_most_alike() -> None:
    items, users = rng.integers(0, 300, ROWS), rng.integers(0, 900, ROWS)
    seen = [list(map(int, rng.integers(0, 300, rng.integers(0, 9)))) for _ in range(ROWS)]
    given = {"item_id": items, "user_id": users, "hist_seen": seen,
             "hist_stars": [list(map(int, rng.integers(1, 6, 4))) for _ in range(ROWS)]}  # fmt: skip
    columns = {name: profile(name, pa.array(values)) for name, values in given.items()}
    roles = {r.name: r for r in histories([role_of(c) for c in columns.values()], columns)}
    assert (roles["hist_seen"].kind, roles["hist_seen"].of) == ("history", "item_id")
    assert roles["hist_seen"].settings["max_len"] == 10
    assert roles["hist_stars"].kind == "pooled", "five values of a table of 300 are no history"


# ---- labels -----------------------------------------------------------------------------------


def test_kinds_of_labels_are_guessed() -> None:
    given = {"click": [0, 1] * 50, "stars": [float(i % 5 + 1) for i in range(100)],
             "kind": [i % 4 for i in range(100)], "seconds": [10 ** (i % 5) for i in range(100)]}  # fmt: skip
    columns = {name: profile(name, pa.array(values)) for name, values in given.items()}
    made = {label.column: label for label in labels_of(list(given), {}, columns)}
    assert [made[name].kind for name in given] == [
        "binary",
        "regression",
        "multiclass",
        "regression",
    ]
    assert made["kind"].classes == 4 and made["seconds"].log and not made["stars"].log
    (asked,) = labels_of(["kind"], {"kind": "regression"}, columns)
    assert asked.kind == "regression"


def test_a_label_that_is_not_there_gets_a_suggestion(tmp_path: Path) -> None:
    path = write(tmp_path, click=clicks(), city=["a", "b"] * 600)
    with pytest.raises(DataError) as caught:
        proposed(path, "clik")
    (problem,) = caught.value.problems
    assert problem.code == "GR703" and "did you mean `click`?" in problem.help
    with pytest.raises(DataError, match="holds text, but numbers are needed"):
        proposed(path, "city")


def test_columns_that_tell_the_label_are_left_out() -> None:
    truth = rng.integers(0, 2, ROWS)
    (label,) = labels_of(["y"], {}, {"y": profile("y", pa.array(truth))})
    for name, values in (
        ("seconds_after", truth * 10 + rng.random(ROWS)),
        ("state", np.where(truth, "done", "open")),
    ):
        assert "tells `y`" in leak(profile(name, pa.array(values)), [label])
    for name in ("is_like", "play_time_s", "long_view", "rating"):
        assert "another outcome" in leak(profile(name, pa.array(rng.random(ROWS))), [label])
    for name in ("follow_user_num", "view_count", "like_rate_7d", "country"):
        assert not leak(profile(name, pa.array(rng.random(ROWS))), [label])
    (rare,) = labels_of(["y"], {}, {"y": profile("y", pa.array((rng.random(ROWS) < 0.2) * 1))})
    late = [None if y else x for x, y in zip(rng.random(ROWS), rare.values, strict=True)]
    assert "tells `y` where it is missing" in leak(profile("closed", pa.array(late)), [rare])
    refund = np.where((rare.values > 0) & (rng.random(ROWS) < 0.4), rng.random(ROWS), 0.0)
    assert "has values that only `y` = 1 has" in leak(profile("refund", pa.array(refund)), [rare])
    often = np.where(rare.values > 0, rng.random(ROWS) < 0.5, rng.random(ROWS) < 0.3) * 1
    assert not leak(profile("often", pa.array(often)), [rare])
    weak = np.where(rng.random(ROWS) < 0.7, truth, 1 - truth)
    assert not leak(profile("hint", pa.array(weak)), [label])


def test_sides_are_told_by_names_and_by_what_repeats() -> None:
    users, items = rng.integers(0, 60, ROWS), rng.integers(0, 80, ROWS)
    given = {
        "user_id": users,
        "city": users % 7,
        "item_id": items,
        "maker": items % 11,
        "hour": rng.integers(0, 24, ROWS),
        "user_device": rng.integers(0, 3, ROWS),
    }
    columns = {name: profile(name, pa.array(values)) for name, values in given.items()}
    roles = with_sides([role_of(c) for c in columns.values()], columns, pa.table(given))
    assert {r.name: r.settings.get("side") for r in roles} == {
        "user_id": "user", "city": "user", "item_id": "item", "maker": "item", "hour": None,
        "user_device": "user",
    }  # fmt: skip


# ---- whole recipes ----------------------------------------------------------------------------


def test_names_that_the_language_does_not_take(tmp_path: Path) -> None:
    odd = [
        "price ($)",
        'quo"te',
        "x: y",
        "all",
        "class",
        "日本",
        " spaced ",
        "a\nb",
        "back\\slash",
        "#1",
        "1st",
    ]
    columns = {name: rng.integers(0, 9, ROWS) for name in odd}
    recipe, _ = proposed(write(tmp_path, **columns, **{"Label!": clicks()}), "Label!")
    found = {feature.column or name for name, feature in recipe.features.items()}
    assert found == set(odd)
    (task,) = recipe.tasks.values()
    assert task.label is not None and task.label.column == "Label!"


def test_every_kind_of_column_in_one_file_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphrec.cli import main

    items = rng.integers(0, 200, ROWS)
    write(
        tmp_path,
        item_id=items,
        user=pa.array([f"u{i}" for i in rng.integers(0, 100, ROWS)]).dictionary_encode(),
        hist_items=[list(map(int, rng.integers(0, 200, rng.integers(0, 7)))) for _ in range(ROWS)],
        genres=["|".join(sorted(rng.choice(list("abcdefgh"), 3))) for _ in range(ROWS)],
        vector=[list(map(float, rng.random(4))) for _ in range(ROWS)],
        money=[Decimal(int(x)) / 100 for x in rng.integers(1, 10**6, ROWS)],
        portion=[None if x < 0.3 else x for x in rng.random(ROWS)],
        vip=[None, True, False] * 400,
        day=[20240101 + i * 20 // ROWS for i in range(ROWS)],
        click=clicks(),
        buy=clicks(),
    )
    recipe, text = proposed(tmp_path / "train.parquet", "click", "buy")
    assert {name: f.type for name, f in recipe.features.items()} == {
        "item_id": "id", "user": "id", "genres": "id", "vector": "dense", "money": "bucket",
        "portion": "bucket", "vip": "id", "hist_items": "sequence",
    }  # fmt: skip
    assert recipe.data.split is not None and recipe.data.split.eval == "last(2)"
    assert "experts" in recipe.graph and "hist_items_interest" in recipe.graph
    assert "#   day: a time" in text
    monkeypatch.chdir(tmp_path)
    assert (
        main(["train", "mine.yaml", "--quiet", "-o", "train.steps=5", "-o", "train.epochs=null"])
        == 0
    )


def test_every_form_of_list_in_a_csv_file_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphrec.cli import main

    lists = [list(map(int, rng.integers(1, 60, rng.integers(0, 6)))) for _ in range(ROWS)]
    table = pa.table(
        {
            "item_id": [float(x) if x else None for x in rng.integers(0, 60, ROWS)],
            "hist_caret": ["^".join(map(str, row)) for row in lists],
            "tags_blank": [" ".join(map(str, row)) for row in lists],
            "printed": list(map(str, lists)),
            "filled": [str([*row, *[0] * (6 - len(row))]) for row in lists],
            "pairs": [",".join(f"t{x}:{x / 50:.2f}" for x in [*row, 3]) for row in lists],
            "vector": [str([round(float(x), 3) for x in rng.random(3)]) for _ in range(ROWS)],
            "click": clicks(),
        }
    )
    pcsv.write_csv(table, tmp_path / "rows.csv")
    recipe, _ = proposed(tmp_path / "rows.csv", "click")
    kinds = {name: feature.type for name, feature in recipe.features.items()}
    assert kinds == {
        "item_id": "id", "hist_caret": "sequence", "tags_blank": "id", "printed": "id",
        "filled": "id", "pairs": "id", "vector": "dense",
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    few = ["-o", "train.steps=5", "-o", "train.epochs=null", "-o", "train.batch=64"]
    assert main(["train", "mine.yaml", "--quiet", *few]) == 0


def test_csv_with_semicolons_and_evaluation_files(tmp_path: Path) -> None:
    table = pa.table(
        {"item": rng.integers(0, 50, ROWS), "pay": rng.random(ROWS), "click": clicks()}
    )
    for name in ("train.csv", "valid.csv"):
        pcsv.write_csv(table, tmp_path / name, pcsv.WriteOptions(delimiter=";"))
    recipe, text = proposed(tmp_path / "train.csv", "click")
    assert recipe.train.epochs == 20 and recipe.train.save.best == "click.auc"
    assert recipe.data.sep == ";" and recipe.data.eval[0].endswith("valid.csv")
    assert "early_stop" in text and "fm:" in text


def test_without_evaluation_rows_a_tenth_is_drawn(tmp_path: Path) -> None:
    _, text = proposed(write(tmp_path, "rows.parquet", a=rng.integers(0, 9, ROWS), y=clicks()), "y")
    assert "# No evaluation rows were found" in text and "split: {random: 0.1}" in text
    assert "epochs: 20" in text


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column can be a feature"):
        proposed(write(tmp_path, same=[1] * ROWS, y=clicks()), "y")
    with pytest.raises(DataError, match="no rows"):
        proposed(write(tmp_path, same=pa.array([], pa.int64()), y=pa.array([], pa.int64())), "y")
    with pytest.raises(DataError, match="matches no file"):
        proposed(tmp_path / "nowhere.parquet", "y")
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="can't be read"):
        proposed(tmp_path / "bad.parquet", "y")


REAL = {
    "kuairand": (
        ["is_click", "long_view", "is_like"],
        {"hist_shown", "hist_long_view", "hist_like"},
    ),
    "ml100k": (["like"], {"hist_movie", "hist_liked", "hist_disliked"}),
    "census": (["income_50k", "never_married"], set()),
    "criteo10k": (["click"], set()),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data_gives_recipes_that_train(
    name: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphrec.cli import main

    labels, sequences = REAL[name]
    monkeypatch.chdir(tmp_path)
    words = ["new", "--from", str(shared / "data" / name / "train.parquet"), "-O", "mine.yaml"]
    assert main([*words, "--label", ",".join(labels)]) == 0
    recipe = read_recipe("mine.yaml")
    found = {name for name, feature in recipe.features.items() if feature.type == "sequence"}
    assert found == sequences and recipe.data.eval
    leaking = {"rating", "play_time_s", "is_follow", "is_forward", "ts", "time_ms", "date"}
    assert not leaking & set(recipe.features)
    few = ["-o", "train.steps=20", "-o", "train.epochs=null", "-o", "train.batch=256"]
    assert main(["train", "mine.yaml", "--quiet", *few]) == 0
