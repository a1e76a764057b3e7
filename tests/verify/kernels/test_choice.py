"""What `auto` is by measurements; which requests reach the tables; bytes that no machine changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from graphrec.compiler.kernel_lock import NAME, Lock, Machine, Times
from graphrec.compiler.passes.kernel_choice import stacks_of
from graphrec.compiler.passes.measured import node_entry, store_entry
from graphrec.compiler.pipeline import Compiled, check_recipe, compile_recipe, recipe_target
from graphrec.compiler.target import COMPILER, Target
from graphrec.graph import KernelChoice

Write = Callable[..., Path]
RECIPE = """\
graphrec: 1
features:
  - {type: id, names: {user_id: 100, item_id: 50}, dim: 16}
graph:
  a: {block: mlp, in: all, hidden: [16]}
  b: {block: mlp, in: all, hidden: [16]}
  top: {block: mlp, in: [a, b], hidden: [8], norm: batch}
tasks: {t: {label: y, in: top}}
train: {batch: 64}
"""
MACHINE = Machine(processor="a processor", threads=2, versions={})


def measured(path: Path, where: str, device: str = "cpu", **times: tuple[float, float]) -> Target:
    """A target with times of (forward, train) for a node or `embeddings`, also written as file."""
    compiled = compile_recipe(path)
    target = recipe_target(compiled.recipe, device)
    if where == "embeddings":
        entry = store_entry(compiled.graph, where, target)
    else:
        stack = stacks_of(compiled.graph, target).get(where, ())
        entry = node_entry(compiled.graph, compiled.graph[where], target, stack)
    kernels = {name: Times(forward=f, train=t) for name, (f, t) in times.items()}
    entry = entry.model_copy(update={"kernels": kernels})
    lock = Lock().updated(device, MACHINE, {entry.key: entry})
    path.with_name(NAME).write_text(lock.text(), encoding="utf-8")
    return recipe_target(compiled.recipe, device, lock.entries)


def kernel(path: Path, node: str, target: Target | None = None) -> KernelChoice:
    choice = compile_recipe(path, target=target).graph[node].kernel
    assert choice is not None
    return choice


def of_tables(compiled: Compiled) -> KernelChoice:
    return compiled.graph.table_kernels["embeddings"]


def test_siblings_are_chosen_together(write_recipe: Write) -> None:
    path = write_recipe(RECIPE)
    measured(path, "a", torch=(1.0, 4.0), stacked=(1.0, 2.0))
    first, second = kernel(path, "a"), kernel(path, "b")
    assert first.chosen == second.chosen == "stacked"
    assert first.why == "measured 2.00x of torch at batch 64 (kernels.lock), with b"
    text = compile_recipe(path).source.text
    assert "stacked([self.a, self.b], all_)" in text
    assert kernel(path, "top").chosen == "torch"


@pytest.mark.parametrize(
    ("train", "chosen"), [(3.89, "torch"), (3.87, "stacked"), (4.0, "torch"), (9.0, "torch")]
)
def test_three_percent_are_needed(train: float, chosen: str, write_recipe: Write) -> None:
    path = write_recipe(RECIPE)
    measured(path, "a", torch=(1.0, 4.0), stacked=(0.1, train))
    assert kernel(path, "a").chosen == chosen
    assert kernel(path, "a").asked == "auto"


def test_inference_goes_by_forward(write_recipe: Write) -> None:
    path = write_recipe(RECIPE)
    target = measured(path, "a", torch=(1.0, 4.0), stacked=(0.5, 8.0))
    assert kernel(path, "a", target).chosen == "torch"
    compiled = check_recipe(path, target=replace(target, purpose="inference")).graph
    assert compiled is not None and compiled["a"].kernel is not None
    assert compiled["a"].kernel.chosen == "stacked"


def test_what_is_missing_here_is_said_and_changes_no_byte(write_recipe: Write) -> None:
    path = write_recipe(RECIPE)
    target = measured(path, "a", "cuda", torch=(1.0, 4.0), triton=(0.5, 2.0))
    with_it = replace(target, modules=frozenset({"triton"}))
    without = replace(target, modules=frozenset())
    assert kernel(path, "a", with_it).chosen == "triton"
    missing = kernel(path, "a", without)
    assert missing.chosen == "torch" and "but triton is not installed" in missing.why
    there, away = (compile_recipe(path, target=t).source.text for t in (with_it, without))
    assert "TritonMLP" in there and "TritonMLP" in away
    assert there == away and "auto -> triton: measured 2.00x of torch" in there


def test_an_entry_for_a_kernel_that_is_gone(write_recipe: Write) -> None:
    path = write_recipe(RECIPE)
    measured(path, "top", torch=(1.0, 4.0), former=(0.5, 1.0))
    choice = kernel(path, "top")
    assert choice.chosen == "torch"
    assert "4.00x of torch" in choice.why and "has no kernel `former`" in choice.why


def test_another_device_is_another_measurement(write_recipe: Write) -> None:
    path = write_recipe(RECIPE)
    measured(path, "a", "cuda", torch=(1.0, 4.0), stacked=(0.5, 1.0))
    assert kernel(path, "a").why == "nothing measured yet"


@pytest.mark.parametrize(
    ("section", "asked", "argument"),
    [
        ("", "auto", ""),
        ("{by_block: {tables: native}}", "native", 'kernel="native"'),
        ("{by_node: {embeddings: torch}}", "torch", 'kernel="torch"'),
        ("{by_node: {'emb*': fbgemm}, by_block: {tables: torch}}", "fbgemm", 'kernel="fbgemm"'),
        ("{default: torch}", "torch", 'kernel="torch"'),
        ("{default: native}", "native", 'kernel="native"'),
        ("{default: triton}", "auto", ""),
        ("{by_node: {'*': triton}}", "auto", ""),
    ],
)
def test_wishes_for_tables(section: str, asked: str, argument: str, write_recipe: Write) -> None:
    path = write_recipe(RECIPE + (f"kernels: {section}\n" if section else ""))
    compiled = compile_recipe(path)
    assert of_tables(compiled).asked == asked
    _, _, after = compiled.source.text.partition("self.embeddings = ")
    statement = after.partition("self.")[0]
    assert argument in statement and ("kernel=" in statement) == bool(argument)
    told = [p.message for p in compiled.problems if p.path == "kernels"]
    assert not told or asked == "fbgemm"  # where it is not installed


def test_a_default_for_tables_is_none_for_blocks(write_recipe: Write) -> None:
    compiled = compile_recipe(write_recipe(RECIPE + "kernels: {default: native}\n"))
    assert not [p for p in compiled.problems if p.path.startswith("graph.")]
    assert {n.kernel.asked for n in compiled.graph.nodes if n.kernel} == {"auto"}


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("{by_block: {tables: triton}}", "kernels.by_block.tables"),
        ("{by_node: {embeddings: triton}}", "kernels.by_node.embeddings"),
        ("{by_node: {a: native}}", "kernels.by_node.a"),
        ("{by_block: {mlp: fbgemm}}", "kernels.by_block.mlp"),
        ("{default: nativ}", "kernels.default"),
    ],
)
def test_wishes_that_can_never_be(section: str, path: str, write_recipe: Write) -> None:
    (problem,) = check_recipe(write_recipe(RECIPE + f"kernels: {section}\n")).errors
    assert (problem.code, problem.path) == ("GR604", path)


def test_a_single_table_has_no_kernel_of_its_own(write_recipe: Write) -> None:
    section = "kernels: {by_node: {embeddings.user_id: torch}}\n"
    (problem,) = check_recipe(write_recipe(RECIPE + section)).errors
    assert problem.code == "GR603"


def test_tables_without_a_compiler(write_recipe: Write) -> None:
    path = write_recipe(RECIPE + "kernels: {by_block: {tables: native}}\n")
    recipe = compile_recipe(path).recipe
    whole = recipe_target(recipe)
    bare = replace(whole, modules=whole.modules - {COMPILER})
    checked = check_recipe(path, target=bare)
    (warning,) = (p for p in checked.problems if p.path == "kernels")
    assert warning.code == "GR602" and "no C++ compiler" in warning.message
    compiled = compile_recipe(path, target=bare)
    with_one = replace(whole, modules=whole.modules | {COMPILER})
    assert compiled.source.text == compile_recipe(path, target=with_one).source.text
    # The module does what the warning says: it runs torch.
    assert compiled.module().embeddings.kernel == "torch"
    (error,) = check_recipe(path, overrides=["kernels.policy=strict"], target=strict(bare)).errors
    assert error.code == "GR601"


def strict(target: Target) -> Target:
    return replace(target, requests=replace(target.requests, strict=True))


def test_tables_by_measurement(write_recipe: Write) -> None:
    path = write_recipe(RECIPE)
    measured(path, "embeddings", torch=(1.0, 4.0), native=(1.0, 8.0))
    slow = compile_recipe(path)
    assert of_tables(slow).chosen == "torch" and 'kernel="torch"' in slow.source.text
    measured(path, "embeddings", torch=(1.0, 4.0), native=(1.0, 1.0))
    fast = compile_recipe(path)
    assert of_tables(fast).asked == "auto" and "kernel=" not in fast.source.text


def test_fbgemm_has_its_conditions(write_recipe: Write) -> None:
    path = write_recipe(RECIPE + "kernels: {by_block: {tables: fbgemm}}\n")
    for override, why in (
        ("train.optim.sparse=adam", "no adam on the CPU"),
        ("features.user_id.dim=6", "width 6"),
    ):
        compiled = compile_recipe(path, overrides=[override, "features.item_id.dim=16"][:2])
        assert why in of_tables(compiled).why and 'kernel="torch"' in compiled.source.text


def test_a_run_keeps_the_measurements_it_was_trained_by(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphrec.cli import main

    monkeypatch.chdir(tmp_path)
    more = "train: {batch: 64, steps: 1}\ndata: {synthetic: 500, workers: 0}\n"
    path = write_recipe(RECIPE.replace("train: {batch: 64}\n", more))
    measured(path, "a", torch=(1.0, 3.0), stacked=(0.5, 1.0))
    assert main(["train", str(path), "--quiet", "--run", str(tmp_path / "run")]) == 0
    path.with_name(NAME).unlink()
    kept = compile_recipe(tmp_path / "run" / "recipe.yaml").graph["a"].kernel
    assert kept is not None and (kept.asked, kept.chosen) == ("auto", "stacked")
