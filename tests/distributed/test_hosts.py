"""Two hosts for real: two network namespaces that see each other over one link, and nothing else.

torchrun on each, its c10d rendezvous over the link; the run folder is on a file system of both.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphrec.train import checkpoint

RECIPE = """\
graphrec: 1
name: hosts
data: {train: rows.csv, workers: 0, shuffle: 64}
features:
  - {type: id, names: {user: 50, item: 90}, dim: 8}
graph: {top: {block: mlp, in: all, hidden: [8], dropout: 0.1}}
tasks: {click: {label: click, in: top}}
train: {steps: 4000, batch: 16, save: {every: 100}}
"""
_FIRST, _SECOND = "10.83.7.1", "10.83.7.2"


class Hosts:
    """Two namespaces, joined by a pair of virtual network cards."""

    def __init__(self) -> None:
        self.names = [f"graphrec-{os.getpid()}-{number}" for number in (1, 2)]
        self.cards = [f"gr{os.getpid() % 10_000_000}{end}" for end in "ab"]

    def open(self) -> None:
        for name in self.names:
            _ip("netns", "add", name)
        (one, two), (near, far) = self.names, self.cards
        _ip("link", "add", near, "netns", one, "type", "veth", "peer", "name", far, "netns", two)
        for name, card, address in zip(self.names, self.cards, (_FIRST, _SECOND), strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", card)
            _ip("-n", name, "link", "set", card, "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def close(self) -> None:
        for name in self.names:
            self.kill(name)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def kill(self, name: str) -> None:
        """Every process of a host at once, as when its power goes."""
        listed = subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
        )
        for process in listed.stdout.split():
            try:
                os.kill(int(process), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def torchrun(self, number: int, job: Any, *words: object) -> subprocess.Popen[str]:
        """One rank on that host; the first host holds the rendezvous."""
        conf = f"is_host={int(number == 0)},last_call_timeout=3,join_timeout=120"
        # options of torchrun in full: it would take --run for its own --run-path
        agent = [
            *("--nnodes", "1:2", "--nproc_per_node", "1", "--max_restarts", "3"),
            *("--rdzv_backend", "c10d", "--rdzv_endpoint", f"{_FIRST}:29411"),
            *("--rdzv_id", "hosts", "--rdzv_conf", conf),
            *("--local_addr", (_FIRST, _SECOND)[number], "-m", "graphrec"),
        ]
        settings = job._settings({"env": {"GLOO_SOCKET_IFNAME": self.cards[number]}})
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[number], sys.executable]
            + ["-m", "torch.distributed.run", *agent, *map(str, words)],
            **settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if shutil.which("ip") is None:
        pytest.skip("no `ip` here: two hosts are network namespaces (Debian: iproute2)")
    both = Hosts()
    try:
        both.open()
    except subprocess.CalledProcessError as error:
        both.close()
        pytest.skip(f"this kernel or user makes no network namespaces: {error.stderr.strip()}")
    yield both
    both.close()


def test_two_hosts_train_and_one_goes_on_alone(tmp_path: Path, job: Any, hosts: Hosts) -> None:
    rows = (f"{(r * 7) % 50},{(r * 13) % 90},{r % 2}" for r in range(200))
    (tmp_path / "rows.csv").write_text("\n".join(["user,item,click", *rows]) + "\n")
    recipe = tmp_path / "hosts.yaml"
    recipe.write_text(RECIPE)
    words = ("train", recipe, "-o", f"train.dir={tmp_path / 'run'}")
    first, second = (hosts.torchrun(number, job, *words) for number in (0, 1))
    end = time.monotonic() + 150
    while not list(tmp_path.glob("run/checkpoints/step-*/manifest.json")):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)
    hosts.kill(hosts.names[1])
    begin = time.monotonic()
    said, _ = first.communicate(timeout=240)
    second.communicate(timeout=10)
    assert first.returncode == 0, said
    assert "going on from step" in said
    assert "Traceback" not in said
    done = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert done is not None
    assert done.position.finished
    assert done.position.step == 4000
    assert time.monotonic() - begin < 200
    evaluated = job("evaluate", tmp_path / "run", "--data", tmp_path / "rows.csv")
    assert evaluated.returncode == 0, evaluated.stderr
