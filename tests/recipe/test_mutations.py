"""Any text at all gives a recipe or findings with a place: no traceback, nothing slow."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from graphrec.ground.errors import render
from graphrec.recipe import Reading, canonical, recipe_hash
from graphrec.recipe.reader import read_yaml

Read = Callable[..., Reading]
Texts = Mapping[str, str]

PIECES = [
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "&a ",
    "*a",
    "!!x ",
    "<<: ",
    "- ",
    "\n",
    "\t",
    " ",
    "null",
    "~",
]
PIECES += [
    "true",
    ".nan",
    "1e999",
    "9" * 50,
    '"',
    "'",
    "#",
    "|",
    "+",
    "->",
    "..",
    "$env.X",
    "$x",
    "\0",
]
PIECES += [
    "\ufeff",
    "é",
    "\u2028",
    "---\n",
    "...\n",
    "%YAML",
    "? ",
    "> ",
    "=",
    "hash(",
    ")",
    "name",
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**17,
    "",
    "x",
    "all",
    "a.b",
    "$env.HOME",
    "$x",
    "a -> b",
]
VALUES += [
    "C1..C3",
    "hash(0)",
    "fit(x=1)",
    "file(x/y)",
    [],
    {},
    [1],
    ["a", "a"],
    {"a": 1},
    [[]],
    [{}],
]
VALUES += [{"x": {"y": None}}, [None], "class", "forward", "é" * 200, {"a": {"b": [{"c": 1}]}}]
KEYS = ["type", "names", "name", "dim", "block", "in", "each", "label", "loss", "x+", "of", "keys"]
KEYS += [
    "query",
    "forward",
    "all",
    "A",
    "a b",
    "",
    "params",
    "graph",
    "feature",
    "repeat",
    "parallel",
]


def splice(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text))
    if rng.random() < 0.5:
        return text[:at] + rng.choice(PIECES) + text[at:]
    return text[:at] + text[at + rng.choice([1, 2, 5, 30]) :]


def places(value: Any, parent: Any = None, key: Any = None) -> list[tuple[Any, Any]]:
    found = [] if parent is None else [(parent, key)]
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, child in inner:
            found += places(child, value, name)
    return found


def change(recipe: Any, rng: random.Random) -> str:
    recipe = json.loads(json.dumps(recipe))
    for _ in range(rng.choice([1, 1, 2, 4])):
        parent, key = rng.choice(places(recipe))
        if rng.random() < 0.5:
            parent[key] = json.loads(json.dumps(rng.choice(VALUES)))
        elif isinstance(parent, dict) and rng.random() < 0.6:
            parent[rng.choice(KEYS)] = parent.pop(key)
        else:
            del parent[key]
    return json.dumps(recipe, indent=1, ensure_ascii=False)


def judge(reading: Reading) -> None:
    render(reading.problems, reading.sources)
    assert all(p.span is not None for p in reading.problems)
    assert bool(reading.problems) or not reading.broken
    if reading.problems:
        return
    assert reading.recipe is not None
    canonical(reading.recipe, origin=True)
    recipe_hash(reading.recipe)


def test_texts_and_values_of_all_kinds(read: Read, texts: Texts, soak: bool) -> None:
    rng = random.Random(7)
    plain = {n: t.plain() for n, text in texts.items() if (t := read_yaml(text, n)[0])}
    slowest = 0.0
    for number in range(50_000 if soak else 400):
        name = rng.choice(sorted(texts))
        text = splice(texts[name], rng) if number % 2 else change(plain[name], rng)
        start = time.process_time()
        reading = read(text)
        judge(reading)
        slowest = max(slowest, time.process_time() - start)
        if not reading.problems and reading.recipe is not None:
            again = read(canonical(reading.recipe))
            assert not again.problems, text
            assert again.recipe is not None
            assert again.recipe.model_dump() == reading.recipe.model_dump(), text
    assert slowest < 2.0


def test_large_families_and_lists_end_soon(read: Read) -> None:
    head = "graphrec: 1\ngraph: {}\ntasks: {t: {label: l, in: all}}\n"
    for rest in (
        "features: [{type: id, names: C1..C9999, vocab: 0, dim: 4}]\n",
        "features: [{type: id, names: [" + "a b, " * 20_000 + "c], vocab: 1, dim: 4}]\n",
        "features: [{type: dense, names: a}]\nexport: {nodes: [" + "1, " * 90_000 + "1]}\n",
        "features: [{type: dense, names: a}]\nmeta: " + "[" * 60 + "]" * 60 + "\n",
    ):
        start = time.process_time()
        reading = read(head + rest)
        render(reading.problems, reading.sources)
        assert time.process_time() - start < 5
        assert len(reading.problems) <= 501
