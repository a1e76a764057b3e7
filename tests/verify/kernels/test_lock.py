"""kernels.lock: the same bytes for the same times, read back, and damage told with its line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.compiler.kernel_lock import NAME, Entry, Lock, Machine, Times, lock_path, read_lock
from graphrec.compiler.pipeline import check_recipe

Write = Callable[..., Path]
MACHINE = Machine(processor="a processor", threads=2, versions={"torch": "2.13.0"})
RECIPE = """\
graphrec: 1
features: [{type: id, names: {user_id: 100}, dim: 8}]
graph: {top: {block: mlp, in: all, hidden: [4]}}
tasks: {t: {label: y, in: top}}
"""


def entry(block: str = "mlp", batch: int = 64, torch: float = 2.0, quick: float = 1.0) -> Entry:
    return Entry(
        block=block,
        args={"in_features": 8, "hidden": [16], "name": "größe: yes"},
        inputs=["[B, 8]", "[B, L50, 4]"],
        batch=batch,
        precision="fp32",
        device="cpu",
        kernels={
            "torch": Times(forward=torch, train=3 * torch),
            "quick": Times(forward=quick, train=4 * quick),
        },
    )


def lock(*entries: Entry) -> Lock:
    return Lock().updated("cpu", MACHINE, {one.key: one for one in entries})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    first = entry()
    second = entry("din").model_copy(update={"copies": 3, "shared": True})
    path = tmp_path / NAME
    path.write_text(lock(first, second).text(), encoding="utf-8")
    found, problems = read_lock(path)
    assert not problems and found == lock(first, second)
    assert lock(second, first).text() == lock(first, second).text()
    assert Lock().text() == read_and_write(tmp_path, Lock().text())


def read_and_write(folder: Path, text: str) -> str:
    (folder / "other.lock").write_text(text, encoding="utf-8")
    found, problems = read_lock(folder / "other.lock")
    assert not problems
    return found.text()


def test_measuring_again_replaces_and_keeps_the_others() -> None:
    before = lock(entry(), entry(batch=512))
    after = before.updated("cuda", MACHINE, {entry().key: entry(torch=9.0)})
    assert len(after.entries) == 2 and after.machines.keys() == {"cpu", "cuda"}
    assert after.entries[entry().key].kernels["torch"].forward == 9.0
    assert after.entries[entry(batch=512).key] == entry(batch=512)


def test_a_ratio_is_that_of_the_purpose() -> None:
    assert entry().ratio("quick", "inference") == 2.0
    assert entry().ratio("quick", "train") == 1.5
    assert entry().ratio("unknown", "train") is None


GOOD = lock(entry()).text()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (GOOD.replace("graphrec_lock: 1", "graphrec_lock: 2"), 3, "format 2"),
        (GOOD.replace("graphrec_lock: 1\n", ""), 3, "graphrec_lock: 1 is missing"),
        (GOOD.replace("batch: 64", "batch: many"), 10, "entries.0.batch"),
        (GOOD.replace('"forward": 2.0', '"forward": -2.0'), 16, "greater than 0"),
        (GOOD.replace('"quick": {"forward"', '"quick": {"foward"'), 15, "forward"),
        (GOOD.replace('device: "cpu"', 'device: "cpu'), 13, "can't be used"),
        ("", 1, "empty"),
        ("- a list\n", 1, "graphrec_lock: 1 is missing"),
        (GOOD[: GOOD.index("    batch")], 7, "entries.0.batch"),
    ],
)
def test_damage_is_told_with_its_line(
    text: str, line: int, said: str, tmp_path: Path, write_recipe: Write
) -> None:
    path = write_recipe(RECIPE)
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    (problem,) = check_recipe(path).errors
    assert problem.code == "GR605" and problem.span is not None
    assert (problem.span.file, problem.span.line) == (str(tmp_path / NAME), line)
    assert said in problem.message and "graphrec bench" in problem.help


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff\xfe\x00")
    (problem,) = read_lock(tmp_path / NAME)[1]
    assert problem.code == "GR605" and "UTF-8" in problem.message


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "huge"])
def test_what_is_no_lock_is_told_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / NAME
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # opening it would wait for ever
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"a: b\n" * 400_000)
    (problem,) = read_lock(path)[1]
    said = "more than 1,048,576 bytes" if kind == "huge" else "it is no file"
    assert problem.code == "GR605" and said in problem.message and str(path) in problem.message
    assert "graphrec bench" in problem.help


def test_where_it_lies(tmp_path: Path) -> None:
    from graphrec.blocks.library import shipped

    assert lock_path(tmp_path / "shop.yaml") == tmp_path / NAME
    assert lock_path("shop.yaml") == Path(NAME)
    assert lock_path(shipped("recipes") / "deepfm.yaml") == Path(NAME)


def test_it_is_read_without_torch(tmp_path: Path, write_recipe: Write) -> None:
    (tmp_path / NAME).write_text(GOOD, encoding="utf-8")
    code = (
        "import sys; from graphrec.compiler.pipeline import compile_recipe;"
        f"compile_recipe({str(write_recipe(RECIPE))!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
