"""Passes that rewrite: the module with and without them has equal keys, outputs and gradients."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graphrec.blocks import PRIMITIVES
from graphrec.blocks.base import Block
from graphrec.compiler.codegen import Source, lower
from graphrec.compiler.loader import load
from graphrec.compiler.passes import PASSES
from graphrec.compiler.pipeline import check_recipe
from graphrec.compiler.target import Target
from graphrec.graph import Graph, Lookup
from graphrec.nn import Batch, Jagged

Write = Callable[[str], Path]
HEAD = """\
graphrec: 1
name: toy
defaults: {feature: {dim: 8}}
features:
  - {type: id, group: user, names: {age: 10, user_id: 100}}
  - {type: id, group: item, names: {item_id: 50}}
  - {type: sequence, name: clicks, of: [item_id], max_len: 5}
"""


def compiled(path: Path, without: str = "", target: Target | None = None) -> tuple[Graph, Source]:
    """The graph and its source after all passes but one."""
    seen: list[Graph] = []
    checked = check_recipe(path, target=target, trace=lambda name, graph: seen.append(graph))
    assert not checked.errors, checked.errors
    graph = seen[0]
    for step in PASSES:
        if step.__name__ != without:
            graph = step(graph, target or Target())
    return graph, lower(graph, recipe_hash="0" * 12, version="test")


def batch(graph: Graph, rows: int = 33) -> Batch:
    random = torch.Generator().manual_seed(3)
    sizes = {table.name: table.rows or 1 for table in graph.tables}
    lengths = torch.arange(rows) % 5

    def column(lookup: Lookup) -> Tensor | Jagged:
        count = int(lengths.sum()) if lookup.kind == "sequence" else rows
        ids = torch.randint(0, sizes[lookup.table or ""], (count,), generator=random)
        return Jagged(ids, lengths) if lookup.kind == "sequence" else ids

    return Batch({lookup.column: column(lookup) for lookup in graph.lookups})


def assert_equal(
    one: tuple[Graph, Source], other: tuple[Graph, Source], train: bool = True
) -> None:
    """Equal keys, and with equal weights equal outputs and gradients."""
    rows = batch(one[0])
    made: list[nn.Module] = [load(source)().double() for _, source in (one, other)]
    assert made[0].state_dict().keys() == made[1].state_dict().keys()
    for value in made[0].state_dict().values():
        value.add_(torch.rand_like(value) if value.is_floating_point() else 0)
    made[1].load_state_dict(made[0].state_dict())
    outputs, gradients = [], []
    for module in made:
        found = module.train(train)(rows)
        weights = dict(module.named_parameters())
        total = sum(v.square().sum() for v in found.values())
        assert isinstance(total, Tensor)
        total.backward()
        outputs.append(found)
        gradients.append(
            {k: None if p.grad is None else p.grad.to_dense() for k, p in weights.items()}
        )
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-10, atol=1e-10)
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, rtol=1e-9, atol=1e-9)


# ---- common subexpressions ----------------------------------------------------------------------

REPEATED = HEAD + (
    "groups: {zeta: [age, user_id]}\n"
    "graph:\n"
    "  h: {block: pooling, in: clicks}\n"
    "  h2: {block: pooling, in: clicks}\n"
    "  x1: {block: concat, in: [user, h]}\n"
    "  x2: {block: concat, in: [zeta, h2]}\n"
    "  s: 'relu(x1) - 0.5 * x1'\n"
    "  r: 'relu( x2 ) - 0.5 * x2'\n"
    "  m: {block: mlp, in: s, hidden: [6], share: z}\n"
    "  z: {block: mlp, in: r, hidden: [6]}\n"
    "  other: {block: mlp, in: x2, hidden: [6], share: m}\n"
    "  a: '(m + z) * 2'\n"
    "  b: 'm + z * 2 + other'\n"
    "tasks: {t: {label: y, in: a}, u: {label: z, in: b}}\n"
)


def test_equal_nodes_are_computed_once(write_recipe: Write) -> None:
    path = write_recipe(REPEATED)
    before, after = compiled(path, without="cse"), compiled(path)
    gone = {*before[0].order()} - {*after[0].order()}
    assert gone == {"zeta", "h2", "x2", "s", "m"}
    assert [str(ref) for _, ref in after[0]["a"].refs()] == ["z", "z"]
    assert after[0]["other"].shares == "z"
    assert_equal(before, after)


def test_what_is_exported_keeps_its_name(write_recipe: Write) -> None:
    path = write_recipe(REPEATED + "export: {nodes: [x1, x2]}\n")
    before, after = compiled(path, without="cse"), compiled(path)
    assert {*before[0].order()} - {*after[0].order()} == {"zeta", "h2", "s", "m"}
    assert [ref.node for _, ref in after[0]["r"].refs()] == ["x1"]
    assert_equal(before, after, train=False)


@pytest.mark.parametrize(
    ("settings", "purpose", "merged"),
    [
        ("", "train", True),
        (", dropout: 0.1", "train", False),
        (", dropout: [0.0]", "train", True),
        (", dropout: [0.2]", "train", False),
        (", norm: layer", "train", True),
        (", norm: batch", "train", False),
        (", activation: dice", "train", False),
        (", dropout: 0.1", "inference", True),
        (", norm: batch", "inference", True),
    ],
)
def test_shared_layers_are_equal_unless_each_use_has_its_own_life(
    settings: str, purpose: str, merged: bool, write_recipe: Write
) -> None:
    text = HEAD + (
        f"graph:\n  h: {{block: pooling, in: clicks}}\n"
        f"  m: {{block: mlp, in: [all, h], hidden: [6]{settings}}}\n"
        f"  n: {{block: mlp, in: [all, h], hidden: [6]{settings}, share: m}}\n"
        f"  own: {{block: mlp, in: [all, h], hidden: [6]{settings}}}\n"
        "  top: 'm + n + own'\ntasks: {t: {label: y, in: top}}\n"
    )
    target = Target(purpose=purpose)  # type: ignore[arg-type]
    before = compiled(write_recipe(text), "cse", target)
    after = compiled(write_recipe(text), "", target)
    assert ("n" in after[0].by_name) is not merged
    assert {"m", "own"} <= after[0].by_name.keys()
    assert_equal(before, after, train=False)


PURE = [block for block in PRIMITIVES if block.is_pure]


@pytest.mark.parametrize("block", PURE, ids=lambda block: block.block_name)
def test_pure_blocks_have_no_state(block: type[Block]) -> None:
    assert block in PRIMITIVES
    needed = {name: 3 for name, f in block.model_fields.items() if f.is_required()}
    module, _, name = str(block.kernels["torch"]).partition(":")
    made = {"dot_interaction": {"num_fields": 4}}.get(block.block_name, needed)
    layer = getattr(__import__(module, fromlist=[name]), name)(**made)
    assert not layer.state_dict() and not hasattr(layer, "dropout")


# ---- siblings -----------------------------------------------------------------------------------


def towers(source: str, settings: str = "") -> str:
    return HEAD + (
        "graph:\n"
        "  h: {block: pooling, in: clicks}\n"
        "  mix: {block: mmoe, in: [all, h], experts: 2, hidden: [12], gates: tasks}\n"
        f"  tower: {{block: mlp, in: {source}, each: tasks, hidden: [7, 5], kernel: stacked{settings}}}\n"
        "  top: {block: mlp, in: [tower, mix], each: tasks, hidden: [3]}\n"
        "tasks: {a: {label: y, in: top}, b: {label: z, in: top}, c: {label: w, in: top}}\n"
        "relations: ['a -> b']\n"
    )


@pytest.mark.parametrize("source", ["mix", "[all, h]", "h"])
@pytest.mark.parametrize(
    "settings",
    ["", ", norm: layer, activation: silu", ", bias: false, out: 3", ", activation: tanh, out: 1"],
)
def test_towers_are_stacked(source: str, settings: str, write_recipe: Write) -> None:
    path = write_recipe(towers(source, settings))
    before, after = compiled(path, without="horizontal_fusion"), compiled(path)
    names = ("tower.a", "tower.b", "tower.c")
    assert all(after[0][name].kernel.stack == names for name in names)  # type: ignore[union-attr]
    layers = r"\[self\.tower_a, self\.tower_b, self\.tower_c\]"
    assert re.search(
        rf"tower_a, tower_b, tower_c = stacked\((  # \[B, \d+\] each)?\s*{layers},", after[1].text
    )
    assert "= stacked(" not in before[1].text
    assert_equal(before, after)


def test_towers_with_dropout_are_equal_in_evaluation(write_recipe: Write) -> None:
    path = write_recipe(towers("mix", ", dropout: 0.3"))
    assert_equal(compiled(path, without="horizontal_fusion"), compiled(path), train=False)


def test_no_path_and_one_form_make_a_family(write_recipe: Write) -> None:
    reads = {"a1": "item", "b1": "h", "a2": "a1", "b2": "b1", "lone": "user", "steps": "clicks"}
    text = HEAD + "graph:\n  h: {block: pooling, in: clicks}\n"
    for name, source in reads.items():
        text += f"  {name}: {{block: mlp, in: {source}, hidden: [8], kernel: stacked}}\n"
    text += "  top: {block: mlp, in: [a2, b2, lone, p], hidden: [8]}\n"
    text += "  p: {block: pooling, in: steps}\n  stacked: 'top + b1'\n"
    path = write_recipe(text + "tasks: {t: {label: y, in: stacked}}\n")
    before, after = compiled(path, without="horizontal_fusion"), compiled(path)
    stacks = {n.name: n.kernel.stack for n in after[0].nodes if n.kernel and n.kernel.stack}
    assert stacks == dict.fromkeys(("a1", "b1"), ("a1", "b1")) | dict.fromkeys(
        ("a2", "b2"), ("a2", "b2")
    )
    assert "no sibling" in str(after[0]["lone"].kernel)
    assert "vectors [B, D] are stacked" in str(after[0]["steps"].kernel)
    assert "stacked_ = top + b1" in after[1].text, "a variable must not hide the function"
    assert_equal(before, after)


def test_an_error_in_a_stack_names_all_its_nodes(write_recipe: Write) -> None:
    path = write_recipe(towers("mix"))
    graph, source = compiled(path)
    module = load(source)()
    module.get_submodule("tower_b").layers[0].weight = nn.Parameter(torch.zeros(2, 2))  # type: ignore[union-attr]
    with pytest.raises(RuntimeError) as caught:
        module(batch(graph))
    assert "in node 'tower.a, tower.b, tower.c' (recipe:11)" in "".join(caught.value.__notes__)


# ---- inference ----------------------------------------------------------------------------------


def test_inference_has_no_dropout_and_the_same_keys(write_recipe: Write) -> None:
    text = HEAD + (
        "graph:\n  h: {block: pooling, in: clicks}\n"
        "  m: {block: mlp, in: [all, h], hidden: [6, 5], norm: batch, dropout: [0.1, 0.2]}\n"
        "  n: {block: mmoe, in: m, experts: 2, hidden: [6], gates: [g], dropout: 0.1}\n"
        "tasks: {t: {label: y, in: n.g}}\n"
    )
    path, target = write_recipe(text), Target(purpose="inference")
    before, after = compiled(path, "inference", target), compiled(path, "", target)
    assert "dropout" in before[1].text and "dropout" not in after[1].text
    assert compiled(path)[1].text == compiled(path, without="inference")[1].text
    assert_equal(before, after, train=False)
