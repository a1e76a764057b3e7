"""Every combination of modifiers computes what it says, step by step, from the module's own parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.nn import Batch

Write = Callable[[str], Path]
RECIPE = """\
graphrec: 1
name: modified
features: [{type: id, names: [a, b], vocab: 20, dim: 4}]
graph:
  base: {block: linear, in: all, out: 8}
  n: {block: linear, in: base, out: 8MODIFIERS}
tasks: {one: {label: x, in: base}, two: {label: y, in: base}}
export: {nodes: [base, n]}
"""
COMBINATIONS = list(
    itertools.product(
        ("", "tasks", "[s, t]"),
        ("", "2", "[u, v]"),
        ("", "concat", "sum", "mean", "stack"),
        ("", "3", "3, tied: true"),
        (False, True),
    )
)


def words(each: str, parallel: str, join: str, repeat: str, residual: bool) -> str:
    said = {"each": each, "parallel": parallel, "join": join, "repeat": repeat}
    text = "".join(f", {key}: {value}" for key, value in said.items() if value)
    return text + (", residual: true" if residual else "")


def names(value: str, prefix: str = "p") -> list[str]:
    if value == "tasks":
        return ["one", "two"]
    if value.isdecimal():
        return [f"{prefix}{i}" for i in range(int(value))]
    return value.strip("[]").split(", ")


def expected(
    module: nn.Module, x: Tensor, each: str, parallel: str, join: str, repeat: str, residual: bool
) -> dict[str, Tensor]:
    """What the modifiers mean: each outside, then parallel, then repeat, the residual innermost."""

    def steps(name: str) -> Tensor:
        value = x
        for step in range(3 if repeat else 1):
            own = "_s0" if "tied" in repeat else f"_s{step}" if repeat else ""
            made = module.get_submodule(name + own)(value)
            value = value + made if residual else made
        return value

    def copies(name: str) -> dict[str, Tensor]:
        if not parallel:
            return {"": steps(name)}
        made = {k: steps(f"{name}_{k}") for k in names(parallel)}
        if not join:
            return {f".{k}": v for k, v in made.items()}
        parts = list(made.values())
        joined = {
            "concat": lambda: torch.cat(parts, -1),
            "sum": lambda: parts[0] + parts[1],
            "mean": lambda: (parts[0] + parts[1]) / 2,
            "stack": lambda: torch.stack(parts, 1),
        }
        return {"": joined[join]()}

    if not each:
        return {f"n{k}": v for k, v in copies("n").items()}
    return {f"n.{key}{k}": v for key in names(each) for k, v in copies(f"n_{key}").items()}


@pytest.mark.parametrize("chosen", COMBINATIONS, ids=lambda c: words(*c).strip(", ") or "plain")
def test_combinations(chosen: tuple[str, str, str, str, bool], write_recipe: Write) -> None:
    each, parallel, join, repeat, residual = chosen
    path = write_recipe(RECIPE.replace("MODIFIERS", words(*chosen)))
    if join and not parallel:
        (problem,) = check_recipe(path).errors
        assert (problem.code, problem.path) == ("GR205", "graph.n.join")
        return
    module = compile_recipe(path).module().eval()
    outputs = module(Batch({"a": torch.arange(5), "b": torch.arange(5) + 3}))
    found = {name: value for name, value in outputs.items() if name.partition(".")[0] == "n"}
    wanted = expected(module, outputs["base"], each, parallel, join, repeat, residual)
    suffix = {name.removesuffix(".residual").removesuffix(".s2"): v for name, v in found.items()}
    assert suffix.keys() == wanted.keys(), found.keys()
    for name, value in wanted.items():
        assert torch.equal(suffix[name], value), name


@pytest.mark.parametrize(
    ("said", "code", "path"),
    [
        ("carry: x", "GR205", "graph.n.carry"),
        ("tied: true", "GR205", "graph.n.tied"),
        ("repeat: 0", "GR202", "graph.n.repeat"),
        ("parallel: -1", "GR202", "graph.n.parallel"),
        ("parallel: []", "GR202", "graph.n.parallel"),
        ("each: []", "GR202", "graph.n.each"),
        ("each: task", "GR204", "graph.n.each"),
        ("each: [A]", "GR320", "graph.n.each.0"),
        ("parallel: [a, a]", "GR307", "graph.n"),
        ("share: nobody", "GR301", "graph.n.share"),
        ("share: all", "GR301", "graph.n.share"),
        ("join: product, parallel: 2", "GR202", "graph.n.join"),
        ("repeat: 2, carry: y", "GR302", "graph.n.carry"),
        ("was: Deep", "GR320", "graph.n.was"),
    ],
)
def test_modifiers_that_mean_nothing(said: str, code: str, path: str, write_recipe: Write) -> None:
    found = check_recipe(write_recipe(RECIPE.replace("MODIFIERS", f", {said}"))).errors
    assert [(p.code, p.path) for p in found] == [(code, path)], found


def test_share_uses_the_same_weights(write_recipe: Write) -> None:
    text = RECIPE.replace("8MODIFIERS", "8").replace(
        "tasks:", "  twin: {block: linear, in: base, out: 8, share: n}\ntasks:"
    )
    module = compile_recipe(write_recipe(text.replace("[base, n]", "[n, twin]"))).module().eval()
    outputs = module(Batch({"a": torch.arange(5), "b": torch.arange(5)}))
    assert torch.equal(outputs["n"], outputs["twin"])
    assert not any(key.startswith("twin") for key in module.state_dict())


def test_a_disabled_node_is_its_input(write_recipe: Write) -> None:
    path = write_recipe(RECIPE.replace("MODIFIERS", ", enabled: false"))
    module = compile_recipe(path).module().eval()
    outputs = module(Batch({"a": torch.arange(5), "b": torch.arange(5)}))
    assert "n" not in dict(module.named_children())
    assert set(outputs) >= {"base"}
    narrow = check_recipe(path, overrides=["graph.n.out=3"]).errors
    assert [(p.code, p.path) for p in narrow] == [("GR504", "graph.n.enabled")]
