"""What comes with graphrec: recipes by name, a page for every block."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphrec.blocks.library import BUILTIN
from graphrec.ground.errors import RecipeError
from graphrec.views.catalog import about_block, find_recipe, recipe_text, shipped_recipes


def test_the_zoo_is_listed_without_its_bases() -> None:
    names = [recipe.name for recipe in shipped_recipes()]
    assert names == sorted(names) and {"shop", "deepfm", "dbmtl_taobao"} <= set(names)
    assert not [name for name in names if name.endswith("_base")]
    assert all(recipe.description for recipe in shipped_recipes())


def test_a_bare_name_is_a_shipped_recipe_unless_there_is_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Path(find_recipe("deepfm")).is_file()
    assert recipe_text("deepfm") == Path(find_recipe("deepfm")).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("deepfm").write_text("graphrec: 1")
    assert find_recipe("deepfm") == "deepfm"
    assert find_recipe("any/where.yaml") == "any/where.yaml"
    assert find_recipe("nowhere.yml") == "nowhere.yml"


@pytest.mark.parametrize("find", [find_recipe, recipe_text])
def test_an_unknown_name_gets_a_suggestion(find: object) -> None:
    with pytest.raises(RecipeError) as caught:
        find("depfm")  # type: ignore[operator]
    (problem,) = caught.value.problems
    assert problem.code == "GR120" and "did you mean `deepfm`?" in problem.help


@pytest.mark.parametrize("name", BUILTIN.names)
def test_every_block_has_a_page(name: str) -> None:
    page = about_block(BUILTIN, name)
    text = page.as_text()
    assert text.startswith(f"{name}(") and page.doc and page.ports
    for parameter in page.parameters:
        assert f"  {parameter.name}: {parameter.type}" in text
        assert parameter.doc, f"{name}.{parameter.name} is not documented"
        assert "$ref" not in parameter.type and parameter.type != "any"


def test_a_page_tells_types_defaults_and_conditions() -> None:
    text = about_block(BUILTIN, "mlp").as_text()
    assert "  hidden: list of int\n      Widths of the hidden layers." in text
    assert "  bias: bool   default true\n" in text
    assert "  triton   on cuda; needs triton;" in text
    mmoe = about_block(BUILTIN, "mmoe").as_text()
    assert "  gates: names, or tasks   required\n" in mmoe
    assert about_block(BUILTIN, "din").ports == ("query", "keys", "mask?")
    assert about_block(BUILTIN, "concat").ports == ("*xs",)
