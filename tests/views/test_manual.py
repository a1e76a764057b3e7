"""The manual: complete, true to the program, and its generated pages are what it says today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import graphrec
from graphrec.blocks.library import BUILTIN
from graphrec.cli import GROUPS, main
from graphrec.cli.manual import commands_page, python_page
from graphrec.compiler.pipeline import check_recipe
from graphrec.recipe.expression_shapes import FUNCTIONS
from graphrec.views.reference import examples
from graphrec.views.reference.manual import pages
from graphrec.views.reference.settings import settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PATHS = [setting.path for setting in settings()]
GENERATED = {
    **pages(),
    "reference/commands.md": commands_page(),
    "reference/python.md": python_page(
        {name: getattr(graphrec, name) for name in graphrec.__all__}
    ),
}


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_of_today(name: str, update_golden: bool) -> None:
    path = DOCS / name
    if update_golden:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(GENERATED[name], encoding="utf-8")
    assert path.read_text(encoding="utf-8") == GENERATED[name], "stale: make docs"


def test_every_key_stands_on_a_page() -> None:
    text = "".join(GENERATED.values())
    assert [path for path in PATHS if f"### `{path}`\n" not in text] == []
    assert [name for name in FUNCTIONS if f"### `{name}`\n" not in text] == []
    assert [name for name in BUILTIN.names if f"## `{name}`\n" not in text] == []
    commands = [command.name for _, group in GROUPS for command in group]
    assert [name for name in commands if f"### `{name}`\n" not in text] == []


def test_every_key_and_block_has_a_meaning_and_an_example() -> None:
    for setting in settings():
        assert setting.doc.endswith((".", ")", "...")), setting.path
        assert examples.key_example(setting.path), f"{setting.path}: a line in examples.yaml"
    assert [name for name in BUILTIN.names if not examples.block_example(name)] == []
    known = examples._file("examples.yaml")["keys"]
    assert isinstance(known, dict) and set(known) <= set(PATHS), "examples of keys that are gone"


@pytest.mark.parametrize("path", PATHS)
def test_examples_of_keys_are_right_and_show_the_key(path: str, tmp_path: Path) -> None:
    example = examples.key_example(path)
    word = path.rpartition(".")[2]
    # Some keys are said by their place: an optimizer's name, both sides of an arrow.
    said_by_place = word in ("kind", "name", "type", "parents", "child", "column", "label")
    assert word in example or said_by_place, example
    if path == "blocks.block":  # a file of its own
        assert yaml.safe_load(example)["block"]
        return
    assert problems(example, tmp_path) == []


@pytest.mark.parametrize("name", BUILTIN.names)
def test_examples_of_blocks_compile_and_have_shapes(name: str, tmp_path: Path) -> None:
    example = examples.block_example(name)
    assert f"block: {name}" in example
    assert problems(example, tmp_path) == []
    assert re.search(r"\[B.*\] -> .*\[", examples.block_shapes(name))


def test_a_wrong_example_would_be_seen(tmp_path: Path) -> None:
    assert problems("train: {epoch: 3}", tmp_path) == ["GR201"]


def problems(example: str, folder: Path) -> list[str]:
    (folder / "base.yaml").write_text(examples.base())
    (folder / "recipe.yaml").write_text(examples.example_recipe(example))
    return [problem.code for problem in check_recipe(folder / "recipe.yaml").errors]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "page", "heading"),
    [
        (("keys", "train.schedule.warmup"), "train", "train.schedule.warmup"),
        (("explain", "carry"), "graph", "graph.carry"),
        (("keys", "graph.carry"), "graph", "graph.carry"),
        (("explain", "cos"), "expressions", "cos"),
        (("explain", "stop"), "expressions", "detach"),
        (("explain", "early_stop.patience"), "train", "train.early_stop.patience"),
    ],
)
def test_the_terminal_prints_the_text_of_the_page(
    words: tuple[str, ...], page: str, heading: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = GENERATED[f"reference/{page}.md"].split(f"### `{heading}`\n")[1].split("\n### ")[0]
    plain = [line.strip() for line in text.splitlines() if line and not line.startswith("```")]
    lines = [line.strip() for line in printed(capsys, *words).splitlines() if line]
    assert lines == [heading, *plain]


def test_a_section_is_told_with_all_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "keys", "train.schedule")
    assert text.startswith("train.schedule\n") and "\ntrain.schedule.warmup\n" in text
    assert "patience" not in text
    assert printed(capsys, "keys").count("\n") == len(PATHS)


def test_a_block_is_told_with_its_example(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "blocks", "din")
    assert "example:\n  groups: {history:" in text
    assert text.endswith("its shapes:\n  query [B, 16], keys [B, L, 16] -> [B, 16]\n")
    assert printed(capsys, "explain", "din") == text


def test_unknown_words_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "train.epoch"]) == 2
    assert "did you mean `train.epochs`?" in capsys.readouterr().err
    assert main(["explain", "carrie"]) == 2
    assert "did you mean `carry`?" in capsys.readouterr().err
