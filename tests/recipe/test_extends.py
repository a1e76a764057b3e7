"""A recipe over its parent: what merges, what replaces, and which files may be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from graphrec.ground.errors import render
from graphrec.recipe import Reading, canonical, parse
from graphrec.recipe.model import IdFeature, NodeSpec, Recipe

Read = Callable[..., Reading]
Texts = Mapping[str, str]

BASE = """\
graphrec: 1
name: base
features:
  - {type: id, names: [a, b], vocab: 10, dim: 4}
  - {type: dense, names: c}
graph:
  deep: {block: mlp, in: all, hidden: [8]}
  last: {block: mlp, in: [deep], hidden: [4]}
tasks:
  ctr: {label: clk, in: last, loss: {focal: {gamma: 1}}}
train: {epochs: 1, lr: {dense: 0.1, sparse: 0.2}}
meta: {kept: 1, dropped: 2}
"""
CHILD = "graphrec: 1\nextends: base.yaml\n"


def whole(reading: Reading) -> Recipe:
    assert not reading.problems, render(reading.problems, reading.sources)
    assert reading.recipe is not None
    return reading.recipe


def test_maps_merge_lists_replace(read: Read) -> None:
    child = CHILD + "name: child\ngraph: {deep: {hidden: [16, 8]}, more: {block: fm, in: all}}\n"
    recipe = whole(read(child, base=BASE))
    deep = recipe.graph["deep"]
    assert isinstance(deep, NodeSpec)
    assert (recipe.name, deep.block, deep.params) == ("child", "mlp", {"hidden": [16, 8]})
    assert set(recipe.graph) == {"deep", "last", "more"}
    assert (recipe.train.lr.dense, recipe.train.epochs) == (0.1, 1)


def test_null_deletes_and_plus_appends(read: Read) -> None:
    child = CHILD + (
        "graph: {last: {in+: [all.linear], hidden+: [2]}}\n"
        "train: {epochs: null, steps: 5}\nmeta: {new: null}\n"
    )
    recipe = whole(read(child, base=BASE))
    last = recipe.graph["last"]
    assert isinstance(last, NodeSpec)
    assert (last.inputs, last.params["hidden"]) == (("deep", "all.linear"), [4, 2])
    assert (recipe.train.epochs, recipe.train.steps) == (None, 5)
    assert recipe.meta == {"kept": 1, "dropped": 2, "new": None}


def test_another_choice_replaces(read: Read) -> None:
    child = (
        CHILD + "tasks: {ctr: {loss: {bce: {}}}}\ntrain: {optim: {dense: {sgd: {momentum: 0.5}}}}\n"
    )
    recipe = whole(read(child, base=BASE))
    assert list(recipe.tasks["ctr"].loss) == ["bce"]
    child = CHILD + "tasks: {ctr: {loss: {focal: {alpha: 0.3}}}}\n"
    assert whole(read(child, base=BASE)).tasks["ctr"].loss == {"focal": {"gamma": 1, "alpha": 0.3}}


def test_patches(read: Read) -> None:
    for key in ("features+", "features"):
        patches = f"{key}: [{{names: a, dim: 16}}, {{names: c, transform: log1p}}]\n"
        recipe = whole(read(CHILD + patches, base=BASE))
        a, b = recipe.features["a"], recipe.features["b"]
        assert isinstance(a, IdFeature) and isinstance(b, IdFeature)
        assert (a.dim, b.dim) == (16, 4)
    recipe = whole(read(CHILD + "features: [{type: dense, names: z}]\n", base=BASE))
    assert list(recipe.features) == ["z"]


def test_a_chain(read: Read) -> None:
    recipe = whole(
        read(CHILD.replace("base", "middle"), middle=CHILD + "name: middle\n", base=BASE)
    )
    assert recipe.name == "middle"
    assert recipe.origin is not None
    assert set(recipe.origin.sources) == {"r.yaml", "middle.yaml", "base.yaml"}
    assert "extends" not in canonical(recipe)


def test_paths_start_from_the_file_that_wrote_them(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.yaml").write_text(
        BASE + "data: {train: rows/*.csv, eval: /abs/x.csv}\n"
    )
    (tmp_path / "shared" / "words.txt").write_text("x\ny\n")
    (tmp_path / "r.yaml").write_text(
        "graphrec: 1\nextends: shared/base.yaml\n"
        "features+: [{names: a, vocab: file(shared/words.txt)}]\n"
    )
    recipe = whole(parse(tmp_path / "r.yaml"))
    assert recipe.data.train == (str(tmp_path / "shared" / "rows" / "*.csv"),)
    assert recipe.data.eval == ("/abs/x.csv",)
    a = recipe.features["a"]
    assert isinstance(a, IdFeature)
    assert a.vocab.args == (str(tmp_path / "shared" / "words.txt"),)


@pytest.mark.parametrize(
    ("child", "code", "line", "said"),
    [
        ("graph: {deep: {hiden+: [1]}}", "GR208", 3, "did you mean `hidden`?"),
        ("graph: {deep: {block+: [1]}}", "GR208", 3, "`block` is text `mlp`"),
        ("graph: {deep: {hidden+: 3}}", "GR202", 3, "expected a list to append, got 3"),
        ("graph: {deep: {hidden+: [1], hidden: [2]}}", "GR205", 3, "in one place"),
        ("graph: {dep: null}", "GR208", 3, "did you mean `deep`?"),
        ("graph: {new: {block: mlp, in: all, hidden: }}", "GR208", 3, "`hidden` has no value"),
        ("features+: [{names: z, dim: 3}]", "GR211", 3, "no feature `z` to change"),
        ("features+: [{names: a, dim: 3}, {names: [a, b], dim: 3}]", "GR210", 3, "changed twice"),
        ("features+: [{type: dense, names: a}]", "GR210", 3, "base.yaml:4:24"),
        ("tasks: {ctr: {weight: -1}}", "GR202", 3, "at least 0"),
    ],
)
def test_what_a_child_can_not_do(child: str, code: str, line: int, said: str, read: Read) -> None:
    reading = read(f"{CHILD}{child}\n", base=BASE)
    shown = render(reading.problems, reading.sources)
    assert [(p.code, p.span.line if p.span else 0) for p in reading.problems] == [(code, line)], (
        shown
    )
    assert said in shown


def test_a_slip_in_the_parent_is_shown_there(read: Read) -> None:
    reading = read(CHILD, base=BASE.replace("epochs", "epoch"))
    assert str(reading.problems[0].span) == "base.yaml:11:9"


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ("../outside.yaml", "GR121"),
        ("/etc/hostname", "GR121"),
        ("inner/../../outside.yaml", "GR121"),
        ("link.yaml", "GR121"),
        ("folder/outside.yaml", "GR121"),
        ("~/outside.yaml", "GR120"),
        ('"a\\0b"', "GR121"),
        ("none.yaml", "GR120"),
        ("inner", "GR120"),
        ("r.yaml", "GR122"),
        ("[a.yaml, b.yaml]", "GR202"),
        ("''", "GR202"),
        ("5", "GR202"),
        ("{a: 1}", "GR202"),
        ("", "GR202"),
    ],
)
def test_files_that_are_not_read(named: str, code: str, tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    (recipes / "inner").mkdir(parents=True)
    (tmp_path / "outside.yaml").write_text(BASE)
    (recipes / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (recipes / "folder").symlink_to(tmp_path)
    (recipes / "r.yaml").write_text(f"graphrec: 1\nextends: {named}\n")
    reading = parse(recipes / "r.yaml")
    assert [p.code for p in reading.problems] == [code]
    assert reading.problems[0].span is not None
    assert reading.problems[0].span.line == 2


def test_another_folder_may_be_opened(tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (tmp_path / "base.yaml").write_text(BASE)
    (recipes / "r.yaml").write_text("graphrec: 1\nextends: ../base.yaml\n")
    assert parse(recipes / "r.yaml").problems[0].code == "GR121"
    assert whole(parse(recipes / "r.yaml", (), tmp_path)).name == "base"


def test_a_circle_is_told_with_its_steps(read: Read) -> None:
    reading = read(CHILD, base="graphrec: 1\nextends: r.yaml\n")
    [problem] = reading.problems
    assert problem.code == "GR122"
    assert problem.message.endswith("r.yaml (line 2) -> base.yaml (line 2) -> r.yaml")
    assert str(problem.span) == "base.yaml:2:10"


def test_vocabularies(read: Read) -> None:
    text = BASE.replace("vocab: 10", "vocab: file(words.txt)")
    for content, said in [
        (b"x\ny\nx\n", "line 3 repeats 'x' of line 1"),
        (b"x\n\ny\n", "line 2 is empty"),
        (b"x\n\xff\n", "line 2 is not UTF-8 text"),
        (b"", "the file is empty"),
    ]:
        read(text)
        Path("words.txt").write_bytes(content)
        [problem] = parse("r.yaml").problems
        assert (problem.code, said in problem.message) == ("GR120", True)
    Path("words.txt").write_bytes(b"x\ny\n")
    whole(parse("r.yaml"))
    os.remove("words.txt")
    assert parse("r.yaml").problems[0].code == "GR120"
