"""Every shipped recipe in every format: docs/exports.md says what holds, these tests hold it to it.

A few of them always, all under `--soak`; `--soak --update-golden` writes the page anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.export.bundle import export_run
from graphrec.export.formats import FormatName
from graphrec.export.order import Order
from graphrec.ground.errors import CheckpointError
from graphrec.train import train

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "exports.md"
RETRIEVERS = {"dssm", "mind", "retrieval_two_tower", "sasrec"}
"""They are searched (graphrec index), not exported."""
NAMES = sorted(
    path.stem
    for path in (ROOT / "recipes").glob("*.yaml")
    if not path.stem.endswith("_base") and path.stem not in RETRIEVERS
)
FORMATS: tuple[FormatName, ...] = ("pt2", "onnx", "aoti")
ALWAYS: tuple[tuple[str, FormatName], ...] = (
    ("dien", "onnx"),  # a loop over steps
)
SMALL = (
    *("data.synthetic=600", "data.workers=0", "train.batch=100"),
    *("train.steps=3", "train.epochs=null"),
)
HEAD = """\
# Which recipe exports to what

Each shipped recipe was trained for three steps and exported; its file gave the numbers of the run, raw values in, in a
process without graphrec. `score`: there is an entry point for the candidates of one request as well. Written by
`pytest --soak --update-golden tests/export/test_zoo_exports.py`, which also holds the page to what is true; `untried`
is what that has not come to yet.

| recipe | score | pt2 | onnx | aoti |
|---|---|---|---|---|
"""
_CELL = r" (yes|no|untried) \|"
ROW = re.compile(rf"^\| (\w+) \|{_CELL}{_CELL}{_CELL}{_CELL}$", re.MULTILINE)
Once = Callable[[str, Callable[[Path], object]], Path]


def told() -> dict[str, dict[str, str]]:
    """What the page says of each recipe: of `score` and of each format."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    return {
        name: dict(zip(("score", *FORMATS), cells, strict=True))
        for name, *cells in ROW.findall(text)
    }


def write(rows: dict[str, dict[str, str]]) -> None:
    lines = [f"| {name} | {' | '.join(cells.values())} |\n" for name, cells in sorted(rows.items())]
    PAGE.write_text(HEAD + "".join(lines), encoding="utf-8")


def word(holds: bool) -> str:
    return "yes" if holds else "no"


def trained(once: Once, name: str) -> Path:
    """A run of the recipe that is large enough to have numbers of its own."""

    def make(place: Path) -> None:
        compiled = compile_recipe(ROOT / "recipes" / f"{name}.yaml", overrides=list(SMALL))
        train(compiled, console=Quiet(), run_dir=place / "run")

    return once(f"zoo-{name}", make) / "run"


class Quiet:
    """A console that says nothing."""

    quiet = True

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


def scores_candidates(name: str) -> bool:
    checked = check_recipe(ROOT / "recipes" / f"{name}.yaml", purpose="inference")
    assert checked.graph is not None
    sides = {c.side == "request" for c in (*checked.graph.lookups, *checked.graph.first_order)}
    return len(sides) == 2


def test_the_page_has_a_row_for_every_recipe() -> None:
    rows = told()
    assert list(rows) == NAMES
    assert PAGE.read_text(encoding="utf-8").startswith(HEAD)
    assert {name: row["score"] for name, row in rows.items()} == {
        name: word(scores_candidates(name)) for name in NAMES
    }


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_right(
    name: str, form: FormatName, once: Once, tmp_path: Path, soak: bool, update_golden: bool
) -> None:
    if (name, form) not in ALWAYS and not soak:
        pytest.skip("part of make soak")
    try:
        exported = export_run(
            Order(str(trained(once, name)), str(tmp_path / "m"), form=form, rows=200)
        )
        holds, score = True, exported.proof.requests > 0
    except CheckpointError:
        holds, score = False, scores_candidates(name)
    if update_golden and soak:
        rows = told()
        rows.setdefault(name, dict.fromkeys(("score", *FORMATS), "untried"))
        rows[name] |= {"score": word(score), form: word(holds)}
        write(rows)
    assert (word(holds), word(score)) == (told()[name][form], told()[name]["score"])
