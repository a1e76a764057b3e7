"""R10: compiling is total and fast, and the shapes it infers are those that run."""

from __future__ import annotations

import random
import time

import pytest
import torch

from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.graph import Group
from graphrec.nn import Batch, Jagged

HEAD = """\
graphrec: 1
name: random_graph
defaults: {feature: {dim: 8}}
features:
  - {type: id, group: user, names: {u1: 50, u2: 20}}
  - {type: id, group: item, names: {i1: 30, i2: 40}}
  - {type: dense, group: item, names: price, dim: 8}
  - {type: sequence, name: past, of: [i1, i2], max_len: 6}
groups:
  pair: {query: [i1, i2], keys: past}
graph:
"""
TAIL = "tasks: {click: {label: click, in: top}}\n"


def random_recipe(count: int, rng: random.Random) -> str:
    """`count` nodes of many blocks, each over what was there before; all of them are read."""
    width = {"user": 16, "item": 24, "all": 40}
    fields = {"all.fields": 5, "user.fields": 2}
    steps: dict[str, int] = {"past": 16, "pair.keys": 16}
    lines, unread = [], set[str]()
    for number in range(count):
        name = f"n{number}"
        made, body, reads = _node(rng, width, fields, steps)
        kind, size = made
        {"width": width, "fields": fields, "steps": steps}[kind][name] = size
        unread -= reads
        unread.add(name)
        lines.append(f"  {name}: {body}\n")
    vectors = sorted(n for n in unread if n in width)
    for number, name in enumerate(sorted(unread - set(vectors))):
        block = "pooling" if name in steps else "fm"
        lines.append(f"  end{number}: {{block: {block}, in: {name}}}\n")
        vectors.append(f"end{number}")
    rng.shuffle(lines)
    lines.append("  seen: {block: din, in: pair, hidden: [4]}\n")
    lines.append(f"  top: {{block: mlp, in: [all, seen, {', '.join(vectors)}], hidden: [4]}}\n")
    return HEAD + "".join(lines) + TAIL


def _node(
    rng: random.Random, width: dict[str, int], fields: dict[str, int], steps: dict[str, int]
) -> tuple[tuple[str, int], str, set[str]]:
    x, y = rng.choice(list(width)), rng.choice(list(width)[-6:])
    size = rng.choice((1, 3, 8, 16))
    f, s = rng.choice(list(fields)), rng.choice(list(steps))
    same = [n for n in width if width[n] == width[x]]
    z = rng.choice(same)
    w = min(width[x], 64)
    options = [
        (("width", size), f"{{block: mlp, in: [{x}, {y}], hidden: [{size}]}}", {x, y}),
        (("width", size), f"{{block: linear, in: {x}, out: {size}}}", {x}),
        (("width", width[x]), f"{{block: cross_v2, in: {{x0: {x}, x: {z}}}, rank: 4}}", {x, z}),
        (
            ("width", width[x]),
            f"{{block: cross, in: {{x0: {x}, x: {x}}}, repeat: 2, carry: x}}",
            {x},
        ),
        (("width", width[x]), f"{{block: epnet, in: {{x: {x}, domain: {y}}}, hidden: 4}}", {x, y}),
        (
            ("width", width[x]),
            f"{{block: mlp, in: {x}, hidden: [{width[x]}], residual: true}}",
            {x},
        ),
        (
            ("width", 2 * size),
            f"{{block: mlp, in: {x}, hidden: [{size}], parallel: 2, join: concat}}",
            {x},
        ),
        (("width", width[x]), f"{x} * sigmoid({z}) + 0.5", {x, z}),
        (("width", 1), f"dot({x}, {z})", {x, z}),
        (("width", width[x] + width[y]), f"concat({x}, {y})", {x, y}),
        (("width", w), f"relu(slice({x}, 0, {w}))", {x}),
        (("width", 8), f"{{block: fm, in: {f}}}", {f}),
        (("fields", fields[f]), f"{{block: senet, in: {f}}}", {f}),
        (("width", 16), f"{{block: cin, in: {f}, layers: [8, 8]}}", {f}),
        (("width", steps[s]), f"{{block: pooling, in: {s}}}", {s}),
        (("steps", size), f"{{block: mlp, in: {s}, hidden: [{size}]}}", {s}),
        (("width", 8), f"{{block: self_attention, in: {s}, width: 8, heads: 2}}", {s}),
        (("width", 16), "{block: din, in: pair, hidden: [4]}", set()),
    ]
    made, body, reads = rng.choice(options)
    if made[0] == "width" and made[1] > 512:
        return options[1]
    return made, body, reads


def batch(rows: int) -> Batch:
    lengths = torch.arange(rows) % 4
    total = int(lengths.sum())
    return Batch(
        {
            "u1": torch.arange(rows) % 50,
            "u2": torch.arange(rows) % 20,
            "i1": torch.arange(rows) % 30,
            "i2": torch.arange(rows) % 40,
            "price": torch.rand(rows, 1),
            "past.i1": Jagged(torch.arange(total) % 30, lengths),
            "past.i2": Jagged(torch.arange(total) % 40, lengths),
        }
    )


@pytest.mark.parametrize("seed", range(25))
def test_inferred_shapes_are_those_that_run(seed: int, soak: bool) -> None:
    rng = random.Random(seed)
    text = random_recipe(rng.choice((5, 20, 60)) * (10 if soak else 1), rng)
    names = [line.split(":")[0].strip() for line in text.split("graph:\n")[1].splitlines()[:-1]]
    text += f"export: {{nodes: [{', '.join(names)}]}}\n"
    compiled = compile_recipe(text)
    module = compiled.module()
    seen = 0
    for rows in (3, 7):
        outputs = module(batch(rows))
        for ref in compiled.graph.exports:
            shape, found = compiled.graph.shape(ref), outputs[str(ref)]
            if isinstance(found, Jagged):
                assert shape.is_jagged, ref
                found = found.values
                expected: list[object] = [found.shape[0], shape.width]
            else:
                expected = [rows if d == "B" else d for d in shape.dims]
            assert list(found.shape) == expected, (ref, text)
            seen += 1
    assert seen >= 2 * len(names)


def test_five_hundred_nodes_are_fast() -> None:
    text = random_recipe(500, random.Random(3))
    check_recipe(text)
    started = time.process_time()
    checked = check_recipe(text)
    assert not checked.problems
    assert time.process_time() - started < 1.0
    started = time.process_time()
    compiled = compile_recipe(text)
    assert time.process_time() - started < 3.0
    assert sum(not isinstance(n.op, Group) for n in compiled.graph.nodes) >= 500


def test_a_thousand_nodes_and_long_chains() -> None:
    text = random_recipe(1000, random.Random(4))
    started = time.process_time()
    compiled = compile_recipe(text)
    assert time.process_time() - started < 8
    compiled.module()(batch(2))
    lines = ["  n0: {block: linear, in: all, out: 4}\n"]
    lines += [f"  n{i}: n{i - 1} * 0.5 + n{i - 1}\n" for i in range(1, 1000)]
    chain = HEAD.replace("  - {type: sequence, name: past, of: [i1, i2], max_len: 6}\n", "")
    chain = chain.replace("groups:\n  pair: {query: [i1, i2], keys: past}\n", "")
    made = compile_recipe(chain + "".join(lines) + TAIL.replace("top", "n999"))
    made.module()(batch(2))
