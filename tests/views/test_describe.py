"""Numbers of a model: shapes and tables from the graph, parameters and FLOPs from the module."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.graph import Graph
from graphrec.views.describe import Cost, Description, describe
from graphrec.views.flops import history_lengths, measure

RECIPE = """
graphrec: 1
features:
  - {type: id, names: {item: 50, brand: 20}, dim: 8}
  - {type: id, names: words, vocab: fit, dim: 8, pool: mean}
  - {type: dense, names: price}
  - {type: sequence, name: clicked, of: [item, brand], max_len: 30}
groups:
  seq: {query: [item, brand], keys: clicked}
graph:
  deep: {block: mlp, in: all, hidden: [16], kernel: triton}
  din: {block: din, in: seq, hidden: [4]}
  mixed: concat(deep, din)
  final: {block: mlp, in: mixed, hidden: [8]}
tasks:
  click: {label: click, in: final}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    path = tmp_path_factory.mktemp("describe") / "small.yaml"
    path.write_text(RECIPE)
    return compile_recipe(path)


@pytest.fixture(scope="module")
def described(compiled: Compiled) -> Description:
    costs, remarks = measure(compiled)
    assert not remarks
    return describe(compiled.graph, costs, lengths=history_lengths(compiled.recipe))


def test_parameters_and_flops_are_those_of_the_formulas(described: Description) -> None:
    nodes = {node.name: node for node in described.nodes}
    # all: item, brand, words of width 8 and the price
    assert (nodes["deep"].parameters, nodes["deep"].flops_per_row) == (25 * 16 + 16, 2 * 25 * 16)
    # final reads deep (16) and din (16)
    assert (nodes["final"].parameters, nodes["final"].flops_per_row) == (32 * 8 + 8, 2 * 32 * 8)
    assert (nodes["head.click"].parameters, nodes["head.click"].flops_per_row) == (9, 16)
    # din: MLP([q, s, q - s, q * s]) of 64 -> 4 -> 1 on each of 30 steps
    assert nodes["din"].parameters == 64 * 4 + 4 + 4 + 1
    # of which the query's part once, those of the keys and the product at each step
    assert nodes["din"].flops_per_row == 2 * 16 * 4 + 30 * 2 * (16 * 4 + 16 * 4 + 4)
    assert (nodes["mixed"].parameters, nodes["mixed"].flops_per_row) == (0, 0)


def test_parameters_are_those_of_the_module(compiled: Compiled, described: Description) -> None:
    module = compiled.module({"words": 7})
    weights = {name: p.numel() for name, p in module.state_dict().items()}
    dense = sum(n for name, n in weights.items() if not name.startswith("embeddings."))
    assert described.totals()["parameters"] == dense


def test_outputs_count_their_bytes(described: Description) -> None:
    nodes = {node.name: node for node in described.nodes}
    assert nodes["deep"].output_bytes == 16 * 4
    assert nodes["seq"].output_bytes >= 30 * 16 * 4


def test_tables_say_what_the_data_decides(compiled: Compiled, described: Description) -> None:
    tables = {table.name: table for table in described.tables}
    assert (tables["item"].rows, tables["item"].bytes) == (51, 51 * 8 * 4)
    assert tables["item"].columns == ("clicked.item", "item")
    assert (tables["words"].rows, tables["words"].bytes) == (None, None)
    assert described.totals()["table_bytes"] is None
    text = described.as_text()
    assert "fit: after the scan" in text and "and what is fitted" in text
    known = describe(compiled.graph, rows={"words": 100})
    assert "fit: after the scan" not in known.as_text()


def test_kernels_are_told_with_the_reason(described: Description) -> None:
    line = next(line for line in described.as_text().splitlines() if line.startswith("deep "))
    assert line.endswith("triton -> torch: CUDA only")


def test_as_json_is_plain(described: Description) -> None:
    import json

    data = json.loads(json.dumps(described.as_json()))
    assert data["nodes"][0].keys() >= {"name", "block", "outputs", "kernel_asked", "kernel"}
    assert data["totals"]["parameters"] == described.totals()["parameters"]


def test_without_costs_the_columns_stay_open(toy: Graph) -> None:
    description = describe(toy)
    assert description.totals()["parameters"] is None
    assert "?" in description.as_text()
    counted = describe(toy, {"din": Cost(10, 20)})
    assert counted.totals() == {
        "parameters": 10,
        "flops_per_row": 20,
        "table_rows": None,
        "table_bytes": None,
    }


def test_a_block_that_needs_numbers_is_no_obstacle(tmp_path: Path, compiled: Compiled) -> None:
    """FLOPs stay open, parameters are counted, and the remark names the node."""
    from dataclasses import replace

    source = compiled.source
    broken = source.text.replace("        deep = self.deep(", "        deep = self.deep.nowhere(")
    assert broken != source.text
    target = replace(compiled, source=replace(source, text=broken))
    import graphrec.views.flops as module

    costs, remarks = module.count(target)
    assert costs["deep"].parameters == 25 * 16 + 16 and costs["deep"].flops is None
    assert remarks and "FLOPs are not known" in remarks[0] and "'deep'" in remarks[0]


def test_who_is_computed_together_is_told(tmp_path: Path) -> None:
    path = tmp_path / "stacked.yaml"
    path.write_text(
        "graphrec: 1\n"
        "features: [{type: id, names: {item: 50}, dim: 8}]\n"
        "graph: {tower: {block: mlp, in: all, each: tasks, hidden: [4], kernel: stacked}}\n"
        "tasks: {a: {label: a, in: tower}, b: {label: b, in: tower}}\n"
    )
    compiled = compile_recipe(path)
    lines = {line.split()[0]: line for line in describe(compiled.graph).as_text().splitlines()[2:8]}
    assert lines["tower.a"].endswith("stacked: with tower.b")
    assert lines["tower.b"].endswith("stacked: with tower.a")
