"""Pictures of the documentation are of today, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphrec.cli import GROUPS
from graphrec.compiler.pipeline import compile_recipe
from graphrec.views.pictures import svg

ROOT = Path(__file__).parents[2]


def test_the_picture_of_the_readme(update_golden: bool) -> None:
    path = ROOT / "docs" / "shop.svg"
    drawn = svg(compile_recipe(ROOT / "recipes" / "shop.yaml").graph)
    if update_golden:
        path.write_text(drawn, encoding="utf-8")
    assert path.read_text(encoding="utf-8").strip() == drawn.strip()


PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    for pair in LINK.findall(text):
        target, _, anchor = (pair[0] or pair[1]).partition("#")
        if target.startswith(("http://", "https://")):
            continue
        file = (page.parent / target) if target else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = HEADING.findall(file.read_text(encoding="utf-8"))
            assert anchor in {slug(heading) for heading in headings}, f"{page.name}: #{anchor}"


def slug(heading: str) -> str:
    """As MkDocs and GitHub make them, of plain headings."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_in_the_menu() -> None:
    menu = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert menu == pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_pages_are_commands(page: Path) -> None:
    """Every `graphrec COMMAND` of a fence is one, wherever the page has no marker that runs it."""
    known = {command.name for _, group in GROUPS for command in group}
    for fence in FENCE.findall(page.read_text(encoding="utf-8")):
        if fence.startswith("```bash"):
            named = set(re.findall(r"^(?:torchrun .*-m )?graphrec ([a-z][a-z-]*)", fence, re.M))
            assert named <= known, named - known


def test_the_module_beside_the_recipe_of_the_readme(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("</table>")[0]
    recipe, module = re.findall(r"^```(?:yaml|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    path = tmp_path / "deepfm_criteo.yaml"
    path.write_text(recipe, encoding="utf-8")
    source = compile_recipe(path).source.text

    def plain(code: str) -> str:
        """Without the recipe's lines: the shipped file has comments above."""
        return re.sub(r"  # recipe:\d+$", "", code[code.index("class ") :], flags=re.MULTILINE)

    assert plain(module).strip() == plain(source).strip()
