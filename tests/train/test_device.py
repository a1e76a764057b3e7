"""One device from the command line to the trainer; one that is not there is refused at once.

No GPU is needed: what a machine has is handed in, and compiling for a device asks for none.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import graphrec
from graphrec.cli import main
from graphrec.cli.console import Console
from graphrec.compiler.kernel_lock import NAME, Lock, Machine, Times
from graphrec.compiler.passes.measured import node_entry
from graphrec.compiler.pipeline import compile_recipe, recipe_target
from graphrec.ground.errors import EnvironmentFault, RecipeError
from graphrec.recipe import canonical, read_recipe, recipe_hash
from graphrec.train.device import compile_for, find_device
from graphrec.train.loop import train

RECIPE = """\
graphrec: 1
name: where
data: {synthetic: 200}
features:
  - {type: id, names: {user_id: 100, item_id: 50}, dim: 16}
graph:
  a: {block: mlp, in: all, hidden: [16]}
  top: {block: mlp, in: a, hidden: [16], kernel: triton}
tasks: {t: {label: y, in: top}}
train: {batch: 64, epochs: 1}
"""
needs_none = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "where.yaml"
    path.write_text(RECIPE)
    return path


def test_a_device_is_found_or_refused() -> None:
    assert find_device("auto", cuda=True).type == find_device("cuda", cuda=True).type == "cuda"
    assert find_device("auto", cuda=False).type == find_device("cpu", cuda=True).type == "cpu"
    with pytest.raises(EnvironmentFault) as refused:
        find_device("cuda", cuda=False)
    (problem,) = refused.value.problems
    assert problem.code == "GR607" and "--device cpu" in problem.help


def test_the_target_is_the_device(recipe: Path) -> None:
    there = compile_for(recipe, cuda=True)
    assert there.device == "cuda" and not there.problems
    assert there.graph["top"].kernel is not None and there.graph["top"].kernel.chosen == "triton"
    here = compile_for(recipe, cuda=False)
    assert here.device == "cpu" and [p.code for p in here.problems] == ["GR602"]
    assert "CUDA only" in here.problems[0].message
    assert compile_for(recipe, device="cpu", cuda=True).device == "cpu"
    assert "CUDA only" in here.source.text and "CUDA only" not in there.source.text


def test_strictness_is_about_the_device_that_is_used(recipe: Path) -> None:
    strict = ["kernels.policy=strict"]
    assert compile_for(recipe, cuda=True, overrides=strict).device == "cuda"
    with pytest.raises(RecipeError, match="GR601"):
        compile_for(recipe, cuda=False, overrides=strict)


def test_the_recipe_names_a_device(recipe: Path) -> None:
    settings = ["train.device=cuda"]
    assert compile_recipe(recipe, overrides=settings).device == "cuda"  # it need not be here
    assert compile_recipe(recipe, overrides=settings, device="cpu").device == "cpu"
    assert compile_recipe(recipe).device == "cpu"
    with pytest.raises(EnvironmentFault, match="GR607"):
        compile_for(recipe, overrides=settings, cuda=False)


def test_where_a_run_is_trained_is_no_part_of_its_identity(recipe: Path) -> None:
    plain, elsewhere = read_recipe(recipe), read_recipe(recipe, ["train.device=cuda"])
    assert recipe_hash(plain) == recipe_hash(elsewhere)
    assert canonical(plain) != canonical(elsewhere)


def test_times_of_a_device_choose_for_that_device(recipe: Path) -> None:
    plain = compile_recipe(recipe)
    entry = node_entry(plain.graph, plain.graph["a"], recipe_target(plain.recipe, "cuda"))
    times = {"torch": Times(forward=2, train=4), "triton": Times(forward=1, train=2)}
    entry = entry.model_copy(update={"kernels": times})
    machine = Machine(processor="a processor", threads=2, versions={})
    lock = Lock().updated("cuda", machine, {entry.key: entry})
    recipe.with_name(NAME).write_text(lock.text())
    there, here = compile_recipe(recipe, device="cuda"), compile_recipe(recipe)
    assert there.graph["a"].kernel is not None and here.graph["a"].kernel is not None
    assert there.graph["a"].kernel.why == "measured 2.00x of torch at batch 64 (kernels.lock)"
    assert there.graph["a"].kernel.chosen == "triton"
    assert here.graph["a"].kernel.chosen == "torch"
    assert "auto -> triton: measured 2.00x" in there.source.text


@needs_none
def test_nothing_is_begun_on_a_device_that_is_not_there(recipe: Path, tmp_path: Path) -> None:
    compiled = compile_recipe(recipe, device="cuda")
    with pytest.raises(EnvironmentFault, match="GR607"):
        train(compiled, console=Console(quiet=True), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@needs_none
def test_the_commands_say_so(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert main(["train", str(recipe), "--run", run, "--device", "cpu", "--quiet"]) == 0
    capsys.readouterr()
    for words in (
        ["train", str(recipe), "--device", "cuda"],
        ["bench", str(recipe), "--device", "cuda"],
        ["verify", str(recipe), "--device", "cuda"],
        ["evaluate", run, "--device", "cuda"],
        ["importance", run, "--device", "cuda"],
    ):
        assert main(words) == 4, words
        assert "GR607" in capsys.readouterr().err
    for words in (["compile", str(recipe)], ["describe", str(recipe)], ["check", str(recipe)]):
        assert main([*words, "--device", "cuda"]) == 0
        assert "GR602" not in capsys.readouterr().err
    with pytest.raises(EnvironmentFault, match="GR607"):
        graphrec.load_run(run, device="cuda")
