"""The generated file: golden text, formatted, importable alone, explained when it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graphrec.compiler.codegen.identifiers import Names, class_name
from graphrec.compiler.codegen.writer import Call, Writer, docstring, literal, quoted
from graphrec.compiler.loader import UnsafeSource, check_source, load
from graphrec.compiler.pipeline import Compiled, compile_recipe
from graphrec.nn import Batch, Jagged

ROOT = Path(__file__).parents[3]
RECIPES = sorted(p.stem for p in (ROOT / "recipes").glob("*.yaml") if not p.stem.endswith("_base"))
Write = Callable[[str], Path]

HEAD = "graphrec: 1\nname: toy\ndefaults: {feature: {dim: 4}}\nfeatures:\n"
IDS = "  - {type: id, names: {a: 10, b: 20}}\n"


@pytest.mark.parametrize("name", ["shop", "deepfm", "dbmtl_taobao", "kuairand_mmoe_din"])
def test_golden_files(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"generated/{name}.py", compile_recipe(ROOT / "recipes" / f"{name}.yaml").source.text)


@pytest.mark.parametrize("name", RECIPES)
def test_every_generated_file_is_clean(name: str, tmp_path: Path) -> None:
    """ruff as it is in an empty folder has nothing to say; nor have the project's own rules."""
    path = tmp_path / f"{name}.py"
    path.write_text(compile_recipe(ROOT / "recipes" / f"{name}.yaml").source.text)
    rules = ["check", "--select", "E,F,I,UP,B,C4,SIM,RET"]
    for command in (["format", "--check"], ["check"], rules):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", str(path)]
        subprocess.run(ruff, check=True, capture_output=True, cwd=tmp_path)


def test_it_runs_without_the_compiler(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(compile_recipe(ROOT / "recipes" / "deepfm.yaml").source.text)
    code = (
        "import sys, model; model.Deepfm()\n"
        "bad = [m for m in sys.modules if m.startswith('graphrec.') and m.split('.')[1] not in "
        "('nn', 'kernels', 'ground')]\n"
        "assert not bad, bad\nassert 'pydantic' not in sys.modules and 'networkx' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )


def toy(write: Write, graph: str, extra: str = IDS, overrides: tuple[str, ...] = ()) -> Compiled:
    text = HEAD + extra + f"graph: {graph}\ntasks: {{t: {{label: y, in: top}}}}\n"
    return compile_recipe(write(text), overrides=overrides)


def ids(rows: int) -> dict[str, torch.Tensor | Jagged]:
    return {"a": torch.arange(rows) % 10, "b": torch.arange(rows) % 20}


def test_expressions_compute_what_they_say(write_recipe: Write) -> None:
    graph = "{u: 'all * 2 - (all - 0.5) / 4', top: 'concat(u, -u, clip(relu(u), 0, 0.25), slice(u, 0, 2))'}"
    compiled = toy(write_recipe, graph)
    module = compiled.module()
    batch = Batch(ids(6))
    x = module.get_submodule("embeddings")(batch.features).concat(("a", "b"))
    u = x * 2 - (x - 0.5) / 4
    top = torch.cat([u, -u, u.relu().clip(0, 0.25), u[:, :2]], dim=1)
    wanted = module.get_submodule("head_t")(top).squeeze(-1)
    torch.testing.assert_close(module(batch)["logits"], wanted)


def test_a_vector_is_embedded_by_a_linear_layer(write_recipe: Write) -> None:
    """width 3, dim 4: a field beside those of ids, x W by torch."""
    vector = IDS + "  - {type: dense, names: v, width: 3, dim: 4}\n"
    module = toy(write_recipe, "{top: 'reshape(all.fields, [12]) * 2'}", vector).module()
    x = torch.randn(6, 3)
    weight = dict(module.get_submodule("embeddings").state_dict())["v.weight"]
    assert weight.shape == (3, 4)
    found = module.get_submodule("embeddings")({**ids(6), "v": x}).concat(("v",))
    torch.testing.assert_close(found, torch.nn.functional.linear(x, weight.t()))
    wanted = module.get_submodule("embeddings")({**ids(6), "v": x}).concat(("a", "b", "v"))
    logits = module(Batch({**ids(6), "v": x}))["logits"]
    torch.testing.assert_close(logits, module.get_submodule("head_t")(2 * wanted).squeeze(-1))


def test_an_error_inside_names_its_node_and_line(write_recipe: Write) -> None:
    module = toy(write_recipe, "{top: {block: mlp, in: all, hidden: [3]}}").module()
    module.get_submodule("top").layers[0].weight = torch.nn.Parameter(torch.zeros(3, 5))  # type: ignore[union-attr]
    with pytest.raises(RuntimeError) as caught:
        module(Batch(ids(4)))
    assert "graphrec: in node 'top' (recipe:6): top = self.top(all_)" in "".join(
        caught.value.__notes__
    )


def test_code_that_the_compiler_never_writes_is_not_run(write_recipe: Write) -> None:
    source = toy(write_recipe, "{top: {block: mlp, in: all, hidden: [3]}}").source
    for line in (
        "import os",
        "from subprocess import run",
        "x = [i for i in ()]",
        "lambda: 0",
        "().__class__",
        "class Other:\n    pass",
    ):
        with pytest.raises(UnsafeSource):
            load(replace(source, text=source.text + line + "\n"))
    check_source(source)


def test_weights_do_not_depend_on_what_else_is_declared(write_recipe: Write) -> None:
    small = toy(write_recipe, "{top: {block: mlp, in: all, hidden: [3]}}").module()
    large = toy(
        write_recipe,
        "{extra: {block: mlp, in: all, hidden: [7]}, side: {block: mlp, in: all, hidden: [3]}, top: 'concat(side, extra)'}",
        IDS + "  - {type: id, names: {c: 5}, group: other}\n",
    ).module()
    for key in ("embeddings.a.weight", "embeddings.b.weight"):
        torch.testing.assert_close(small.state_dict()[key], large.state_dict()[key], rtol=0, atol=0)


def test_histories_of_every_length(write_recipe: Write) -> None:
    extra = (
        IDS
        + "  - {type: sequence, name: h, of: [a, b], max_len: 5}\ngroups: {pair: {query: [a, b], keys: h}}\n"
    )
    graph = "{i: {block: din, in: pair, hidden: [4]}, p: {block: pooling, in: h}, top: 'concat(all, i, p, h.length)'}"
    module = toy(write_recipe, graph, extra).module().eval()
    lengths = torch.tensor([0, 1, 5])
    steps = {name: Jagged(torch.arange(6) % 10, lengths) for name in ("h.a", "h.b")}
    logits = module(Batch({**ids(3), **steps}))["logits"]
    alone = module(
        Batch({**ids(1), **{k: Jagged(v.values[:0], lengths[:1]) for k, v in steps.items()}})
    )
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits[:1], alone["logits"])


HOSTILE = [
    "a'b", 'a"b', 'x"""\nimport os', "a\\b", "{a}", "%s", "a\x00b", "‮evil", "a\nb", "é", "__import__('os')",
    "../../etc/passwd", "A" * 10_000, "ﬁ", "\u2028", "${HOME}", "#", "'; --",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_text(text: str) -> None:
    assert eval(quoted(text)) == text  # noqa: S307
    source = "\n".join(docstring([text, text])) + "\n"
    assert isinstance(compile(source, "doc", "exec").co_consts[0], str)
    assert class_name(text).isidentifier()


def test_identifiers() -> None:
    names = Names()
    made = [names.take(n) for n in ("all", "tower.ctr", "tower_ctr", "class", "self", "1st", "all")]
    assert made == ["all_", "tower_ctr", "tower_ctr_", "class_", "self_", "_1st", "all_"]


def test_layout_of_long_values() -> None:
    writer = Writer()
    long = ("a" * 40, "b" * 40)
    writer.assign("x", long, 0)
    assert writer.lines == ["x = (", f'    "{long[0]}",', f'    "{long[1]}",', ")"]
    writer = Writer()
    writer.assign("y", Call("f", ["a" * 40], {"b": "c" * 20}), 8, "[B, 4]")
    assert writer.lines == [
        "        y = f(",
        f'            "{"a" * 40}", b="{"c" * 20}"',
        "        )  # [B, 4]",
    ]
    assert (
        literal({"rows": 10_000, "dim": 16, "on": True})
        == '{"rows": 10_000, "dim": 16, "on": True}'
    )
