"""Pictures of the documentation are what the program draws today."""

from __future__ import annotations

from pathlib import Path

from graphrec.compiler.pipeline import compile_recipe
from graphrec.views.pictures import svg

ROOT = Path(__file__).parents[2]


def test_the_picture_of_the_readme(update_golden: bool) -> None:
    path = ROOT / "docs" / "shop.svg"
    drawn = svg(compile_recipe(ROOT / "recipes" / "shop.yaml").graph)
    if update_golden:
        path.write_text(drawn, encoding="utf-8")
    assert path.read_text(encoding="utf-8").strip() == drawn.strip()
