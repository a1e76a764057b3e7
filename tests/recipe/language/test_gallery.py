"""The language as its specification shows it: every architecture of the gallery in a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.compiler.pipeline import check_recipe, compile_recipe

Write = Callable[[str], Path]
HEAD = """\
graphrec: 1
name: gallery
data: {synthetic: 1000}
defaults: {feature: {dim: 8}}
features:
  - {type: id, group: user, names: {user_id: 100, age: 10}}
  - {type: id, group: item, names: {item_id: 50, brand: 20}}
"""
HISTORY = "  - {type: sequence, name: clicks, of: [item_id, brand], max_len: 20}\n"
ONE = "tasks: {ctr: {label: click, in: top}}\n"
TWO = "tasks: {ctr: {label: click, in: tower}, cvr: {label: buy, in: tower}}\n"

GALLERY = {
    "DCN-v2 by repeat and carry": (
        "graph:\n  cross: {block: cross_v2, in: {x0: all, x: all}, repeat: 3, carry: x}\n"
        "  deep: {block: mlp, in: all, hidden: [16]}\n  top: concat(cross, deep)\n" + ONE,
        {"cross.s0", "cross.s1", "cross.s2"},
    ),
    "tied steps share weights": (
        "graph:\n  top: {block: linear, in: all, out: 32, repeat: 2, tied: true}\n" + ONE,
        {"top.s0", "top.s1"},
    ),
    "MaskNet by hand": (
        "graph:\n  masks: {block: mask_block, in: {x: all, mask: all}, hidden: 16, parallel: 3, join: concat}\n"
        "  top: {block: mlp, in: masks, hidden: [16]}\n" + ONE,
        {"masks.p0", "masks.p1", "masks.p2", "masks"},
    ),
    "PLE in a line": (
        "graph:\n  experts: {block: ple, in: all, gates: tasks, levels: 2, shared: 1, private: 1, hidden: [16]}\n"
        "  tower: {block: mlp, in: experts, each: tasks, hidden: [8]}\n" + TWO,
        {"experts", "tower.ctr", "tower.cvr"},
    ),
    "gating by expression": (
        "graph:\n  value: {block: mlp, in: user, hidden: [8]}\n  gate: {block: linear, in: item, out: 8}\n"
        "  top: value * sigmoid(gate) + clip(value, -1, 1)\n" + ONE,
        {"value", "gate", "top"},
    ),
    "ESMM by prob": (
        "graph:\n  tower: {block: mlp, in: all, each: [ctr, cvr], hidden: [8]}\n"
        "tasks:\n  ctr: {label: click, in: tower}\n  cvr: {in: tower, loss: none}\n"
        "  ctcvr: {label: buy, prob: ctr.prob * cvr.prob}\n",
        {"prob.ctcvr"},
    ),
    "AITM by relation": (
        "graph:\n  tower: {block: mlp, in: all, each: tasks, hidden: [8]}\n" + TWO + "relations:\n  - ctr -> cvr: {via: aitm}\n",
        {"rel.cvr"},
    ),
    "a product of probabilities": (
        "graph:\n  tower: {block: mlp, in: all, each: tasks, hidden: [8]}\n" + TWO
        + "relations:\n  - ctr -> cvr: {via: product, detach: true}\n",
        {"prob.cvr"},
    ),
    "contrastive views by share": (
        "graph:\n  left: {block: mlp, in: user, hidden: [8], dropout: 0.1}\n"
        "  right: {block: mlp, in: user, hidden: [8], dropout: 0.1, share: left}\n"
        "  alike: {block: info_nce, in: {a: left, b: right}}\n  top: {block: mlp, in: [left, item], hidden: [8]}\n" + ONE,
        {"left", "right", "alike"},
    ),
    "copies of copies": (
        "graph:\n  tower: {block: mlp, in: all, each: tasks, parallel: [short, long], join: sum, hidden: [8]}\n" + TWO,
        {"tower.ctr.short", "tower.ctr.long", "tower.cvr.short"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GALLERY)
def test_the_gallery_compiles(name: str, write_recipe: Write) -> None:
    text, nodes = GALLERY[name]
    compiled = compile_recipe(write_recipe(HEAD + text))
    assert nodes <= set(compiled.graph.order())
    compiled.module()


ATTENTION = """\
blocks:
  my_attention:
    doc: Target attention over a behaviour sequence (Zhou et al., 2018).
    params: {hidden: {type: "list[int]", default: [64, 32]}}
    inputs: [query, keys, mask]
    graph:
      scores: {block: attention_scores, in: {query: query, keys: keys, mask: mask}, hidden: $hidden}
      pooled: {block: weighted_sum, in: {weights: scores, values: keys}}
    output: pooled
groups: {pair: {query: [item_id, brand], keys: clicks}}
graph:
  interest: {block: my_attention, in: IN, hidden: [8]}
  top: {block: mlp, in: [all, interest], hidden: [8]}
"""
PORTS = "{query: pair.query, keys: pair.keys, mask: pair.mask}"


@pytest.mark.parametrize("given", ["pair", PORTS])
def test_a_composite_with_a_mask(given: str, write_recipe: Write) -> None:
    path = write_recipe(HEAD + HISTORY + ATTENTION.replace("IN,", f"{given},") + ONE)
    compiled = compile_recipe(path)
    assert str(compiled.graph["interest.pooled"].shape) == "[B, 16]"
    compiled.module()


def test_the_mask_of_another_history_does_not_fit(write_recipe: Write) -> None:
    other = HISTORY + HISTORY.replace("clicks", "views")
    ports = PORTS.replace("pair.mask", "views.mask")
    checked = check_recipe(write_recipe(HEAD + other + ATTENTION.replace("IN,", f"{ports},") + ONE))
    assert "GR501" in {problem.code for problem in checked.errors}


def test_a_newer_language_is_refused_clearly(write_recipe: Write) -> None:
    text = (
        HEAD.replace("graphrec: 1", "graphrec: 2")
        + "graph: {top: {block: mlp, in: all, hidden: [8]}}\n"
        + ONE
    )
    problems = check_recipe(write_recipe(text)).errors
    assert any(p.span is not None and p.span.line == 1 for p in problems)
