"""R8: `extends` and `file()` read below the recipe's own folder only; 500 attempts to get out."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphrec.compiler.pipeline import check_recipe

SECRET = "top-secret-value"
BODY = """\
graph: {deep: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: deep}}
"""
FEATURES = "features: [{type: id, names: user_id, vocab: %s, dim: 4}]\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """home/recipes with links that lead out, and a secret recipe and vocabulary beside it."""
    inside, outside = tmp_path / "home" / "recipes", tmp_path / "outside"
    (inside / "sub" / "deep").mkdir(parents=True)
    outside.mkdir()
    for folder in (outside, tmp_path / "home", tmp_path):
        (folder / "secret.yaml").write_text(f"graphrec: 1\ndescription: {SECRET}\n{FEATURES % 10}")
        (folder / "secret.txt").write_text(f"{SECRET}\nother\n")
    (inside / "own.txt").write_text("a\nb\n")
    (inside / "sub" / "own.txt").write_text("a\nb\n")
    (inside / "base.yaml").write_text(f"graphrec: 1\n{FEATURES % 10}")
    (inside / "out").symlink_to(outside)
    (inside / "out.yaml").symlink_to(outside / "secret.yaml")
    (inside / "out.txt").symlink_to(outside / "secret.txt")
    (inside / "twice").symlink_to(inside / "out")
    (inside / "loop").symlink_to(inside / "loop")
    (inside / "up").symlink_to("..")
    (inside / "sub" / "deep" / "up").symlink_to("../../..")
    return inside


def attempts(inside: Path, ending: str) -> Iterator[str]:
    """Ways to write a path that leaves the folder."""
    outside = inside.parents[1] / "outside"
    tails = [
        f"secret.{ending}",
        f"./secret.{ending}",
        f"x/../secret.{ending}",
        f"//secret.{ending}",
    ]
    tails += [f"./x/.././secret.{ending}", f"secret.{ending}/."]
    heads = [
        "..",
        "../..",
        "../../outside",
        "sub/../..",
        "sub/deep/../../..",
        "./..",
        "../recipes/..",
    ]
    heads += ["up", "up/..", "out", "twice", "sub/deep/up", "loop", "loop/..", "/", "//", "/."]
    heads += [
        str(outside),
        f"/{outside}",
        f"{inside}/../../outside",
        f"{inside}/out",
        str(inside.parent),
    ]
    heads += [
        "~",
        "~root",
        "~/..",
        "$HOME",
        "%2e%2e",
        "..%2f",
        "..\\",
        "..\\..\\",
        "\\\\host\\share",
    ]
    heads += [
        "file:///etc",
        "http://127.0.0.1:9",
        "/proc/self/cwd/..",
        "/proc/self/root",
        "/dev/fd/0",
    ]
    heads += [
        ". .",
        "...",
        "..;",
        "../.",
        ".././",
        "sub/./../../",
        "sub//..//..",
        "nul/../..",
        " ..",
    ]
    for head, tail in itertools.product(heads, tails):
        yield f"{head}/{tail}"
    yield from (f"out.{ending}", "/etc/passwd", "/etc/hostname", "/dev/zero", "/dev/stdin", "loop")
    yield from (
        f"..\u2215secret.{ending}",
        f"．．/secret.{ending}",
        f"secret.{ending}\u200b",
        ".",
        "..",
    )
    yield from ("", " ", "/", "sub", "up", "out", "\u0000", f"own.txt\u0000/../secret.{ending}")


class Opened:
    """Every path that is opened while `on`, links resolved."""

    def __init__(self) -> None:
        self.on = False
        self.paths: list[str] = []
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            self.paths.append(os.path.realpath(os.fsdecode(args[0])))


OPENED = Opened()


def told(text: str, inside: Path, **more: Any) -> tuple[set[str], str]:
    path = inside / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    OPENED.paths.clear()
    OPENED.on = True
    try:
        checked = check_recipe(path, **more)
    finally:
        OPENED.on = False
    away = [p for p in OPENED.paths if not p.startswith((str(inside), sys.prefix, sys.base_prefix))]
    package = str(Path(__file__).resolve().parents[2])
    away = [p for p in away if not p.startswith((package, "/proc/meminfo", "/sys/"))]
    assert not away, (text, away)
    assert checked.errors, text
    return {p.code for p in checked.errors}, repr(checked.problems) + repr(checked.reading.sources)


def test_five_hundred_attempts(place: Path) -> None:
    check_recipe(place / "base.yaml")  # what is imported late is imported now
    tried = 0
    for attempt in attempts(place, "yaml"):
        codes, said = told(f"graphrec: 1\nextends: {json.dumps(attempt)}\n{BODY}", place)
        assert codes & {"GR107", "GR120", "GR121", "GR122", "GR202"}, (attempt, codes)
        assert SECRET not in said, attempt
        tried += 1
    for attempt in attempts(place, "txt"):
        vocab = json.dumps(f"file({attempt})")
        codes, said = told(f"graphrec: 1\n{FEATURES % vocab}{BODY}", place)
        assert codes & {"GR107", "GR120", "GR121", "GR202"}, (attempt, codes)
        assert SECRET not in said, attempt
        tried += 1
    assert tried >= 500


def test_a_chain_stays_below_the_first_recipe(place: Path) -> None:
    """A parent in a folder below may name nothing above the first recipe's folder either."""
    (place / "sub" / "middle.yaml").write_text("graphrec: 1\nextends: ../../secret.yaml\n")
    codes, said = told(f"graphrec: 1\nextends: sub/middle.yaml\n{BODY}", place)
    assert codes == {"GR121"}
    assert SECRET not in said
    (place / "sub" / "middle.yaml").write_text("graphrec: 1\nextends: ../base.yaml\n")
    path = place / "recipe.yaml"
    assert not check_recipe(path).errors


def test_what_is_inside_is_read(place: Path) -> None:
    path = place / "recipe.yaml"
    for vocab in ("file(own.txt)", "file(sub/own.txt)", "file(./sub/../own.txt)"):
        path.write_text(f"graphrec: 1\n{FEATURES % json.dumps(vocab)}{BODY}")
        assert not check_recipe(path).errors


def test_another_root_is_opened_on_purpose_only(place: Path) -> None:
    path = place / "recipe.yaml"
    path.write_text(f"graphrec: 1\nextends: ../../outside/secret.yaml\n{BODY}")
    assert {p.code for p in check_recipe(path).errors} == {"GR121"}
    allowed = place.parents[1] / "outside"
    assert not check_recipe(path, allow_root=allowed).errors
    codes, _ = told(f"graphrec: 1\nextends: ../secret.yaml\n{BODY}", place)
    assert codes == {"GR121"}
