"""Every code has a page; every example of a page does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphrec.compiler.pipeline import check_recipe
from graphrec.views.explain import EXAMPLE_BASE, examples, page, titles

PACKAGE = Path(__file__).resolve().parents[2] / "graphrec"
EXAMPLES = [
    (code, which, text)
    for code in titles()
    for which, text in examples(code)
    if which in ("wrong", "right")
]


def test_every_code_in_use_has_a_title() -> None:
    used = {
        code
        for path in PACKAGE.rglob("*.py")
        if path.name != "codes.py"
        for code in re.findall(r'"(GR\d{3})"', path.read_text(encoding="utf-8"))
    }
    assert used <= set(titles())


@pytest.mark.parametrize("code", titles())
def test_every_code_has_a_page(code: str) -> None:
    text = page(code)
    assert text.startswith(f"{code}: {titles()[code]}\n\n")
    assert len(text.split("\n\n", 1)[1]) > 60
    assert "```" not in text


@pytest.mark.parametrize(
    ("code", "which", "text"), EXAMPLES, ids=[f"{code}-{which}" for code, which, _ in EXAMPLES]
)
def test_examples_do_what_they_say(code: str, which: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(EXAMPLE_BASE)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"graphrec: 1\nextends: base.yaml\n{text}")
    found = {problem.code for problem in check_recipe(recipe).problems}
    if which == "wrong":
        assert code in found
    else:
        assert not found


def test_the_base_of_the_examples_is_fine(tmp_path: Path) -> None:
    recipe = tmp_path / "base.yaml"
    recipe.write_text(EXAMPLE_BASE)
    assert not check_recipe(recipe).problems
