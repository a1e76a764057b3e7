"""Passes: graphs in, graphs out, and the same results with and without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from graphrec.compiler.passes import PASSES
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.compiler.target import KernelRequests, Target
from graphrec.graph import Graph, Ref

Write = Callable[[str], Path]
HEAD = """\
graphrec: 1
name: toy
defaults: {feature: {dim: 8}}
features:
  - {type: id, group: user, names: {user_id: 100, age: 10}}
  - {type: id, group: item, names: {item_id: 50}}
  - {type: sequence, name: clicks, of: [item_id], max_len: 5}
"""

NAMES = [
    "prune",
    "cse",
    "tables",
    "inference",
    "choose_kernels",
    "candidate_split",
    "horizontal_fusion",
]


def test_the_passes_in_order() -> None:
    assert [step.__name__ for step in PASSES] == NAMES
    assert all(step.__doc__ for step in PASSES)


def test_trace_sees_every_pass(write_recipe: Write) -> None:
    seen: list[tuple[str, int]] = []
    text = (
        HEAD
        + "graph: {h: {block: pooling, in: clicks}, top: {block: mlp, in: [all, h], hidden: [4]}}\n"
    )
    path = write_recipe(text + "tasks: {t: {label: y, in: top}}\n")
    compile_recipe(path, trace=lambda name, graph: seen.append((name, len(graph.nodes))))
    assert seen == [(name, 5) for name in ("build", *NAMES)]


def test_extra_passes_come_first(write_recipe: Write) -> None:
    """What they leave unread goes, what they make equal becomes one; kernels come after them."""
    text = HEAD + (
        "graph:\n  h: {block: pooling, in: clicks}\n"
        "  a: {block: mlp, in: [all, h], hidden: [4], activation: relu}\n"
        "  b: {block: mlp, in: a, hidden: [4]}\n"
        "tasks: {t: {label: y, in: b}}\n"
    )

    def without_history(graph: Graph, target: Target) -> Graph:
        (node,) = (node for node in graph.nodes if node.name == "a")
        slim = replace(node, inputs={"x": Ref("all")})
        return graph.with_nodes(slim if n is node else n for n in graph.nodes)

    seen: list[str] = []
    path = write_recipe(text)
    passes = [without_history]
    compiled = compile_recipe(
        path, trace=lambda name, graph: seen.append(name), extra_passes=passes
    )
    assert seen == ["build", "without_history", *NAMES]
    assert compiled.graph.order() == ("all", "a", "b", "head.t")
    assert "in_features=24" in compiled.source.text  # of `all` alone: sizes are those of its inputs
    assert [lookup.column for lookup in compiled.graph.lookups] == ["age", "item_id", "user_id"]
    with pytest.raises(TypeError, match="pass `broken` gives a NoneType, expected a Graph"):
        compile_recipe(path, extra_passes=[broken])


def broken(graph: Graph, target: Target) -> Graph:
    return None  # type: ignore[return-value]


def test_prune_drops_copies_that_no_task_reads(write_recipe: Write) -> None:
    text = HEAD + (
        "graph:\n  h: {block: pooling, in: clicks}\n"
        "  parts: {block: mlp, in: [all, h], hidden: [4], parallel: [used, spare]}\n"
        "tasks: {t: {label: y, in: parts.used}}\n"
    )
    names = compile_recipe(write_recipe(text)).graph.order()
    assert "parts.used" in names and "parts.spare" not in names


def test_tables_serve_groups_targets_and_histories_alike(write_recipe: Write) -> None:
    text = HEAD + (
        "groups: {pair: {query: [item_id], keys: clicks}}\n"
        "graph:\n  din: {block: din, in: pair, hidden: [4]}\n"
        "  top: {block: mlp, in: [user, item, all, din, all.linear], hidden: [4]}\n"
        "tasks: {t: {label: y, in: top}}\n"
    )
    graph = compile_recipe(write_recipe(text)).graph
    assert [(c.column, c.table) for c in graph.lookups] == [
        ("age", "age"),
        ("clicks.item_id", "item_id"),
        ("item_id", "item_id"),
        ("user_id", "user_id"),
    ]
    assert [(t.name, t.dim) for t in graph.tables] == [("age", 8), ("item_id", 8), ("user_id", 8)]
    assert [(t.name, t.dim, t.init) for t in graph.first_order_tables] == [
        ("age", 1, "zeros"),
        ("item_id", 1, "zeros"),
        ("user_id", 1, "zeros"),
    ]


def test_groups_that_read_the_same_read_it_once(write_recipe: Write) -> None:
    """The query of two histories, and a history that is paired and pooled; not what differs."""
    text = HEAD + (
        "  - {type: sequence, name: views, of: [item_id], max_len: 5}\n"
        "groups:\n  a: {query: [item_id], keys: clicks}\n  b: {query: [item_id], keys: views}\n"
        "graph:\n  x: {block: din, in: a, hidden: [4]}\n  y: {block: din, in: b, hidden: [4]}\n"
        "  pooled: {block: pooling, in: views}\n"
        "  top: {block: mlp, in: [user, x, y, pooled, b.query], hidden: [4]}\n"
        "tasks: {t: {label: y, in: top}}\n"
    )
    compiled = compile_recipe(write_recipe(text))
    read = {name: compiled.graph[name].inputs for name in ("x", "y", "pooled", "top")}
    assert read["x"]["query"] == read["y"]["query"] == Ref("a", "query")
    assert Ref("a", "query") in read["top"]["x"]
    assert (read["x"]["keys"], read["y"]["keys"]) == (Ref("a", "keys"), read["pooled"]["keys"])
    assert compiled.source.text.count('.concat(["item_id"])') == 1
    assert compiled.source.text.count('.sequence("views")') == 1


KERNELS = HEAD + (
    "graph:\n  h: {block: pooling, in: clicks}\n"
    "  a: {block: mlp, in: [all, h], hidden: [4], kernel: torch}\n"
    "  b: {block: mlp, in: a, hidden: [4]}\n"
    "  top: {block: mlp, in: b, hidden: [4], norm: batch}\n"
    "tasks: {t: {label: y, in: top}}\n"
)


def asked(graph: Graph) -> dict[str, str]:
    return {n.name: n.kernel.asked for n in graph.nodes if n.kernel and n.label == "mlp"}


@pytest.mark.parametrize(
    ("section", "overrides", "wanted"),
    [
        ("", (), {"a": "torch", "b": "auto", "top": "auto"}),
        ("kernels: {default: triton}", (), {"a": "torch", "b": "triton", "top": "triton"}),
        (
            "kernels: {by_block: {mlp: triton}, by_node: {'t*': torch}}",
            (),
            {"a": "torch", "b": "triton", "top": "torch"},
        ),
        (
            "kernels: {by_node: {'*': torch, b: triton}}",
            (),
            {"a": "torch", "b": "triton", "top": "torch"},
        ),
        (
            "kernels: {default: torch}",
            ("kernels.default=triton",),
            {"a": "triton", "b": "triton", "top": "triton"},
        ),
        ("", ("graph.b.kernel=triton",), {"a": "torch", "b": "triton", "top": "auto"}),
        (
            "",
            ("kernels.default=triton", "graph.b.kernel=torch"),
            {"a": "triton", "b": "torch", "top": "triton"},
        ),
    ],
)
def test_precedence_of_wishes(
    section: str, overrides: tuple[str, ...], wanted: dict[str, str], write_recipe: Write
) -> None:
    graph = check_recipe(write_recipe(KERNELS + section + "\n"), overrides=overrides).graph
    assert graph is not None and asked(graph) == wanted


def test_every_refusal_has_its_reason(write_recipe: Write) -> None:
    path = write_recipe(KERNELS)
    requests = KernelRequests(default="triton")
    cuda = Target("cuda", frozenset({"triton"}), "fp32", requests)
    bare = Target("cuda", frozenset(), "fp32", requests)
    cpu = Target("cpu", frozenset({"triton"}), "fp32", requests)

    def why(target: Target, node: str) -> str:
        graph = check_recipe(path, target=target).graph
        assert graph is not None
        return str(graph[node].kernel)

    assert why(cuda, "b") == "triton"
    assert why(cuda, "top") == "triton -> torch: no kernel for norm `batch`"
    assert why(cuda, "h") == "triton -> torch: block pooling has no kernel `triton`"
    assert why(bare, "b") == "triton -> torch: triton is not installed"
    assert why(cpu, "b") == "triton -> torch: CUDA only"


def test_policies(write_recipe: Write) -> None:
    path = write_recipe(KERNELS + "kernels: {by_node: {b: triton}}\n")
    (warning,) = check_recipe(path).problems
    assert (warning.code, warning.severity) == (
        "GR602",
        "warn",
    ) and "CUDA only" in warning.message
    (error,) = check_recipe(path, overrides=["kernels.policy=strict"]).errors
    assert error.code == "GR601"


def test_globs_that_match_nothing(write_recipe: Write) -> None:
    path = write_recipe(
        KERNELS + "kernels: {by_node: {'bb*': triton}}\ntrain: {groups: {'x*': {lr: 0.1}}}\n"
    )
    found = [(p.code, p.path) for p in check_recipe(path).errors]
    assert found == [("GR603", "kernels.by_node.bb*"), ("GR603", "train.groups.x*")]
