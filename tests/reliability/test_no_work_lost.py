"""Full disks, closed streams, signals and scarce memory: a run ends with a word, and goes on."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from graphrec.cli import main
from graphrec.cli.console import Lasting
from graphrec.compiler.pipeline import compile_recipe
from graphrec.ground.errors import EnvironmentFault, machine_fault, printable
from graphrec.train import checkpoint, train

RECIPE = """
graphrec: 1
name: tiny
data: {synthetic: 900, workers: 0}
features:
  - {type: id, names: item, vocab: fit, dim: 4}
  - {type: dense, names: price, transform: zscore}
graph: {deep: {block: mlp, in: all, hidden: [4], dropout: 0.1}}
tasks: {click: {label: click, in: deep, metrics: [auc]}}
train: {epochs: 2, batch: 200, log_every: 2, save: {every: 3}}
"""


class Silent:
    quiet = True

    def result(self, text: str) -> None: ...

    remark = result


def run(folder: Path) -> dict[str, torch.Tensor]:
    run = train(compile_recipe(RECIPE), console=Silent(), run_dir=folder)
    assert run.folder == folder
    last = checkpoint.latest(folder / "checkpoints")
    assert last is not None
    return {**last.model(), **last.optim()}


class Disk:
    """Files that are opened for writing take `room` writes, and then no more, as a full disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room, self.written, opened = room, 0, io.open

        def opening(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            found = opened(file, mode, *args, **kwargs)
            # the compiler's own scratch files are another test's
            writing = set(mode) & set("wxa") and "graphrec" not in str(file)
            return _File(found, self) if writing else found

        monkeypatch.setattr(io, "open", opening)

    def take(self) -> None:
        self.written += 1
        if self.written > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")  # as the system: without a name


class _File:
    def __init__(self, file: Any, disk: Disk) -> None:
        self.file, self.disk = file, disk

    def write(self, content: Any) -> Any:
        self.disk.take()
        return self.file.write(content)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_a_disk_that_is_full_from_any_write_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: bool
) -> None:
    with monkeypatch.context() as patched:
        disk = Disk(patched, 10**9)
        whole = run(tmp_path / "whole")
    assert disk.written > 60
    rooms = range(disk.written) if soak else range(0, disk.written, 9)
    for room in rooms:
        folder = tmp_path / str(room)
        with monkeypatch.context() as patched:
            Disk(patched, room)
            with pytest.raises(EnvironmentFault) as caught:
                run(folder)
        assert caught.value.exit_status == 4, room
        assert {problem.code for problem in caught.value.problems} <= {"GR002", "GR803"}
        assert "No space left" in str(caught.value)
        again = run(folder)
        assert all(torch.equal(value, again[name]) for name, value in whole.items()), room


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "GR002"),
        (OSError("44 requested and 12 written"), "GR002"),
        (PermissionError(errno.EACCES, "Permission denied", "x.csv"), "GR002"),
        (MemoryError(), "GR005"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate"
                      " memory: you tried to allocate 80000 bytes."), "GR005"),
        (RuntimeError("can't start new thread"), "GR005"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "GR005"),
    ],
)  # fmt: skip
def test_what_the_machine_refuses_is_told_as_such(error: Exception, code: str) -> None:
    fault = machine_fault(error)
    assert fault is not None and fault.exit_status == 4
    assert [problem.code for problem in fault.problems] == [code]
    assert machine_fault(ValueError("x")) is None and machine_fault(fault) is None


def test_memory_that_runs_out_in_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole")
    from graphrec.train.trainer import Trainer

    trained = Trainer._train

    def starved(self: Trainer, batch: Any) -> bool:
        if self.position.step == 5:
            torch.empty(1 << 60)
        return trained(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train", starved)
        with pytest.raises(EnvironmentFault, match="GR005.*memory ran out") as caught:
            run(tmp_path / "run")
    assert caught.value.exit_status == 4
    again = run(tmp_path / "run")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def command(folder: Path, *more: str) -> list[str]:
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE)
    words = ["train", str(recipe), "--run", str(folder / "run"), *more]
    return [sys.executable, "-m", "graphrec", *words]


def test_streams_that_are_full_or_closed_end_nothing(tmp_path: Path) -> None:
    words = command(tmp_path)
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert "standard output takes no more (No space left on device)" in done.stderr
    assert (tmp_path / "run" / "report.md").exists()

    closing = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *words]
    assert subprocess.run(closing).returncode == 0
    folder = tmp_path / "run-2"  # and no file of the run took the number of a closed stream
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    assert (folder / "report.md").read_text().startswith("# tiny")


def test_a_closed_terminal_saves_and_ends(tmp_path: Path) -> None:
    words = command(tmp_path, "-o", "train.epochs=500", "-o", "train.save={keep: 2}")
    for ignored in (False, True):  # `nohup` goes on
        number = signal.SIG_IGN if ignored else signal.SIG_DFL
        process = subprocess.Popen(
            words,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda number=number: signal.signal(signal.SIGHUP, number) and None,
        )
        metrics = tmp_path / "run" / "metrics.jsonl"
        before = metrics.read_text().count("\n") if metrics.exists() else 0
        deadline = time.monotonic() + 100
        while not metrics.exists() or metrics.read_text().count("\n") <= before + 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGHUP)
        if ignored:
            time.sleep(0.5)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 143
        else:
            assert process.wait(60) == 129
        found = checkpoint.latest(tmp_path / "run" / "checkpoints")
        assert found is not None and 0 < found.position.step < 2500


def test_a_stream_that_fails_is_left_alone(tmp_path: Path) -> None:
    class Broken(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    lost: list[str] = []
    stream = Lasting(Broken(), lost.append)
    for _ in range(3):
        assert stream.write("text") == 4
    assert lost == ["Broken pipe"]


def test_names_with_control_characters_command_no_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert printable("a\x1b[2Jb\u202ec\nd\te") == "a\\x1b[2Jb\\u202ec\nd\te"
    path = tmp_path / "odd.yaml"
    path.write_text('graphrec: 1\nfeatures: [{type: id, names: "a\\e[2Jb", vocab: 3}]\n')
    assert main(["check", str(path), "-o", "graph.\x1b[31mx.block=y"]) == 2
    out = capsys.readouterr()
    assert "\x1b" not in out.out + out.err and "\\x1b[31mx" in out.err


ODD = """
graphrec: 1
name: "n\\e[31mX\\u202e"
description: "d\\e[2J"
features: [{type: id, names: a, column: "a\\e[2Jb", vocab: 3, dim: 4}]
graph: {top: {block: mlp, in: all, hidden: [4]}}
tasks: {click: {label: "c\\e[1m", in: top}}
"""


@pytest.mark.parametrize(
    "words",
    [
        "describe R", "check R", "expand R", "compile R", "graph R", "graph R --format svg",
        "graph R --format html", "graph R --format dot", "diff R shop", "diff R shop --format svg",
        "diff R -o description='\x1b[2J'",
    ],
)  # fmt: skip
def test_no_view_has_control_characters(
    words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(ODD)
    assert main([str(path) if word == "R" else word for word in words.split()]) in (0, 1, 2)
    out = capsys.readouterr()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out.out + out.err)
    if words.endswith("svg"):
        ElementTree.fromstring(out.out)


def test_loading_again_and_again_leaves_one_folder(tmp_path: Path) -> None:
    code = (
        "import graphrec, os, tempfile\n"
        "for name in ('shop', 'shop', 'deepfm', 'shop'):\n"
        "    graphrec.load(name, ['data.synthetic=100']).module()\n"
        "if os.fork() == 0:\n"
        "    raise SystemExit\n"
        "os.wait()\n"
        "print(len([n for n in os.listdir(tempfile.gettempdir()) if n.startswith('graphrec-')]))\n"
    )
    settings = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]
    assert list(tmp_path.iterdir()) == []


def test_an_ascii_terminal_gets_escapes(tmp_path: Path) -> None:
    settings = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    for more in ((), ("--format", "json")):
        words = [sys.executable, "-m", "graphrec", "expand", "shop", *more]
        words += ["-o", "description='é→'"]
        done = subprocess.run(words, env=settings, capture_output=True, check=True)
        assert "\\u2192" in done.stdout.decode("ascii")
        if more:
            json.loads(done.stdout)


def test_a_block_that_leaves_the_process_is_its_authors_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("leaving.py").write_text(
        "import sys\n"
        "from graphrec import Block, Shape\n"
        "from torch import nn\n\n\n"
        "class LeavingLayer(nn.Module):\n"
        "    def forward(self, x):\n"
        "        sys.exit(0)\n\n\n"
        "class Leaving(Block):\n"
        '    """Leaves."""\n\n'
        '    kernels = {"torch": "leaving:LeavingLayer"}\n\n'
        "    def infer(self, x: Shape) -> Shape:\n"
        "        return x\n\n"
        "    def args(self, x: Shape) -> dict[str, object]:\n"
        "        return {}\n"
    )
    Path("tiny.yaml").write_text(RECIPE.replace("in: deep,", "in: left,"))
    words = ["--plugin", "leaving", "--run", "run"]
    text = Path("tiny.yaml").read_text()
    Path("tiny.yaml").write_text(
        text.replace(
            "hidden: [4], dropout: 0.1}}", "hidden: [4]}, left: {block: leaving, in: deep}}"
        )
    )
    assert main(["train", "tiny.yaml", *words]) == 70
    assert "SystemExit: 0" in capsys.readouterr().err
    assert not Path("run").exists()
