"""Names, families, calls and composites by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from graphrec.ground.errors import RecipeError, render
from graphrec.recipe import Reading, read_composite
from graphrec.recipe.calls import Call, parse_call
from graphrec.recipe.composites import node_of, ordered
from graphrec.recipe.names import MODULE_ATTRIBUTES, feature_name, node_name

Read = Callable[..., Reading]


def test_module_attributes_are_those_of_torch() -> None:
    nn = pytest.importorskip("torch.nn")
    names = {name for name in dir(nn.Module()) if re.fullmatch(r"[a-z][a-z0-9_]*", name)}
    assert names == MODULE_ATTRIBUTES


HOSTILE = [
    "",
    " ",
    "a b",
    "a-b",
    "a.b",
    "1a",
    "é",
    "a\u0301",
    "__class__",
    "a\nb",
    "a\0",
    "a'b",
    'a"b',
    "{a}",
    "\u202ea",
    "../a",
    "a" * 10_000,
    "ａ",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str) -> None:
    assert node_name(name)
    assert node_name(name, task=True)
    if name != "__class__":
        assert feature_name(name)


@pytest.mark.parametrize("name", ["ctr", "a", "x1", "long_view", "head_1", "match", "ranks"])
def test_plain_names(name: str) -> None:
    assert node_name(name) is None
    assert feature_name(name.upper()) is None


def test_reserved_words_are_free_for_tasks() -> None:
    assert node_name("head") and node_name("all")
    assert node_name("head", task=True) is None
    assert node_name("forward", task=True)


HEAD = "graphrec: 1\ngraph: {}\ntasks: {t: {label: l, in: all}}\nfeatures:\n"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("x", ["x"]),
        ("C1..C3", ["C1", "C2", "C3"]),
        ("C08..C10", ["C08", "C09", "C10"]),
        ("[a, C1..C2]", ["C1", "C2", "a"]),
        ("f_9..f_11", ["f_10", "f_11", "f_9"]),
        ("C1..C1", ["C1"]),
    ],
)
def test_ranges(names: str, expected: list[str], read: Read) -> None:
    reading = read(f"{HEAD}  - {{type: dense, names: {names}}}\n")
    assert not reading.problems
    assert reading.recipe is not None
    assert list(reading.recipe.features) == expected


def test_a_map_of_names_gives_vocabularies(read: Read) -> None:
    reading = read(HEAD + "  - {type: id, dim: 2, names: {a: 3, b1..b2: hash(4)}}\n")
    assert reading.recipe is not None
    found = {n: str(getattr(f, "vocab", "")) for n, f in reading.recipe.features.items()}
    assert found == {"a": "range(3)", "b1": "hash(4)", "b2": "hash(4)"}


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("auc", Call("auc")),
        (" auc( ) ", Call("auc")),
        ("hash(1_000)", Call("hash", (1000,))),
        (
            "gauc(user_id, weight=impressions)",
            Call("gauc", ("user_id",), {"weight": "impressions"}),
        ),
        ("f(1e-3, true, -2, 'a, b')", Call("f", (1e-3, True, -2, "a, b"))),
        ("file(my folder/a,b (1).txt)", Call("file", ("my folder/a,b (1).txt",))),
    ],
)
def test_calls(text: str, call: Call) -> None:
    assert parse_call(text) == call
    assert parse_call(str(call)) == call


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1x",
        "a b",
        "f(",
        "f)",
        "f(a",
        "f(a,)",
        "f(,a)",
        "f(a b)",
        "f(g(1))",
        "f(x=)",
        "f(x=1, 2)",
    ]
    + ["f(x=1, x=2)", "f(**x)", "f(.nan)", "f(a.b())", "f" + "(" * 500, "f(" + "1," * 5000 + "1)"],
)
def test_calls_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse_call(text)


# ---- composites -------------------------------------------------------------------------------

ATTENTION = """\
block: target_attention
doc: Target attention over a behaviour sequence.
params: {hidden: {type: "list[int]", default: [64, 32]}, times: {type: int, default: 1}}
inputs: [query, keys, mask]
graph:
  scores: {block: attention_scores, in: {query: query, keys: keys, mask: mask}, hidden: $hidden}
  again: {block: mlp, in: scores, repeat: $times}
  pooled: {block: weighted_sum, in: {weights: again, values: keys}}
output: pooled
"""


def test_a_composite_file(tmp_path: Path) -> None:
    path = tmp_path / "target_attention.yaml"
    path.write_text(ATTENTION)
    block = read_composite(path)
    assert block.block == "target_attention"
    assert block.params["hidden"].default == [64, 32]
    assert block.inputs == ("query", "keys", "mask")
    assert ordered(block.graph) == ("scores", "again", "pooled")
    body = block.graph["again"]
    assert isinstance(body, dict)
    node = node_of({**body, "repeat": 3})
    assert (node.block, node.inputs, node.repeat, node.params) == ("mlp", "scores", 3, {})


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("block: target", "blok: target", "GR201", 1),
        ("inputs: [query, keys, mask]", "inputs: [query, keys, mask, extra]", "GR212", 4),
        ("hidden: $hidden", "hidden: $hiden", "GR212", 6),
        ("default: [64, 32]", "default: [64, x]", "GR202", 3),
        ('"list[int]"', "list", "GR202", 3),
        ("repeat: $times", "repeat: -1", "GR202", 7),
        ("  again:", "  Again:", "GR320", 7),
        ("  again:", "  mask:", "GR321", 7),
        ("output: pooled", "output: poled", "GR301", 9),
        ("in: scores", "in: keys", "GR212", 6),
        ("in: scores", "in: *scores", "GR104", 7),
        ("graph:", "graphs:", "GR201", 5),
    ],
)
def test_slips_in_a_composite(old: str, new: str, code: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(ATTENTION.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        read_composite(path)
    found = [(p.code, p.span.line if p.span else 0) for p in caught.value.problems]
    assert (code, line) in found, render(caught.value.problems)


def test_order_of_nodes() -> None:
    graph = {"a": "b + c", "b": {"in": ["c.x"]}, "c": {"in": {"x": "outer"}}, "d": "1 +"}
    assert ordered(graph) == ("c", "d", "b", "a")
    assert set(ordered({"a": "b", "b": "a"})) == {"a", "b"}
