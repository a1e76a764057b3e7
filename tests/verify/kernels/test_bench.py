"""`graphrec bench` times what agrees, writes kernels.lock, and `auto` goes by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.blocks.library import Library
from graphrec.cli import main
from graphrec.compiler.kernel_lock import NAME, read_lock
from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.verify.kernels.timing import interleaved

Recipe = Callable[[str], Path]
FAST = ["--repeats", "1", "--device", "cpu", "--quiet", "--plugin", "tune_blocks"]


def compiled(path: Path, library: Library, *overrides: str) -> Compiled:
    return compile_recipe(path, library=library, overrides=overrides)


def test_a_faster_kernel_is_chosen_and_named(
    recipe: Recipe, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe("quick")
    before = compiled(path, library)
    assert main(["bench", str(path), *FAST]) == 0
    assert "quick" in capsys.readouterr().out
    after = compiled(path, library)
    choice = after.graph["kept"].kernel
    assert choice is not None and (choice.asked, choice.chosen) == ("auto", "quick")
    assert "x of torch at batch 64 (kernels.lock)" in choice.why
    assert "auto -> quick: measured" in after.source.text
    assert "Linear" in after.source.text and "Slow" not in after.source.text
    assert "Slow" in before.source.text
    assert after.module().state_dict().keys() == before.module().state_dict().keys()
    # Another batch was not measured, and torch asked for stays torch.
    other = compiled(path, library, "train.batch=65").graph["kept"].kernel
    assert other is not None and other.chosen == "torch"
    asked = compiled(path, library, "kernels.default=torch").graph["kept"].kernel
    assert asked is not None and str(asked) == "torch"


def test_a_slower_kernel_is_not_chosen_and_a_wrong_one_not_timed(
    recipe: Recipe, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe("timed")
    assert main(["bench", str(path), *FAST, "--format", "json"]) == 2
    data = json.loads(capsys.readouterr().out)
    timed = {row["kernel"]: row for row in data["rows"] if row["block"] == "timed"}
    assert timed.keys() == {"torch", "slow"}
    assert timed["torch"]["chosen"] and not timed["slow"]["chosen"]
    assert timed["slow"]["ratio"] < 1
    assert [p["code"] for p in data["problems"]] == ["GR606"]
    lock, problems = read_lock(path.with_name(NAME))
    assert not problems
    (entry,) = (e for e in lock.entries.values() if e.block == "timed")
    assert entry.kernels.keys() == {"torch", "slow"}
    choice = compiled(path, library).graph["kept"].kernel
    assert choice is not None and choice.chosen == "torch" and "no kernel measured" in choice.why


def test_equal_nodes_are_timed_once_and_others_are_kept(
    recipe: Recipe, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe("quick")
    assert main(["bench", str(path), *FAST]) == 0
    first = read_lock(path.with_name(NAME))[0]
    assert [e.block for e in first.entries.values()].count("quick") == 1
    assert main(["bench", str(path), "--batch", "32", *FAST]) == 0
    second = read_lock(path.with_name(NAME))[0]
    assert first.entries.items() <= second.entries.items()
    assert len(second.entries) == 2 * len(first.entries)


def test_a_kernel_that_fails_or_is_wrong_on_an_odd_batch_stops_no_other(
    recipe: Recipe, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe("scale")
    assert main(["bench", str(path), *FAST]) == 2
    printed = capsys.readouterr()
    assert "it fails (RuntimeError: no tile fits)" in printed.err
    assert "kernel `odd_rows` of scale differs" in printed.err
    assert "gradient of bias is missing" in printed.err and "off by inf" not in printed.err
    (entry,) = (
        e for e in read_lock(path.with_name(NAME))[0].entries.values() if e.block == "scale"
    )
    assert entry.kernels.keys() == {"torch", "same"}
    # One line for what is missing everywhere; no mark where there is nothing to choose.
    assert "  gpu      kept +1" in printed.out
    (alone,) = (line for line in printed.out.splitlines() if line.startswith("head.t"))
    assert "<-" not in alone


def test_times_that_auto_will_not_find_are_said(
    recipe: Recipe, library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, loud = recipe("quick"), [word for word in FAST if word != "--quiet"]
    assert main(["bench", str(path), "--batch", "8", "--lock", str(tmp_path / "x"), *loud]) == 0
    said = capsys.readouterr().err
    assert "entries for batch 8 on cpu" in said and "reads" in said and "not this file" in said
    assert "train.batch 64: with that `auto` finds none" in said
    assert main(["bench", str(path), "--batch", "64", *loud]) == 0
    assert "finds none" not in capsys.readouterr().err


def test_siblings_that_ask_for_another_kernel_are_not_called_alone(
    recipe: Recipe, library: Library
) -> None:
    from graphrec.compiler.pipeline import recipe_target
    from graphrec.verify.kernels import jobs

    made = compiled(recipe("scale"), library)
    target = recipe_target(made.recipe)
    (top,) = (job for job in jobs(made.graph, target) if job.name == "top")
    assert top.absent["stacked"].startswith("no sibling")
    asked = compiled(recipe("scale"), library, "graph.top.kernel=triton")
    target = recipe_target(asked.recipe)
    (top,) = (job for job in jobs(asked.graph, target) if job.name == "top")
    assert top.absent["stacked"].startswith("the recipe asks for `triton`")


def test_no_lock_writes_nothing_and_lock_says_where(
    recipe: Recipe, library: Library, tmp_path: Path
) -> None:
    path = recipe("quick")
    assert main(["bench", str(path), "--no-lock", *FAST]) == 0
    assert not path.with_name(NAME).exists()
    assert main(["bench", str(path), "--lock", str(tmp_path / "mine"), *FAST]) == 0
    assert read_lock(tmp_path / "mine")[0].entries and not path.with_name(NAME).exists()


def test_a_damaged_lock_is_told_before_anything_is_timed(
    recipe: Recipe, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe("quick")
    path.with_name(NAME).write_text("graphrec_lock: 7\n")
    assert main(["bench", str(path), *FAST]) == 2
    assert "GR605" in capsys.readouterr().err
    assert path.with_name(NAME).read_text() == "graphrec_lock: 7\n"


def test_candidates_take_turns() -> None:
    seen: list[str] = []
    found = interleaved({name: lambda n=name: seen.append(n) for name in ("a", "b")}, 3)
    order = "".join(seen).replace("aa", "a")
    while "aa" in order or "bb" in order:
        order = order.replace("aa", "a").replace("bb", "b")
    assert order == "abababa"[: len(order)] and found.keys() == {"a", "b"}
    assert all(taken.wall > 0 for taken in found.values())
