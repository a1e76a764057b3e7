"""A rank that is lost, hangs, or meets a mistake: the job ends with one word, and goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from graphrec.train import checkpoint

RECIPE = """\
graphrec: 1
name: faults
data: {train: FILES, workers: 0, shuffle: 64}
features:
  - {type: id, names: {user: 50, item: 90}, dim: 8}
graph: {top: {block: mlp, in: all, hidden: [8], dropout: 0.1}}
tasks: {click: {label: click, in: top}}
train: {steps: 400, batch: 16, log_every: 50, save: {every: 40}}
"""


def write(folder: Path, bad: int | None = None) -> Path:
    for part in range(4):
        rows = [
            f"{(r * 7) % 50},{(r * 13) % 90},{'?' if r == bad else r % 2}"
            for r in range(part * 50, part * 50 + 50)
        ]
        (folder / f"part{part}.csv").write_text("user,item,click\n" + "\n".join(rows) + "\n")
    recipe = folder / "faults.yaml"
    recipe.write_text(RECIPE.replace("FILES", str(folder / "part*.csv")))
    return recipe


def state(run: Path) -> dict[str, torch.Tensor]:
    found = checkpoint.latest(run / "checkpoints")
    assert found is not None and found.position.finished
    return {**found.model(), **{f"optim {k}": v for k, v in found.optim().items()}}


def same(one: Path, other: Path) -> None:
    """The same bits, those of the tables in whatever parts."""
    mine, theirs = state(one), state(other)
    assert mine.keys() == theirs.keys()
    differ = [key for key in mine if not torch.equal(mine[key], theirs[key])]
    assert not differ


def ranks_of(job: subprocess.Popen[str]) -> list[int]:
    """Processes of the ranks, below the agent."""
    found = subprocess.run(
        ["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=False
    )
    return sorted(map(int, found.stdout.split()))


def wait_for(run: Path, step: int, job: subprocess.Popen[str], seconds: float = 120) -> None:
    """Until a checkpoint of that step is there."""
    end = time.monotonic() + seconds
    while not list(run.glob(f"checkpoints/step-{step:08d}/manifest.json")):
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_a_killed_rank_ends_the_job_and_a_restart_ends_with_the_same_bits(
    tmp_path: Path, job: Any
) -> None:
    recipe = write(tmp_path)
    whole = job("train", recipe, "--run", "whole", "--nproc", 2, "--quiet")
    assert whole.returncode == 0, whole.stderr
    # Killed: the job ends with the rank's name.
    killed = job.start("train", recipe, "--run", "killed", "--nproc", 2, "--quiet")
    wait_for(tmp_path / "killed", 40, killed)
    ranks = ranks_of(killed)
    os.kill(ranks[1], signal.SIGKILL)
    begin = time.monotonic()
    said, _ = killed.communicate(timeout=60)
    assert time.monotonic() - begin < 20
    assert killed.returncode == 4 and said.count("error ") == 1, said
    assert "GR903" in said and "rank 1 was ended by SIGKILL" in said
    assert "Traceback" not in said and not any(map(is_alive, ranks))
    # The same command goes on, and ends with the bits of the unbroken run; restarts by itself too.
    again = job.start("train", recipe, "--run", "killed", "--nproc", 2, "--max-restarts", 2)
    end = time.monotonic() + 120
    while len(list(tmp_path.glob("killed/checkpoints/step-*"))) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    if again.poll() is None and len(ranks_of(again)) == 2:
        os.kill(ranks_of(again)[0], signal.SIGKILL)
    said, _ = again.communicate(timeout=200)
    assert again.returncode == 0, said
    same(tmp_path / "whole", tmp_path / "killed")


def test_mistakes_of_one_rank_are_told_once(tmp_path: Path, job: Any) -> None:
    recipe = write(tmp_path, bad=183)
    begin = time.monotonic()
    done = job("train", recipe, "--run", "bad", "--nproc", 2, "--quiet")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("error ") == 1 and "Traceback" not in done.stderr
    assert "GR706" in done.stderr and "rank 1: " in done.stderr and "row 34 of" in done.stderr
    assert time.monotonic() - begin < 100
    assert not (tmp_path / "bad" / "checkpoints").exists()


def test_a_rank_that_hangs_ends_the_job(tmp_path: Path, job: Any, soak: bool) -> None:
    if not soak:
        pytest.skip("its waiting takes a minute, and a quiet machine: --soak")
    recipe = write(tmp_path)
    stopped = job.start(
        "train", recipe, "--run", "hangs", "--nproc", 2, "--quiet", "--timeout", 15,
        "-o", "train.steps=100000",
    )  # fmt: skip
    wait_for(tmp_path / "hangs", 40, stopped)
    ranks = ranks_of(stopped)
    os.kill(ranks[1], signal.SIGSTOP)
    begin = time.monotonic()
    said, _ = stopped.communicate(timeout=90)
    assert time.monotonic() - begin < 60
    assert stopped.returncode == 4, said
    assert "GR903" in said and "rank 1" in said and said.count("error ") == 1, said
    assert not any(map(is_alive, ranks))


@pytest.mark.parametrize("number", range(20))
def test_twenty_kills(tmp_path: Path, job: Any, number: int, soak: bool) -> None:
    if not soak:
        pytest.skip("the long form: --soak")
    recipe = write(tmp_path)
    whole = job("train", recipe, "--run", "whole", "--nproc", 2, "--quiet")
    assert whole.returncode == 0, whole.stderr
    killed = job.start(
        "train", recipe, "--run", "killed", "--nproc", 2, "--quiet", "--max-restarts", 3
    )
    wait_for(tmp_path / "killed", 40, killed)
    time.sleep(0.1 * number)
    if killed.poll() is None:
        os.kill(ranks_of(killed)[number % 2], signal.SIGKILL)
    said, _ = killed.communicate(timeout=240)
    assert killed.returncode == 0, said
    same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("number", range(30))
def test_all_ranks_killed_in_a_save_leave_the_checkpoint_before(
    tmp_path: Path, job: Any, number: int, soak: bool
) -> None:
    """One moment of a save in CI, thirty in the long form; what is there is whole, and goes on."""
    if number and not soak:
        pytest.skip("the long form: --soak")
    recipe = write(tmp_path)
    killed = job.start(
        "train", recipe, "--run", "killed", "--nproc", 2, "--quiet", "-o", "train.save.every=20"
    )
    wait_for(tmp_path / "killed", 40, killed)
    saves = tmp_path / "killed" / "checkpoints"
    end = time.monotonic() + 30
    while not list(saves.glob(".saving-*")) and killed.poll() is None:
        assert time.monotonic() < end
    time.sleep(0.001 * (number // 2))  # a save takes some 15 ms
    for rank in ranks_of(killed):
        os.kill(rank, signal.SIGKILL)
    killed.communicate(timeout=60)
    left = checkpoint.latest(saves)
    assert left is not None and left.position.step >= 40
    left.model(), left.optim()  # hashes are checked when they are read
    again = job("train", recipe, "--run", "killed", "--quiet", "-o", "train.save.every=20")
    assert again.returncode == 0, again.stderr
    assert not list(saves.glob(".*"))
    state(tmp_path / "killed")


def test_a_checkpoint_goes_from_one_to_two_to_four_and_back(
    tmp_path: Path, job: Any, soak: bool
) -> None:
    """A run carried 1 -> 2 -> 4 -> 1 ends within 1e-5 of the losses of one process."""
    if not soak:
        pytest.skip("the long form: --soak")
    recipe = write(tmp_path)
    recipe.write_text(
        recipe.read_text()
        .replace("dropout: 0.1", "dropout: 0")
        .replace(
            "save: {every: 40}",
            "log_every: 1, save: {every: 40}, optim: {sparse: {adagrad: {eps: 1.0e-3}}}",
        )
        .replace("log_every: 50, ", "")
    )
    whole = job("train", recipe, "--run", "whole", "--quiet")
    assert whole.returncode == 0, whole.stderr
    for ranks in ((), ("--nproc", 2), ("--nproc", 4), ()):
        running = job.start("train", recipe, "--run", "carried", "--quiet", *ranks)
        end = time.monotonic() + 120
        known = {p.name for p in tmp_path.glob("carried/checkpoints/step-*")}
        while running.poll() is None:
            new = {p.parent.name for p in tmp_path.glob("carried/checkpoints/step-*/manifest.json")}
            if new - known:
                running.send_signal(signal.SIGINT)
                break
            assert time.monotonic() < end
            time.sleep(0.01)
        running.communicate(timeout=120)
    done = job("train", recipe, "--run", "carried", "--quiet")
    assert done.returncode == 0, done.stderr
    one, two = (job.records(name) for name in ("whole", "carried"))
    losses = [[r["loss"] for r in records] for records in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
