"""A folder of scores: right, in order, whole; and the same after any kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

import graphrec
from graphrec.cli import main
from graphrec.export.predict import Job, predict
from graphrec.ground.errors import DataError

Rows = Callable[..., pa.Table]
NUMBERS = ["logits_click", "probs_click", "y_spent", "logits_stars", "probs_stars"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_rows: Rows) -> Path:
    """Two Parquet files of several row groups, without labels."""
    folder = tmp_path_factory.mktemp("data")
    table = make_rows(3000, seed=1).drop_columns(["click", "stars", "spent"])
    pq.write_table(table.slice(0, 2000), folder / "a.parquet", row_group_size=300)
    pq.write_table(table.slice(2000), folder / "b.parquet", row_group_size=1000)
    return folder


def read(folder: Path) -> pa.Table:
    names = sorted(path for path in folder.glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in names])


def job(run: Path, data: Path, out: Path, **more: Any) -> Job:
    given = {"keep": ("number",), "part_rows": 500, **more}
    return Job(str(run), (str(data / "*.parquet"),), str(out), **given)


def test_scores_are_those_of_the_run_in_the_order_of_the_rows(
    run: Path, data: Path, tmp_path: Path
) -> None:
    summary = predict(job(run, data, tmp_path / "s", nodes=("who",)))
    found = read(tmp_path / "s")
    assert summary.counts.trained == 3000 and summary.parts == 5 and not summary.resumed
    assert found.column_names == ["number", *NUMBERS, "who"]
    np.testing.assert_array_equal(found["number"], np.arange(3000))
    table = pa.concat_tables([pq.read_table(data / "a.parquet"), pq.read_table(data / "b.parquet")])
    expected = graphrec.load_run(run).predict(table)
    for name in NUMBERS:
        values = np.array(found[name].to_pylist(), np.float32)
        np.testing.assert_allclose(values, expected[name], atol=1e-6)
    who = np.array(found["who"].to_pylist())
    assert who.shape == (3000, 6) and who.std() > 0
    # readers of folders see the parts and nothing else
    assert pq.read_table(tmp_path / "s").equals(found)


def test_the_same_command_again_does_nothing(run: Path, data: Path, tmp_path: Path) -> None:
    predict(job(run, data, tmp_path / "s"))
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}
    again = predict(job(run, data, tmp_path / "s"))
    assert again.counts.trained == again.resumed == 3000
    assert stamps == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}


def test_work_goes_on_where_it_was_left(run: Path, data: Path, tmp_path: Path) -> None:
    whole = job(run, data, tmp_path / "whole")
    predict(whole)
    told: list[int] = []

    class Stop(Exception): ...

    def stop(read: int, scored: int) -> None:
        told.append(scored)
        if sum(told) > 1500:
            raise Stop

    cut = job(run, data, tmp_path / "cut")
    with pytest.raises(Stop):
        predict(cut, stop)
    parts = {path.name for path in (tmp_path / "cut").glob("part-*")}
    assert 0 < len(parts) < 5
    summary = predict(cut)
    assert 0 < summary.resumed < 3000
    assert read(tmp_path / "cut").equals(read(tmp_path / "whole"))
    assert sorted(os.listdir(tmp_path / "cut")) == sorted(os.listdir(tmp_path / "whole"))


def test_killed_again_and_again_it_ends_with_every_row_once(
    run: Path, tmp_path: Path, make_rows: Rows
) -> None:
    """kill -9 twice while it writes."""
    table = make_rows(20_000, seed=2)
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=1000)
    script = (
        "import sys; from graphrec.export.predict import Job, predict; "
        "predict(Job(sys.argv[1], (sys.argv[2],), sys.argv[3], keep=('number',), part_rows=1000))"
    )
    words = (str(run), str(tmp_path / "d.parquet"))
    command, out = [sys.executable, "-c", script, *words], tmp_path / "s"
    for goal in (2, 10):
        process = subprocess.Popen([*command, str(out)])
        while len(list(out.glob("part-*"))) < goal and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not json.loads((out / "_scores.json").read_text())["finished"]
    resumed = Job(words[0], words[1:], str(out), keep=("number",), part_rows=1000)
    assert predict(resumed).resumed >= 9000
    found = read(out)
    np.testing.assert_array_equal(found["number"], np.arange(20_000))
    predict(Job(str(run), (str(tmp_path / "d.parquet"),), str(tmp_path / "w"), keep=("number",)))
    expected = read(tmp_path / "w")
    for name in NUMBERS[:2]:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_several_processes_write_the_same_files(run: Path, data: Path, tmp_path: Path) -> None:
    from graphrec.export.worker import predict_side_by_side

    predict(job(run, data, tmp_path / "one"))
    summary = predict_side_by_side(job(run, data, tmp_path / "two"), 2, lambda read, scored: None)
    assert summary.counts.trained == 3000
    assert sorted(os.listdir(tmp_path / "two")) == sorted(os.listdir(tmp_path / "one"))
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert one["number"].equals(two["number"])
    np.testing.assert_allclose(one["probs_click"], two["probs_click"], atol=1e-6)


def test_a_killed_process_leaves_its_work_to_others(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphrec.export import worker

    start = worker._Crew._start

    def killed(crew: Any, count: int) -> Any:
        process = start(crew, count)
        process.kill()
        return process

    monkeypatch.setattr(worker._Crew, "_start", killed)
    out = tmp_path / "s"
    summary = worker.predict_side_by_side(job(run, data, out), 2, lambda read, scored: None)
    assert summary.counts.trained == 3000
    np.testing.assert_array_equal(read(out)["number"], np.arange(3000))


def test_bad_rows_are_what_the_recipe_says(run: Path, tmp_path: Path, make_rows: Rows) -> None:
    table = make_rows(1000, seed=3)
    price = [
        float("inf") if n in (7, 900) else value
        for n, value in enumerate(table["price"].to_pylist())
    ]
    table = table.set_column(table.column_names.index("price"), "price", pa.array(price))
    pq.write_table(table, tmp_path / "d.parquet")
    one = Job(str(run), (str(tmp_path / "d.parquet"),), str(tmp_path / "s"), keep=("number",))
    summary = predict(one)
    assert summary.counts.quarantined == 2 and summary.counts.trained == 998
    left = sorted({*range(1000)} - {*read(tmp_path / "s")["number"].to_pylist()})
    assert left == [7, 900]


def test_bad_rows_stop_where_the_recipe_does_not_leave_them_out(
    strict_run: Path, tmp_path: Path, make_rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_rows(50).set_column(5, "price", pa.array(["dear"] * 50))
    pq.write_table(table, tmp_path / "d.parquet")
    words = ["--data", str(tmp_path / "d.parquet"), "-O", str(tmp_path / "s")]
    assert main(["predict", str(strict_run), *words]) == 3
    assert "column `price`, row 1 of" in capsys.readouterr().err
    assert main(["predict", str(strict_run), *words, "--nproc", "2"]) == 3
    assert "column `price`, row 1 of" in capsys.readouterr().err
    assert not list((tmp_path / "s").glob("part-*"))


def test_csv_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(
        "graphrec: 1\nname: r\ndata: {train: r.csv, workers: 0}\n"
        "features: [{type: id, names: {u: 9, i: 9}, dim: 2}]\n"
        "graph: {top: {block: mlp, in: all, hidden: [3]}}\n"
        "tasks: {click: {label: click, in: top}}\ntrain: {steps: 2, batch: 4}\n"
    )
    lines = [f"{n % 10},{n % 7},{n % 2},'x{n}'" for n in range(40)]
    (tmp_path / "r.csv").write_text("\n".join(["u,i,click,id", *lines]) + "\n")
    run = str(tmp_path / "run")
    assert main(["train", str(tmp_path / "r.yaml"), "--run", run, "--quiet"]) == 0
    words = ["--data", str(tmp_path / "r.csv"), "-O", str(tmp_path / "s"), "--keep", "id,u"]
    assert main(["predict", run, *words, "--format", "csv", "--node", "top"]) == 0
    assert "40 rows in 1 parts" in capsys.readouterr().out
    found = pa_csv.read_csv(tmp_path / "s" / "part-000000-0000.csv")
    assert found.column_names == ["id", "u", "logits", "probs", "top_0", "top_1", "top_2"]
    assert found["id"].to_pylist() == [f"'x{n}'" for n in range(40)]
    wanted = graphrec.load_run(run).predict([{"u": n % 10, "i": n % 7} for n in range(40)])
    np.testing.assert_allclose(found["probs"].to_numpy(), wanted["probs"], atol=1e-6)


def test_folders_that_are_not_for_this(run: Path, data: Path, tmp_path: Path) -> None:
    predict(job(run, data, tmp_path / "s"))
    with pytest.raises(DataError, match="another job: its columns is"):
        predict(job(run, data, tmp_path / "s", nodes=("deep",)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="has other files in it, such as thesis.tex"):
        predict(job(run, data, tmp_path / "other"))
    with pytest.raises(DataError, match="can't be used: "):
        predict(job(run, data, tmp_path / "other" / "thesis.tex"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"keep": ("nmber",)}, "has no column `nmber`, which --keep needs"),
        ({"keep": ("past__item",), "form": "csv"}, "column `past__item` holds list"),
        ({"nodes": ("whom",)}, "no node"),
        ({"nodes": ("steps",)}, "`steps` is a history"),
    ],
)
def test_columns_that_can_not_be(
    run: Path, data: Path, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(graphrec.GraphrecError, match=said):
        predict(job(run, data, tmp_path / "s", **more))
