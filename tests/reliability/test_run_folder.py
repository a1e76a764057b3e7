"""A run folder is one whole: whatever is damaged, foreign or gone in it is named, or harmless."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.compiler.pipeline import compile_recipe
from graphrec.ground.errors import CheckpointError, EnvironmentFault, GraphrecError
from graphrec.train import checkpoint, evaluate, train
from graphrec.train.inference import load_run
from graphrec.train.manifest import manifest_text
from graphrec.train.run import read_info

RECIPE = """
graphrec: 1
name: tiny
data: {synthetic: 400, workers: 0}
defaults: {feature: {dim: 4}}
features:
  - {type: id, names: {user: fit, item: hash(50)}}
  - {type: id, names: tags, vocab: 9, pool: mean}
  - {type: dense, names: price, transform: zscore}
graph: {deep: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: click, in: deep, metrics: [auc]}}
train: {epochs: 3, batch: 180, seed: 3, save: {every: 1, keep: 9, best: auc}}
"""
ROWS = [{"user": u, "item": u * 3, "tags": [u % 9, 2], "price": u / 7} for u in range(40)]


class Told:
    """A console that keeps what it was told."""

    quiet = False

    def __init__(self) -> None:
        self.text = ""

    def result(self, text: str) -> None:
        self.text += text + "\n"

    remark = result


def start(folder: Path, *overrides: str, text: str = RECIPE) -> tuple[Path, str]:
    console = Told()
    run = train(compile_recipe(text, overrides=overrides), console=console, run_dir=folder)
    return run.folder, console.text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start(tmp_path_factory.mktemp("runs") / "tiny")[0]


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def predictions(folder: Path, which: str | int | None = None) -> np.ndarray[Any, Any]:
    return load_run(folder, which).predict(ROWS)["probs"]


def codes(error: GraphrecError) -> set[str]:
    return {problem.code for problem in error.problems}


def test_whatever_is_damaged_is_named_or_harmless(folder: Path, soak: bool) -> None:
    wanted = predictions(folder, "last")
    last = checkpoint.latest(folder / "checkpoints")
    assert last is not None
    others = [path for path in (folder / "checkpoints").iterdir() if path != last.folder]
    files = [
        path for path in folder.rglob("*") if path.is_file() and "tensorboard" not in str(path)
    ]
    files = [path for path in files if not any(path.is_relative_to(other) for other in others)]
    assert len(files) > 10
    detected = set()
    for path in files:
        whole, draw = path.read_bytes(), random.Random(path.name)
        if not whole:
            continue
        number = 6000 if soak else 4
        cases = [
            whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :]
            for at in (draw.randrange(len(whole)) for _ in range(number))
        ]
        for case in [*cases, whole[: len(whole) // 2], b""]:
            path.write_bytes(case)
            try:
                assert np.array_equal(predictions(folder, "last"), wanted), path
            except GraphrecError as error:
                detected.add(path.name)
                assert path.name in str(error), str(error)
        path.write_bytes(whole)
    needed = {"recipe.yaml", "run.json", "stats.json", "user.parquet", "manifest.json"}
    assert detected >= needed | {"model.safetensors"}
    assert np.array_equal(predictions(folder, "last"), wanted)


def _reorder(folder: Path) -> None:
    path = folder / "vocab" / "user.parquet"
    values = pq.read_table(path)["value"].to_pylist()
    pq.write_table(pa.table({"value": pa.array(values[::-1], pa.large_string())}), path)


def _foreign(folder: Path) -> None:
    other, _ = start(folder.parent / "other", "train.seed=9", "data.synthetic=300")
    shutil.copyfile(other / "vocab" / "user.parquet", folder / "vocab" / "user.parquet")


def _sum(folder: Path) -> None:
    path = folder / "recipe.yaml"
    text = path.read_text()
    assert "pool: mean" in text
    path.write_text(text.replace("pool: mean", "pool: sum"))


def _statistics(folder: Path) -> None:
    path = folder / "stats.json"
    stats = json.loads(path.read_text())
    (scale,) = stats["scales"].values()
    scale[0][0] += 0.25
    path.write_text(json.dumps(stats))


@pytest.mark.parametrize(
    ("spoil", "code", "name"),
    [
        (_reorder, "GR805", "vocab/user.parquet"),
        (_foreign, "GR805", "vocab/user.parquet"),
        (_statistics, "GR805", "stats.json"),
        (_sum, "GR809", "recipe.yaml"),
    ],
)
def test_what_changes_predictions_is_refused(
    folder: Path, spoil: Callable[[Path], None], code: str, name: str
) -> None:
    spoil(folder)
    for look in (load_run, evaluate):
        with pytest.raises(CheckpointError, match=name) as caught:
            look(folder)
        assert codes(caught.value) == {code}
    unfinished(folder)
    with pytest.raises(CheckpointError, match=name):
        start(folder)  # neither does training go on with it


def unfinished(folder: Path, step: int | None = None) -> None:
    """As if the run had been killed, after that step."""
    info = read_info(folder)
    (folder / "run.json").write_text(json.dumps({**info, "finished": False}))
    for found in checkpoint.steps(folder / "checkpoints"):
        if step is not None and found.position.step > step:
            shutil.rmtree(found.folder)


def test_a_step_under_another_name_is_refused(folder: Path) -> None:
    parent = folder / "checkpoints"
    shutil.rmtree(parent / "step-00000002")
    shutil.copytree(parent / "step-00000003", parent / "step-00000002")
    with pytest.raises(CheckpointError, match="it is that of step 3"):
        load_run(folder, 2)


def test_a_damaged_best_is_named_and_not_replaced(folder: Path) -> None:
    best = load_run(folder).trained.checkpoint
    manifest = best.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"row": 0', '"row": 1'))
    for which in (None, "best"):
        with pytest.raises(CheckpointError, match=f"{best.folder.name}/manifest.json is damaged"):
            load_run(folder, which)
    shutil.rmtree(best.folder)
    with pytest.raises(CheckpointError, match=best.folder.name):
        load_run(folder)


def test_a_damaged_last_is_named_and_not_replaced(folder: Path) -> None:
    last = folder / "checkpoints" / "step-00000006" / "manifest.json"
    last.write_text(last.read_text()[:-9])
    for which in (None, "best", "last", 6):  # it might be the best
        with pytest.raises(CheckpointError, match="step-00000006/manifest.json is damaged"):
            load_run(folder, which)
    assert load_run(folder, 5).trained.checkpoint.position.step == 5
    unfinished(folder)
    _, text = start(folder)
    assert "step-00000006/manifest.json is damaged" in text and "going on from step 5" in text


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(folder: Path) -> None:
    for path in (folder / "checkpoints").glob("*/manifest.json"):
        path.write_text("{}")
    unfinished(folder)
    with pytest.raises(CheckpointError) as caught:
        start(folder)
    assert codes(caught.value) == {"GR802"} and len(caught.value.problems) == 6
    with pytest.raises(CheckpointError, match="GR802"):
        load_run(folder, "last")


HOSTILE: dict[str, Any] = {
    "step": ["2", -1, None, True, 2.5, 10**40],
    "row": ["x", None],
    "evaluated": [1, "yes", None],
    "counts": [[], None, 3],
    "scores": ["x", []],
    "best": ["high", [1]],
    "files": [None, {}, {"model.safetensors": 3}, []],
    "run_files": [{"recipe.yaml": "x"}, 7],
    "recipe": [None, 5],
    "unknown": [1],
}


@pytest.mark.parametrize("key", HOSTILE)
def test_manifests_with_a_right_hash_and_wrong_values(folder: Path, key: str) -> None:
    path = folder / "checkpoints" / "step-00000002" / "manifest.json"
    body = json.loads(path.read_text())
    del body["sha256"]
    for value in HOSTILE[key]:
        path.write_bytes(manifest_text({**body, key: value}))
        with pytest.raises(CheckpointError, match="GR802"):
            load_run(folder, 2)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{" * 9999, '{"format": 2}', "\udcff"])
def test_files_of_json_that_are_none(folder: Path, text: str) -> None:
    content = text.encode("utf-8", "surrogateescape")
    (folder / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"GR807.*run\.json is damaged"):
        load_run(folder)
    with pytest.raises(CheckpointError, match=r"GR807.*run\.json is damaged"):
        start(folder)


def test_a_header_with_a_right_hash_and_wrong_content(folder: Path) -> None:
    checkpoint_folder = folder / "checkpoints" / "step-00000002"
    manifest = checkpoint_folder / "manifest.json"
    body = json.loads(manifest.read_text())
    del body["sha256"]
    for content in (b"", b"\xff" * 40, (2).to_bytes(8, "little") + b"[]"):
        (checkpoint_folder / "model.safetensors").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        body["files"]["model.safetensors"] = {"bytes": len(content), "sha256": digest}
        manifest.write_bytes(manifest_text(body))
        with pytest.raises(CheckpointError, match="no safetensors file"):
            load_run(folder, 2)


def test_runs_of_the_format_before_still_open_and_go_on(folder: Path) -> None:
    wanted = predictions(folder, "last")
    info = read_info(folder)
    old = {
        k: v for k, v in info.items() if k not in ("sha256", "format", "files", "lock", "native")
    }
    (folder / "run.json").write_text(json.dumps(old))
    for path in (folder / "checkpoints").glob("*/manifest.json"):
        body = json.loads(path.read_text())
        for key in ("sha256", "run_files", "best_step"):
            del body[key]
        path.write_bytes(manifest_text({**body, "format": 1}))
    assert np.array_equal(predictions(folder, "last"), wanted)
    best = evaluate(folder, wanted="best")
    unfinished(folder, 4)
    again, text = start(folder)
    assert again == folder and "going on from step 4" in text
    assert np.array_equal(predictions(folder, "last"), wanted)
    assert evaluate(folder, wanted="best")["click.auc"] == best["click.auc"]


def test_vocabularies_are_not_learned_again(folder: Path) -> None:
    """A run that was cut before its first checkpoint keeps what it has learned."""
    wanted = predictions(folder, "last")
    unfinished(folder, 0)
    before = (folder / "vocab" / "user.parquet").stat().st_mtime_ns
    again, _ = start(folder)
    assert again == folder
    assert (folder / "vocab" / "user.parquet").stat().st_mtime_ns == before
    assert np.array_equal(predictions(folder, "last"), wanted)
    unfinished(folder, 0)
    _reorder(folder)
    with pytest.raises(CheckpointError, match="GR805"):
        start(folder)


def test_why_a_run_goes_to_another_folder_is_said(folder: Path, tmp_path: Path) -> None:
    again, text = start(folder)
    assert again == tmp_path / "tiny-2"
    assert f"{folder} holds a finished run: this run goes to {again}" in text
    unfinished(folder)
    other, text = start(folder, "train.seed=4")
    assert f"{folder} is of another recipe, {again} is of another recipe" in text
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    assert start(tmp_path / "mine")[0] == tmp_path / "mine-2"
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("user,item,tags,price,click\n1,1,1,x,0\n")
    runs = tmp_path / "runs" / "deep"
    with pytest.raises(GraphrecError):
        start(runs / "a", f"data.train={rows}", "features.tags.sep='|'")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs").mkdir()
    with pytest.raises(GraphrecError):
        start(runs / "a", f"data.train={rows}", "features.tags.sep='|'")
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_no_checkpoint_can_hold_is_told_before_training(tmp_path: Path) -> None:
    import torch

    from graphrec.train.saving import try_saving

    good = {
        f"t.{kind}".replace("torch.", ""): torch.ones(3).to(kind)
        for kind in (torch.complex64, torch.uint16, torch.float8_e4m3fn, torch.uint64, torch.bool)
    }
    good["t.nan"] = torch.tensor([torch.nan, -0.0])
    good["t.conj"] = torch.ones(2, dtype=torch.complex64).conj()
    good["t.large"] = torch.arange(600_000).reshape(2, -1).t()
    try_saving(tmp_path, (good, {"n": torch.tensor(1)}))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(GraphrecError, match=r"`t\.a` can't be saved: its type is complex128") as e:
        try_saving(tmp_path, ({"t.a": torch.ones(2, dtype=torch.complex128)}, {}))
    assert codes(e.value) == {"GR810"}


def test_a_disk_that_is_too_small_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EnvironmentFault, match="GR803.*a checkpoint needs .* has 1000 B left"):
        start(tmp_path / "a")
    assert not (tmp_path / "a").exists()
