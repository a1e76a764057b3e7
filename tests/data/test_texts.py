"""Text as the world writes it: quotes, empty cells, words for null, lists in brackets, headers."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from graphrec.data import Encoder, Loader, open_data
from graphrec.data.row_spec import row_features
from graphrec.ground.errors import DataError

IDS = "- {type: id, names: a, vocab: fit}"


def epoch(recipe):
    """Encoder and loader behind one epoch over the recipe's files, the batch of it first."""
    data = open_data(recipe)
    encoder = Encoder.fit(recipe, data.train)
    loader = Loader(recipe, encoder, data.train, 1000, shuffle=False)
    [batch] = loader.epoch(0)
    return batch, encoder, loader


def lines(folder: Path, *rows: str, name: str = "a.csv") -> Path:
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / name


# ---- quotes -----------------------------------------------------------------------------------

ROWS = [f"{i},x{i},{i % 2}" for i in range(300)]
STRAY = {
    "to the end": (
        {7: '7,"5 screen,1'},
        "row 8 (line 9) swallows 63 lines and more, which look like rows",
    ),
    "to a quote": ({7: '7,"5 in,1', 40: '40,6",0'}, "row 8 (line 9) swallows 33 lines, which"),
    "one line": ({7: '7,"5 in,1', 8: '8,6",0'}, "swallows 1 line, which look like rows"),
    "last row": ({299: '299,"5 in,1'}, "row 300 (line 301)", "never ends"),
}


@pytest.mark.parametrize("kind", STRAY)
@pytest.mark.parametrize("features", [IDS, "- {type: id, names: n, vocab: 300}"])
@pytest.mark.parametrize("policy", ["error", "quarantine"])
def test_a_stray_quote_is_told(recipe_of, tmp_path, kind, features, policy) -> None:
    changed, *words = STRAY[kind]
    path = lines(tmp_path, "n,a,click", *(changed.get(i, row) for i, row in enumerate(ROWS)))
    recipe = recipe_of(features, data=f"{{train: a.csv, bad_rows: {policy}}}")
    with pytest.raises(DataError) as caught:
        epoch(recipe)
    [problem] = caught.value.problems
    assert problem.code == "GR715"
    assert str(path) in problem.message
    assert all(word in problem.message for word in words), problem.message
    batch, encoder, _ = epoch(recipe_of(features, data="{train: a.csv, quote: none}"))
    assert batch.num_rows == 300
    if features is IDS:
        assert set(encoder.learned.vocabularies["a"].to_pylist()) >= {"x1", "x2"}


LEGAL = {
    "breaks": '7,"two\nlines",1',
    "breaks and separators": '7,"a, b\nc, d, e\nf",1',
    "doubled": '7,"5"" screen",1',
    "inside": '7,5" screen,1',
    "empty lines": '7,"a\n\n\n\nb",1',
    "blank tail": '7,"a\n",1',
}


@pytest.mark.parametrize("cells", LEGAL.values(), ids=LEGAL)
def test_what_a_cell_may_hold(recipe_of, tmp_path, cells) -> None:
    lines(tmp_path, "n,a,click", *ROWS[:7], cells, *ROWS[8:])
    batch, encoder, _ = epoch(recipe_of(IDS, data="{train: a.csv}"))
    assert batch.num_rows == 300
    assert len(encoder.learned.vocabularies["a"]) == 300


def test_long_cells_are_cells(recipe_of, tmp_path) -> None:
    story = "\n".join(f"line {i}, with words" for i in range(500))
    lines(tmp_path, "n,a,click", *ROWS[:7], f'7,"{story}",1', *ROWS[8:])
    assert epoch(recipe_of(IDS, data="{train: a.csv}"))[0].num_rows == 300


# ---- what means null --------------------------------------------------------------------------

EVERY = """
- {type: id, names: a, vocab: fit}
- {type: id, names: h, vocab: hash(50)}
- {type: id, names: n, vocab: 10}
- {type: dense, names: x}
- {type: bucket, names: b, edges: [1, 2]}
"""
TASKS = """
click: {label: click, in: top}
stay: {label: stay, in: top, kind: regression}
"""


@pytest.mark.parametrize("word", ["", '""', "\\N", "NULL", '"NULL"'])
def test_words_for_null_in_csv(recipe_of, tmp_path, word) -> None:
    lines(tmp_path, "a,h,n,x,b,click,stay", *["u,v,3,1.5,1.5,1,2.5"] * 3, ",".join([word] * 7))
    batch, encoder, loader = epoch(recipe_of(EVERY, TASKS, "{train: a.csv}"))
    assert encoder.learned.vocabularies["a"].to_pylist() == ["u"]
    last = {name: batch.features[name][3].tolist() for name in "ahnb"}
    assert last == {"a": 1, "h": 50, "n": 10, "b": 3}
    assert batch.features["x"][3].tolist() == [0.0]
    assert batch.labels["click"][3].isnan() and batch.labels["stay"][3].isnan()
    assert loader.counts.nulls == dict.fromkeys("ahnxb", 1)
    assert loader.counts.unlabelled == {"click": 1, "stay": 1}


@pytest.mark.parametrize("dictionary", [False, True])
def test_words_for_null_in_parquet(recipe_of, parquet, dictionary) -> None:
    texts = {name: ["u", "", "NULL", None, "\\N"] for name in "ah"}
    texts |= {name: ["1", "", "NULL", None, "\\N"] for name in "nxb"}
    texts |= {"click": ["1", "", "NULL", None, "\\N"], "stay": ["2", "", "\\N", None, "NULL"]}
    columns = {name: pa.array(column) for name, column in texts.items()}
    if dictionary:
        columns = {name: column.dictionary_encode() for name, column in columns.items()}
    parquet("a.parquet", columns)
    batch, encoder, loader = epoch(recipe_of(EVERY, TASKS, "{train: a.parquet}"))
    assert encoder.learned.vocabularies["a"].to_pylist() == ["u"]
    assert batch.features["a"].tolist() == [0, 1, 1, 1, 1]
    assert batch.features["n"].tolist() == [1, 10, 10, 10, 10]
    assert loader.counts.unlabelled == {"click": 4, "stay": 4}
    assert loader.counts.nulls == dict.fromkeys("ahnxb", 4)


def test_other_words_for_null(recipe_of, tmp_path) -> None:
    lines(tmp_path, "a,click", "x,1", "n/a,0", "NULL,0")
    encoder = epoch(recipe_of(IDS, data="{train: a.csv, nulls: [n/a]}"))[1]
    assert encoder.learned.vocabularies["a"].to_pylist() == ["NULL", "x"]
    lines(tmp_path, "a,b,click", '"",1,1')
    tasks = "click: {label: click, in: top, sample_weight: a}"
    with pytest.raises(DataError, match="no weight"):
        epoch(recipe_of("- {type: dense, names: b}", tasks, "{train: a.csv}"))


# ---- lists ------------------------------------------------------------------------------------

TAGS = "- {type: id, names: a, vocab: fit, pool: sum, sep: ','}"
LISTS = {
    "python": ["[1, 2, 3]", "[2]", "[]"],
    "json": ["[1,2,3]", "[2]", "[]"],
    "json texts": ['["1", "2", "3"]', '["2"]', "[]"],
    "python texts": ["['1', '2', '3']", "['2']", "[]"],
    "numpy": ["[1 2 3]", "[2]", "[]"],
    "tuples": ["(1, 2, 3)", "(2,)", "()"],
    "a database": ["{1,2,3}", "{2,NULL}", "{}"],
    "plain": ["1,2,3", "2", ""],
    "empty between": [",1,,2,3,", "2,", ","],
    "null": ["1,2,3", "2", None],
    "floats": ["1.0,2.0,3.00", "+2", ""],
}


def flat(jagged) -> list[list[int]]:
    parts = jagged.values.split(jagged.lengths.tolist())
    return [part.tolist() for part in parts]


@pytest.mark.parametrize("kind", LISTS)
def test_lists_in_texts(recipe_of, parquet, csv_file, kind) -> None:
    rows = {"a": LISTS[kind], "click": [1, 0, 1]}
    parquet("a.parquet", rows)
    csv_file("a.csv", {**rows, "a": ["" if text is None else text for text in rows["a"]]})
    for name in ("a.parquet", "a.csv"):
        batch, encoder, _ = epoch(recipe_of(TAGS, data=f"{{train: {name}}}"))
        assert encoder.learned.vocabularies["a"].to_pylist() == ["2", "1", "3"]
        assert flat(batch.features["a"]) == [[1, 0, 2], [0], []]


def test_lists_in_brackets_need_no_separator(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": ['["x, y", "z"]', "[]"], "click": [1, 0]})
    features = "- {type: id, names: a, vocab: fit, pool: sum}"
    encoder = epoch(recipe_of(features, data="{train: a.parquet}"))[1]
    assert encoder.learned.vocabularies["a"].to_pylist() == ["x, y", "z"]


def test_texts_without_a_separator_are_no_lists(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": ["x|y", "z"], "click": [1, 0]})
    with pytest.raises(DataError, match="GR711.*holds text, but lists are needed"):
        epoch(recipe_of("- {type: id, names: a, vocab: fit, pool: sum}", data="{train: a.parquet}"))


PAIRS = {
    "texts": pa.array(["7:0.5|x:2", "7", "", None]),
    "lists": pa.array([["7:0.5", "x:2"], ["7"], [], None]),
    "maps": pa.array([[("7", 0.5), ("x", 2.0)], [("7", None)], [], None], pa.map_("string", "f4")),
    "pairs": pa.array(
        [[{"k": "7", "w": 0.5}, {"k": "x", "w": 2.0}], [{"k": "7", "w": None}], [], None]
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_weights_inside_of_values(recipe_of, parquet, kind) -> None:
    parquet("a.parquet", pa.table({"a": PAIRS[kind], "click": [1, 0, 1, 1]}))
    features = "- {type: id, names: a, vocab: fit, pool: sum, sep: '|', weights: inside}"
    batch, encoder, _ = epoch(recipe_of(features, data="{train: a.parquet}"))
    assert encoder.learned.vocabularies["a"].to_pylist() == ["7", "x"]
    jagged = batch.features["a"]
    assert flat(jagged) == [[0, 1], [0], [], []]
    assert jagged.weights.tolist() == [0.5, 2.0, 1.0]


def test_a_weight_inside_is_a_number(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": ["7:0.5", "7:much"], "click": [1, 0]})
    features = "- {type: id, names: a, vocab: fit, pool: sum, sep: '|', weights: inside}"
    with pytest.raises(DataError, match="row 2 of .*'7:much' is not a number"):
        epoch(recipe_of(features, data="{train: a.parquet}"))


HISTORY = """
- {type: id, names: item, vocab: fit}
- {type: dense, names: price}
- {type: sequence, name: s, of: [item, price], max_len: 3, pad: 0, sep: '|'}
"""


@pytest.mark.parametrize("as_text", [False, True])
def test_padding_is_no_step(recipe_of, parquet, as_text) -> None:
    items = [[31, 4, 0, 0, 0], [0, 0, 5, 6, 7], [0] * 5, [1, 2, 3, 4, 0]]
    prices = [[1.5, 0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 1.0, 1.0, 1.0], [0.0] * 5, [1.0] * 4 + [0.0]]
    table = {"item": [31] * 4, "price": [1.0] * 4, "click": [0, 1, 0, 1]}
    columns = {"s__item": items, "s__price": prices}
    if as_text:
        columns = {k: ["|".join(map(str, row)) for row in v] for k, v in columns.items()}
    parquet("a.parquet", {**table, **columns})
    batch, encoder, _ = epoch(recipe_of(HISTORY, data="{train: a.parquet}"))
    known = encoder.learned.vocabularies["item"].to_pylist()
    steps = [
        [known[i] if i < len(known) else None for i in row]
        for row in flat(batch.features["s.item"])
    ]
    # A step with a price is a step, even of no item; the last three are kept.
    assert steps == [["31", "4"], ["5", "6", "7"], [], ["2", "3", "4"]]
    assert flat(batch.features["s.price"])[0] == [[1.5], [0.0]]


def test_padding_of_pooled_values(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": [[1, 2, -1], [-1, -1]], "w": [[1.0, 2.0, 9.0]] * 2, "click": [0, 1]})
    features = "- {type: id, names: a, vocab: 10, pool: sum, weights: w, pad: -1}"
    with pytest.raises(DataError, match="has not as many weights"):
        epoch(recipe_of(features, data="{train: a.parquet}"))
    parquet("a.parquet", {"a": [[1, 2, -1]], "w": [[1.0, 2.0, 9.0]], "click": [0]})
    jagged = epoch(recipe_of(features, data="{train: a.parquet}"))[0].features["a"]
    assert (flat(jagged), jagged.weights.tolist()) == ([[1, 2]], [1.0, 2.0])


# ---- headers and paths ------------------------------------------------------------------------


def test_a_file_without_a_header_line(recipe_of, tmp_path) -> None:
    lines(tmp_path, "49,x,0", "14,y,1", "3,x,1")
    with pytest.raises(DataError) as caught:
        epoch(recipe_of(IDS, data="{train: a.csv}"))
    [problem] = caught.value.problems
    assert "the first line is taken for the names of the columns, and looks like" in problem.message
    assert "data.columns: [" in problem.help
    batch, encoder, _ = epoch(recipe_of(IDS, data="{train: a.csv, columns: [n, a, click]}"))
    assert batch.num_rows == 3
    assert encoder.learned.vocabularies["a"].to_pylist() == ["x", "y"]
    with pytest.raises(DataError, match="row 1 of .* has 3 cells, data.columns has 2"):
        epoch(recipe_of(IDS, data="{train: a.csv, columns: [a, click]}"))


def test_columns_that_stand_in_the_path(recipe_of, parquet, csv_file, tmp_path) -> None:
    for folder in ("dt=3/city=S%20P", "dt=4/city=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / folder).mkdir(parents=True)
        parquet(f"{folder}/a.parquet", {"a": ["x", "y"], "click": [0, 1]})
        csv_file(f"{folder}/a.csv", {"a": ["x", "y"], "click": [0, 1]})
    features = IDS + "\n- {type: id, names: city, vocab: fit}\n- {type: dense, names: dt}"
    for suffix in ("parquet", "csv"):
        batch, encoder, loader = epoch(recipe_of(features, data=f"{{train: '**/*.{suffix}'}}"))
        assert batch.features["dt"].flatten().tolist() == [3, 3, 4, 4]
        assert encoder.learned.vocabularies["city"].to_pylist() == ["S P"]
        assert loader.counts.nulls["city"] == 2
        split = f"{{train: '**/*.{suffix}', split: {{by: dt, eval: last(1)}}}}"
        assert open_data(recipe_of(IDS, data=split)).eval.num_rows == 2


# ---- labels -----------------------------------------------------------------------------------


def test_nan_is_a_missing_label(recipe_of, parquet) -> None:
    nan = float("nan")
    parquet(
        "a.parquet", {"a": ["x"] * 4, "click": [nan, 0.0, 1.0, None], "k": [nan, 0.0, 2.0, 1.0]}
    )
    tasks = "click: {label: click, in: top}\nk: {label: k, in: top, kind: multiclass, classes: 3}"
    batch, _, loader = epoch(recipe_of(IDS, tasks, "{train: a.parquet}"))
    assert batch.labels["click"].isnan().tolist() == [True, False, False, True]
    assert batch.labels["k"].tolist() == [-1, 0, 2, 1]
    assert loader.counts.unlabelled == {"click": 2, "k": 1}


def test_minus_one_says_what_it_may_be(recipe_of, parquet) -> None:
    parquet("a.parquet", {"a": ["x"] * 4, "click": [-1, 1, -1, 1]})
    with pytest.raises(DataError, match=r"write null; of labels -1 and 1: .*above: 0"):
        epoch(recipe_of(IDS, data="{train: a.parquet}"))


# ---- numbers with a fraction as ids -----------------------------------------------------------


@pytest.mark.parametrize("vocab", ["fit", "hash(1000)", "file(v.txt)"])
@pytest.mark.parametrize("kind", ["float64", "float32", "decimal", "dictionary"])
def test_a_number_with_a_fraction_is_the_id_that_its_text_is(
    recipe_of, parquet, tmp_path, vocab, kind
) -> None:
    (tmp_path / "v.txt").write_text("1.5\n1.50\n14\n0.25\n")
    numbers = [1.5, 14.0, None, 0.25, 1.5]
    column = pa.array(numbers, pa.float32() if kind == "float32" else pa.float64())
    if kind == "decimal":
        numbers = [n and Decimal(f"{n:.2f}") for n in numbers]
        column = pa.array(numbers)
    elif kind == "dictionary":
        column = column.dictionary_encode()
    click = [0, 1, 0, 1, 0]
    parquet("a.parquet", {"a": column, "click": click})
    texts = ["" if n is None else str(n) for n in numbers]
    lines(tmp_path, "a,click", *(f"{t},{c}" for t, c in zip(texts, click, strict=True)))
    features = f"- {{type: id, names: a, vocab: {vocab}}}"
    one, encoder, _ = epoch(recipe_of(features, data="{train: a.parquet}"))
    other, _, _ = epoch(recipe_of(features, data="{train: a.csv}"))
    assert one.features["a"].tolist() == other.features["a"].tolist()
    assert len(set(one.features["a"].tolist())) == 4
    if kind == "decimal":  # no value of a request
        return
    rows = [{"a": n, "click": c} for n, c in zip(numbers, click, strict=True)]
    read = row_features(encoder, {"a": "candidates"})(rows)
    assert read["a"].tolist() == one.features["a"].tolist()


def test_how_a_text_in_brackets_is_read_depends_on_no_other(recipe_of, parquet) -> None:
    features = "- {type: id, names: a, vocab: hash(100000), pool: sum, sep: '|'}"
    texts = ["[1, null]", "[[1], [2, 3]]", "'a'|b", '["a"]', "[1e2]", "(True)", "x", "{1,2}"]
    rows = {"a": texts, "click": [0, 1] * 4}
    parquet("a.parquet", rows)
    together, encoder, _ = epoch(recipe_of(features, data="{train: a.parquet}"))
    reader = row_features(encoder, {"a": "candidates"})
    alone: list[int] = []
    for text in texts:
        parquet("a.parquet", {"a": [text, "b"], "click": [0, 1]})
        one, _, _ = epoch(recipe_of(features, data="{train: a.parquet}"))
        served = reader([{"a": text}, {"a": "b"}])["a.values"].tolist()
        assert one.features["a"].values.tolist() == served
        alone += served[:-1]
    assert together.features["a"].values.tolist() == alone
