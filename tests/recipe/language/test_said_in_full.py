"""Ports of groups, kernels by precedence, `$env`, weights shared by composites, `expand --origin`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graphrec import load
from graphrec.cli import main
from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.nn import Batch, Jagged

Write = Callable[..., Path]
RECIPE = """\
graphrec: 1
name: ports
features:
  - {type: id, group: who, names: [a, b], vocab: 20, dim: 4}
  - {type: dense, names: [p, q]}
  - {type: sequence, name: past, of: [a], max_len: 5}
groups:
  numbers: [p, q]
  pair: {query: [a], keys: past}
  both: {of: [who, numbers], except: [b]}
graph:
  whole: concat(all, both)
  first: all.linear + who.linear
  fields: sum(reshape(who.fields, [8]))
  plain: all.values + numbers.values
  query: {block: linear, in: pair.query, out: 3}
  seen: {block: pooling, in: pair.keys}
  again: {block: pooling, in: {keys: past.keys, mask: past.mask}}
  long: pair.length + past.length
tasks: {t: {label: y, in: whole}}
export: {nodes: [whole, first, fields, plain, query, seen, again, long]}
"""


def test_every_port_of_a_group(write_recipe: Write) -> None:
    compiled = compile_recipe(write_recipe(RECIPE))
    lengths = torch.tensor([2, 0, 1])
    a, b = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 20])
    p, q = torch.rand(3, 1), torch.rand(3, 1)
    past = Jagged(torch.tensor([7, 8, 9]), lengths)
    module = compiled.module().eval()
    found = module(Batch({"a": a, "b": b, "p": p, "q": q, "past.a": past}))
    tables = {k: v for k, v in module.state_dict().items() if k.startswith("embeddings.")}
    one, two = tables["embeddings.a.weight"], tables["embeddings.b.weight"]
    assert torch.equal(found["whole"], torch.cat([one[a], two[b], p, q, one[a], p, q], -1))
    assert found["first"].shape == (3, 1)
    torch.testing.assert_close(
        found["fields"], torch.cat([one[a], two[b]], -1).sum(-1, keepdim=True)
    )
    assert torch.equal(found["plain"], 2 * torch.cat([p, q], -1))
    mean = torch.stack([(one[7] + one[8]) / 2, torch.zeros(4), one[9]])
    torch.testing.assert_close(found["seen"], mean)
    assert torch.equal(found["seen"], found["again"])
    assert found["long"].flatten().tolist() == [4, 0, 2]
    with torch.no_grad():
        layer = module.get_submodule("query")
        torch.testing.assert_close(found["query"], layer(one[a]))


KERNELS = """\
graphrec: 1
features: [{type: id, names: [a, b], vocab: 20, dim: 4}]
graph:
  deep: {block: mlp, in: all, hidden: [8], each: [x, y]}
  top: {block: mlp, in: [deep.x, deep.y], hidden: [4]OWN}
tasks: {t: {label: y, in: top}}
kernels: KERNELS
"""


@pytest.mark.parametrize(
    ("own", "kernels", "overrides", "asked"),
    [
        ("", "{}", [], {"deep.x": "auto", "top": "auto"}),
        ("", "{default: triton}", [], {"deep.x": "triton", "top": "triton"}),
        ("", "{default: triton, by_block: {mlp: torch}}", [], {"deep.y": "torch"}),
        (
            "",
            "{by_block: {mlp: torch}, by_node: {top: triton}}",
            [],
            {"top": "triton", "deep.x": "torch"},
        ),
        (
            "",
            "{by_node: {'*': torch, 'deep*': triton, deep.y: torch}}",
            [],
            {"deep.x": "triton", "deep.y": "torch", "top": "torch"},
        ),
        (", kernel: torch", "{by_node: {top: triton}}", [], {"top": "torch"}),
        (", kernel: torch", "{}", ["kernels.by_node.top=triton"], {"top": "triton"}),
        (
            ", kernel: torch",
            "{}",
            ["kernels.default=triton"],
            {"top": "triton", "deep.x": "triton"},
        ),
        ("", "{by_block: {mlp: triton}}", ["graph.top.kernel=torch"], {"top": "torch"}),
    ],
)
def test_kernels_by_precedence(
    own: str, kernels: str, overrides: list[str], asked: dict[str, str], write_recipe: Write
) -> None:
    path = write_recipe(KERNELS.replace("OWN", own).replace("KERNELS", kernels))
    graph = check_recipe(path, overrides=overrides).graph
    assert graph is not None
    for name, wanted in asked.items():
        choice = graph[name].kernel
        assert choice is not None
        assert choice.asked == wanted, name
        assert choice.chosen == "torch"
        assert choice.why or wanted == "torch"


def test_environment_variables(write_recipe: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    text = KERNELS.replace("OWN", "").replace("kernels: KERNELS", "train: {batch: $env.ROWS:512}")
    path = write_recipe(text)
    monkeypatch.delenv("ROWS", raising=False)
    assert compile_recipe(path).recipe.train.batch == 512
    monkeypatch.setenv("ROWS", "64")
    assert compile_recipe(path, allow_env=["ROWS"]).recipe.train.batch == 64
    assert load(path, allow_env=["ROWS"]).recipe.train.batch == 64
    assert [p.code for p in check_recipe(path).errors] == ["GR209"]
    assert main(["check", str(path)]) == 2
    assert main(["check", str(path), "--allow-env", "ROWS"]) == 0
    monkeypatch.setenv("ROWS", "many")
    (problem,) = check_recipe(path, allow_env=["ROWS"]).errors
    assert (problem.code, problem.span and problem.span.line) == ("GR202", 7)
    write_recipe(text.replace(":512", ""))
    monkeypatch.delenv("ROWS")
    assert [p.code for p in check_recipe(path).errors] == ["GR209"]


def test_composites_share_their_weights(write_recipe: Write) -> None:
    """By `share`, and from step to step by `tied`: each part with its like."""
    text = """\
graphrec: 1
features: [{type: id, names: [a, b], vocab: 20, dim: 4}]
blocks:
  pair:
    params: {last: {type: int}, widths: {type: int, default: 5}}
    inputs: [x]
    graph:
      low: {block: mlp, in: x, hidden: [$widths, 8]}
      high: {block: linear, in: low, out: $last}
      twin: {block: linear, in: low, out: $last, share: high}
      sum: high + twin
    output: sum
graph:
  first: {block: pair, in: all, last: 8}
  second: {block: pair, in: all, last: 8, share: first}
  tied: {block: pair, in: all, last: 8, repeat: 3, tied: true}
  top: {block: mlp, in: [first, second, tied], hidden: [4]}
tasks: {t: {label: y, in: top}}
export: {nodes: [first, second]}
"""
    module = compile_recipe(write_recipe(text)).module().eval()
    keys = {key.partition(".")[0] for key in module.state_dict()}
    assert keys == {
        "embeddings",
        "first_low",
        "first_high",
        "tied_s0_low",
        "tied_s0_high",
        "top",
        "head_t",
    }
    outputs = module(Batch({"a": torch.arange(4), "b": torch.arange(4)}))
    shapes = {name: value.shape for name, value in outputs.items() if "sum" in name}
    assert len(shapes) == 2
    values = [outputs[name] for name in shapes]
    assert torch.equal(*values)
    plain = text.replace("share: first", "share: base").replace("[first,", "[base, first,")
    plain = plain.replace(
        "graph:\n  first", "graph:\n  base: {block: linear, in: all, out: 8}\n  first"
    )
    other = check_recipe(write_recipe(plain)).errors
    assert [(p.code, p.path) for p in other] == [("GR313", "graph.second.share")]
    other = check_recipe(
        write_recipe(text.replace("last: 8, share: first", "last: 9, share: first"))
    ).errors
    assert other[0].code == "GR313"


def test_expand_says_where_values_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(
        "graphrec: 1\nfeatures:\n  - {type: id, names: [a, b], vocab: 20, dim: 4}\ntrain: {batch: 7}\n"
    )
    Path("child.yaml").write_text(
        "graphrec: 1\nextends: base.yaml\ngraph:\n  deep: {block: mlp, in: all, hidden: [8]}\ntasks: {t: {label: y, in: deep}}\n"
    )
    assert main(["expand", "child.yaml", "--origin", "-o", "train.seed=5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line.split("#")[0].strip(): line.rpartition("# ")[2] for line in lines if "#" in line}
    assert found["batch: 7"] == "base.yaml:4"
    assert found["seed: 5"] == "-o #1"
    assert found["hidden: [8]"] == "child.yaml:4"
    assert found["accumulate: 1"] == "default"
    assert main(["expand", "child.yaml"]) == 0
    Path("whole.yaml").write_text(capsys.readouterr().out)
    first, second = (
        compile_recipe("child.yaml"),
        compile_recipe("whole.yaml", overrides=["name=child"]),
    )
    assert first.recipe.model_dump(exclude={"origin"}) == second.recipe.model_dump(
        exclude={"origin"}
    )
