"""Exported files: what is in them, what they give, and that a wrong one is never handed out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import graphrec
from graphrec.cli import main
from graphrec.export.bundle import export_run
from graphrec.export.formats import FORMATS
from graphrec.export.order import Order
from graphrec.export.program import load_model
from graphrec.export.proof import Reference, prove
from graphrec.ground.errors import CheckpointError, DataError

Rows = Callable[..., pa.Table]
PROOF = 4400


def test_the_bundle_has_what_another_program_needs(bundle: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == [
        *("cells.py", "client.py", "features.json", "features.py", "model.pt2", "score.pt2"),
        *("signature.json", "tables", "values.py"),
    ]
    alone = bundle.parent / "model.pt2"
    assert alone.stat().st_ino == (bundle / "model.pt2").stat().st_ino
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []
    assert torch.export.load(alone).module() is not None
    assert len((bundle / "client.py").read_text().splitlines()) < 50


def test_the_signature_names_every_tensor(bundle: Path) -> None:
    signature = json.loads((bundle / "signature.json").read_text())
    assert signature["proof"]["largest_difference"] <= 1e-6 and signature["proof"]["rows"] == PROOF
    forward = signature["entry_points"]["forward"]
    found = {port["name"]: (port["dtype"], port["shape"]) for port in forward["inputs"]}
    assert found["user"] == ("int64", ["batch"])
    assert found["taste"] == ("float32", ["batch", 3])
    assert found["tags.values"] == ("int64", ["steps of tags"])
    assert found["tags.lengths"] == found["past.lengths"] == ("int64", ["batch"])
    assert found["past.price.values"] == ("float32", ["steps of past", 1])
    outputs = {o["name"]: (o["task"], o["kind"], o["shape"]) for o in forward["outputs"]}
    assert outputs["probs_stars"] == ("stars", "probs", ["batch", 3])
    assert outputs["y_spent"] == ("spent", "y", ["batch"])
    score = signature["entry_points"]["score"]
    request = [port["name"] for port in score["inputs"] if port["shape"][0] == 1]
    assert request == ["age", "hour", "past.lengths", "taste", "user"]


def client(bundle: Path, tmp_path: Path, rows: Any, *without: str) -> dict[str, Any]:
    """What the example client prints, in a process that finds nothing else."""
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    script = (
        "import sys, runpy; from importlib.util import spec_from_file_location as spec;"
        "import importlib.util as u; s = spec('p', sys.argv[1]); p = u.module_from_spec(s);"
        "s.loader.exec_module(p);"
        "sys.meta_path[:] = [p.Without(f, sys.argv[4:]) for f in sys.meta_path];"
        "sys.path.insert(0, sys.argv[2]); sys.argv[1:] = [sys.argv[3]];"
        "runpy.run_path(sys.path[0] + '/client.py', run_name='__main__')"
    )
    prove_file = Path(graphrec.__file__).parent / "export" / "bundle_files" / "prove.py"
    words = [str(prove_file), str(bundle), str(file), *without]
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", script, *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_raw_rows_to_scores_with_torch_alone(
    bundle: Path, run: Path, make_rows: Rows, tmp_path: Path
) -> None:
    rows = make_rows(50, seed=9).to_pylist()
    found = client(bundle, tmp_path, rows, "graphrec", "pyarrow", "onnxruntime")
    expected = graphrec.load_run(run).predict(rows)
    for name, values in expected.items():
        np.testing.assert_allclose(np.array(found[name]), values, rtol=1e-6, atol=1e-6)


def test_raw_rows_to_scores_with_onnxruntime_alone(
    onnx_bundle: Path, run: Path, make_rows: Rows, tmp_path: Path
) -> None:
    proof = json.loads((onnx_bundle / "signature.json").read_text())["proof"]
    assert proof["largest_difference"] <= 1e-5 and proof["requests"] == 8
    rows = make_rows(50, seed=9).to_pylist()
    found = client(
        onnx_bundle, tmp_path, rows, "graphrec", "pyarrow", "torch", "onnx", "onnxscript"
    )
    expected = graphrec.load_run(run).predict(rows)
    for name, values in expected.items():
        np.testing.assert_allclose(np.array(found[name]), values, rtol=1e-5, atol=1e-5)


def test_a_file_with_other_numbers_is_refused(bundle: Path, run: Path) -> None:
    model, right = load_model(run), graphrec.load_run(run)

    def wrong(table: Any) -> dict[str, Any]:
        found = dict(right.predict(table))
        found["probs_click"] = found["probs_click"] + np.float32(1e-5) * (
            np.arange(len(table)) == 7
        )
        return found

    with pytest.raises(CheckpointError, match="probs_click of the exported model differs"):
        prove(bundle, model, FORMATS["pt2"], Reference(wrong, right.score), 60)


def test_a_client_that_fails_is_told(bundle: Path, run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "b"
    subprocess.run(["cp", "-r", str(bundle), str(broken)], check=True)
    (broken / "features.py").write_text("import graphrec\n")
    model, right = load_model(run), graphrec.load_run(run)
    with pytest.raises(CheckpointError, match="can't be run: ModuleNotFoundError: No module named"):
        prove(broken, model, FORMATS["pt2"], Reference(right.predict, right.score), 30)


@pytest.mark.parametrize(("precision", "tables"), [("bf16", "as trained"), ("fp32", "int8")])
def test_smaller_weights_are_compared_with_the_run(
    run: Path, make_rows: Rows, tmp_path: Path, soak: bool, precision: Any, tables: Any
) -> None:
    import pyarrow.parquet as pq

    if precision == "bf16" and not soak:
        pytest.skip("the same road as int8: part of make soak")

    pq.write_table(make_rows(800, seed=4), tmp_path / "eval.parquet")
    order = Order(
        str(run),
        str(tmp_path / "m"),
        precision=precision,
        tables=tables,
        data=(str(tmp_path / "eval.parquet"),),
        rows=200,
    )
    exported = export_run(order)
    found = {change.metric: change for change in exported.changes}
    assert abs(found["click.auc"].after - found["click.auc"].before) < 0.05
    assert found["click.auc"].rows == 800
    signature = json.loads((tmp_path / "m" / "signature.json").read_text())
    assert signature["changes"] and signature["tables"] == tables


def test_rows_of_bytes_are_near_those_of_floats() -> None:
    from graphrec.nn import Embeddings, Jagged, Lookup, Table

    tables = [Table("a", rows=50, dim=16), Table("b", rows=9, dim=1), Table("c", rows=7, dim=8)]
    columns = [Lookup("a", "a"), Lookup("b", "b"), Lookup("c", "c", pool="mean")]
    shop = Embeddings(tables, columns)
    features = {
        "a": torch.arange(5),
        "b": torch.arange(5),
        "c": Jagged(torch.arange(7), torch.tensor([2, 0, 1, 4, 0])),
    }
    with torch.no_grad():
        before = shop(features).concat(["a", "b", "c"])
        shop.store_as_bytes()
        after = shop(features).concat(["a", "b", "c"])
    spread = before.abs().max()
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, before, atol=float(spread) / 120, rtol=0)
    assert torch.equal(before[:, 16:17], after[:, 16:17])  # too narrow: kept as it was
    kept = sum(t.numel() * t.element_size() for t in shop.buffers() if t.dtype == torch.uint8)
    assert kept == 50 * 16 + 7 * 8 and list(shop.state_dict()) == ["b.weight"]


def test_kernels_of_the_recipe_are_replaced_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-o", "data.synthetic=600", "-o", "train.steps=2", "-o", "train.epochs=null"]
    run = str(tmp_path / "run")
    assert main(["train", "shop", *words, "--run", run, "--quiet"]) == 0
    model = load_model(run)
    assert model.replaced == ("tower.buy: triton", "tower.click: triton")


@pytest.mark.parametrize(
    ("name", "said"),
    [("x.onnx", "is no name for --format pt2"), ("full", "is no bundle of an earlier export")],
)
def test_places_that_are_taken(run: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(DataError, match=said):
        export_run(Order(str(run), str(tmp_path / name)))
    assert (tmp_path / "full" / "thesis.tex").exists()
