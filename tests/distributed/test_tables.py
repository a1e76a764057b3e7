"""Parts of tables: drawn as one process draws them, saved and joined, planned; no job is started."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from graphrec.cli import main
from graphrec.compiler.pipeline import compile_recipe
from graphrec.distributed.torchrec_library import load_torchrec
from graphrec.ground.errors import RecipeError
from graphrec.nn import Embeddings, Lookup, Table
from graphrec.nn.embedding import without_tables
from graphrec.nn.parameter_slice import ParameterSlice
from graphrec.nn.tables import fill, named_generator
from graphrec.train.slices import Slice, is_part, joined, part_name

load_torchrec()

from graphrec.distributed.collections import ShardedTable, collections_of  # noqa: E402
from graphrec.distributed.planning import Cluster, divides  # noqa: E402
from graphrec.distributed.preview import plan_data, preview  # noqa: E402
from graphrec.distributed.refusals import refuse  # noqa: E402
from graphrec.distributed.shards import Shard, draw  # noqa: E402

RECIPE = """\
graphrec: 1
name: tables
data: {synthetic: 1000}
features:
  - {type: id, names: {user: 1_000_000_000, item: 100_000}, dim: 16}
  - {type: id, names: small, vocab: 3, dim: 16}
  - {type: sequence, name: past, of: [item], max_len: 20}
graph: {seen: {block: pooling, in: past}, top: {block: mlp, in: [all, seen], hidden: [4]}}
tasks: {click: {label: click, in: top}}
train: {batch: 64}
"""


def shard(rows: int, dim: int, start: int, stop: int, init: str = "normal(0.1)") -> Shard:
    piece = ParameterSlice("item.weight", "packed", 0, rows, (rows, dim), init)
    width = -(-dim // 4) * 4
    table = ShardedTable("item", "embeddings", piece, width)
    return Shard(table, start, 0, torch.full((stop - start, width), 9.0), {}, False)


@pytest.mark.parametrize("init", ["normal(0.1)", "uniform(0.5)", "zeros"])
@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (7, 3), (100_003, 16), (1_000_001, 1), (3, 64)])
def test_shards_are_drawn_as_the_whole_table(rows: int, dim: int, init: str) -> None:
    expected = torch.empty(rows, dim)
    fill(expected, init, named_generator(5, "item.weight", torch.device("cpu")))
    cuts = [0, rows // 3, rows // 2, rows]
    for start, stop in zip(cuts, cuts[1:], strict=False):
        part = shard(rows, dim, start, stop, init)
        draw(part, 5)
        assert torch.equal(part.weight[:, :dim], expected[start:stop])
        assert not part.weight[:, dim:].any(), "filling columns stay 0"


def test_columns_of_a_table_are_drawn_as_part_of_it() -> None:
    expected = torch.empty(50, 16)
    fill(expected, "normal(0.1)", named_generator(5, "item.weight", torch.device("cpu")))
    part = shard(50, 16, 0, 50)
    part.column, part.weight = 8, torch.zeros(50, 8)
    draw(part, 5)
    assert torch.equal(part.weight, expected[:, 8:])


def test_embeddings_without_tables_take_no_memory() -> None:
    columns = [Table("big", rows=10**9, dim=64), Lookup("big", table="big")]
    with without_tables():
        embeddings = Embeddings(columns)
    assert embeddings.get_parameter("packed_64").is_meta
    pieces = embeddings.give_body(None)  # type: ignore[arg-type]
    assert [piece.key for piece in pieces] == ["big.weight"]
    assert not list(embeddings.parameters()) and not embeddings.state_dict()


def test_where_a_table_goes_is_said_by_its_readers() -> None:
    lookups = [
        Lookup("a", table="a"),
        Lookup("b", table="b", pool="mean"),
        Lookup("b2", table="b"),
        Lookup("c", table="c", pool="sum"),
        Lookup("c2", table="c", pool="mean"),
        Lookup("h.d", table="d", sequence=True),
        Lookup("d", table="d"),
        Lookup("w", table="w", pool="sum"),
        Lookup("keys", table="keys"),
        Lookup("x.y", table="x.y"),
    ]
    names = ("a", "b", "c", "d", "w", "keys", "x.y")
    pieces = [ParameterSlice(f"{n}.weight", "p", 0, 9, (9, 6), "zeros") for n in names]
    rows, bags = collections_of("embeddings", lookups, pieces, {"w"})
    assert bags.pooled and not rows.pooled
    assert {t.piece.key for t in bags.tables} == {f"{n}.weight" for n in ("a", "b", "keys", "x.y")}
    assert {t.piece.key for t in rows.tables} == {"c.weight", "d.weight", "w.weight"}
    assert {t.width for t in (*bags.tables, *rows.tables)} == {8}
    bags.module(), rows.module()  # names of torch's own attributes are no trouble


def test_slices_join_to_tables() -> None:
    table = torch.arange(12.0).view(4, 3)
    parts = {
        str(Slice("t@x.weight", 0, 3, 0, 3, (4, 3))): table[:3],
        str(Slice("t@x.weight", 3, 4, 0, 2, (4, 3))): table[3:, :2],
        str(Slice("t@x.weight", 3, 4, 2, 3, (4, 3))): table[3:, 2:],
        "dense": torch.ones(2),
    }
    whole = joined(parts)
    assert torch.equal(whole["t@x.weight"], table) and whole.keys() == {"t@x.weight", "dense"}
    del parts[next(iter(parts))]
    with pytest.raises(ValueError, match="parts of `t@x.weight` are missing"):
        joined(parts)
    name = part_name("optim.safetensors", 1, 4)
    assert is_part(name, "optim.safetensors") and not is_part(name, "model.safetensors")


# ---- plans ----------------------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tables.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize(
    ("ranks", "device", "wishes"),
    [(2, "cpu", ()), (64, "cuda", ("train.shard={user: row_wise}",)), (1024, "cuda", ())],
)
def test_plans_hold_together(
    recipe: Path, ranks: int, device: str, wishes: tuple[str, ...]
) -> None:
    cluster = Cluster(ranks, device, hbm=80 << 30, ddr=256 << 30)
    plan, _ = preview(compile_recipe(recipe, overrides=wishes), cluster, 65_536, {})
    tables = {part.table.key for part in plan.parts}
    assert tables == {"embeddings.user.weight", "embeddings.item.weight", "embeddings.small.weight"}
    for key in tables:
        parts = [part for part in plan.parts if part.table.key == key]
        table = parts[0].table
        if parts[0].way != "data_parallel":
            assert sum(part.rows * part.columns for part in parts) == table.rows * table.width
        for part in parts:
            assert part.weights == 4 * part.rows * part.columns and part.rows > 0
            own = part.weights + part.optimizer + part.input + part.output
            assert own == part.storage, "the bytes by use are torchrec's own sum"
    data = plan_data(plan)
    assert all(entry["bytes"] < 80 << 30 for entry in data["by_rank"])
    assert data["ms_per_step"] == max(entry["ms"] for entry in data["by_rank"])
    if wishes:
        (way,) = {part.way for part in plan.parts if part.table.key.endswith("user.weight")}
        assert way == "row_wise"


def test_a_plan_is_printed(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["describe", str(recipe), "--ranks", "16", "--hbm", "80GB", "--batch", "65536"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "plan for 16 ranks on cuda (2 hosts), batch 65,536" in text
    assert "embeddings.user" in text and "fullest:" in text and "busiest:" in text
    assert main([*words, "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["plan"]["by_rank"]) <= 16
    assert logging.root.manager.disable == 0


def test_what_fits_nowhere_is_told(recipe: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        preview(compile_recipe(recipe), Cluster(2, "cuda", hbm=8 << 30), 4096, {})
    assert raised.value.problems[0].code == "GR904"
    assert "59." in str(raised.value)  # GiB of weights


def test_every_rank_gets_rows() -> None:
    assert divides(4, 4) and divides(5, 3) and not divides(3, 4) and not divides(5, 4)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.optim={dense: adam, sparse: adam}", "adam on tables"),
        ("train.optim={sparse: {adagrad: {weight_decay: 0.1}}}", "weight decay"),
        ("train.accumulate=2", "-o train.batch=128"),
        ("train.compile=true", "torch.compile"),
        ("train.shard={usr: row_wise}", "no table is called `usr`"),
        ("tasks.click.loss={jrc: {session: user}}", "jrc"),
        ("train={optim: {sparse: rowwise_adagrad}, shard: {item: column_wise}}", "accumulator"),
        ("features.item.dtype=bf16", "bf16"),
        ("losses={near: mean(all)}", "the term `near`"),
    ],
)
def test_refusals(recipe: Path, override: str, words: str) -> None:
    overrides = [override]
    if "jrc" in override:
        overrides.append("tasks.click.kind=binary")
        overrides.append("tasks.click.classes=2")
    compiled = compile_recipe(recipe, overrides=overrides)
    with pytest.raises(RecipeError) as raised:
        refuse(compiled.recipe, compiled.graph, "cpu")
    (problem,) = raised.value.problems
    assert problem.code == "GR901" and problem.help
    assert words in problem.message + problem.help


def test_nothing_is_refused_without_reason(recipe: Path) -> None:
    compiled = compile_recipe(recipe, overrides=["train.shard={'*': row_wise, item: auto}"])
    refuse(compiled.recipe, compiled.graph, "cpu")
    adam = compile_recipe(recipe, overrides=["train.optim={dense: adam, sparse: adam}"])
    refuse(adam.recipe, adam.graph, "cuda")
