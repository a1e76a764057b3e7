"""`graphrec verify` finds what is wrong, and leaves nothing out silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.blocks.library import Library
from graphrec.cli import main
from graphrec.compiler.pipeline import compile_recipe, recipe_target
from graphrec.verify.kernels import Verified, verify

Recipe = Callable[[str], Path]


def verified(path: Path, library: Library) -> Verified:
    compiled = compile_recipe(path, library=library)
    return verify(compiled, recipe_target(compiled.recipe), lambda _: None)


def test_right_ones_agree_and_wrong_ones_are_found(recipe: Recipe, library: Library) -> None:
    found = verified(recipe("scale"), library)
    states = {line.kernel: line for line in found.lines if line.block == "scale"}
    assert {kernel: line.state for kernel, line in states.items()} == {
        "same": "agrees",
        "no_bias": "differs",
        "wrong_gradient": "differs",
        "odd_rows": "differs",
        "fails": "differs",
        "gpu": "not run here",
        "absent": "not run here",
    }
    assert states["same"].comparisons >= 10
    assert "gradient of bias" in states["no_bias"].detail
    assert "gradient of input 0" in states["wrong_gradient"].detail
    assert "no tile fits" in states["fails"].detail
    assert states["gpu"].detail == "CUDA only"
    assert states["absent"].detail == "no_such_module is not installed"
    assert {line.node for line in states.values()} == {"kept +1"}
    assert [problem.code for problem in found.problems] == ["GR606"] * 4
    assert found.summary() == (
        f"{found.count('agrees')} agree, 4 differ, {found.count('not run here')} not run here"
    )


def test_every_kernel_of_every_node_has_a_line(recipe: Recipe, library: Library) -> None:
    found = verified(recipe("scale"), library)
    lines = {(line.block, line.kernel) for line in found.lines}
    compiled = compile_recipe(recipe("scale"), library=library)
    for node in compiled.graph.nodes:
        declared = set(getattr(node.op, "kernels", {})) - {"torch"}
        assert {(node.label, kernel) for kernel in declared} <= lines
    assert {("tables", "native"), ("tables", "fbgemm")} <= lines


def test_tables_agree(recipe: Recipe, library: Library) -> None:
    found = verified(recipe("scale"), library)
    tables = [line for line in found.lines if line.block == "tables"]
    assert tables and all(line.state != "differs" for line in tables), found.as_text()


def test_the_command(recipe: Recipe, library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", str(recipe("scale")), "--plugin", "tune_blocks", "--device", "cpu"]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "4 differ" in out and err.count("GR606") == 4
    assert main([*words[:1], "deepfm", *words[4:], "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["differ"] == 0 and data["agree"] + data["not_run"] == len(data["lines"])
