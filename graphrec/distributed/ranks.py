"""The ranks of a job: who this process is, what all of them exchange, and who speaks when it ends.

A job has one voice. The rank that meets a mistake tells it, with its own name before it, and every
other rank leaves without a word: its broken connection is a consequence. Who is first is decided in
the job's store; `RESTARTED` says which life of the job this is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from graphrec.distributed.rank_environment import restarted
from graphrec.ground.errors import EnvironmentFault, Problem

__all__ = ["Consequence", "Ranks", "connect"]

T = TypeVar("T")

_BEAT = 2.0  # seconds between two signs of life
_STALE = 5 * _BEAT
_PATIENCE = 24 * 3600  # seconds: others may read data for long; a dead rank is seen at once


class Consequence(Exception):
    """This rank ends because another one has something to tell."""


@dataclass
class Ranks:
    """This rank's view of the job. Use as a context: leaving it leaves the job."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: torch.device
    timeout: float
    store: Store
    patient: Any  # a gloo group whose members may be waited for very long

    @property
    def first(self) -> bool:
        """Whether this is rank 0: it alone prints, and writes the run folder."""
        return self.rank == 0

    @property
    def name(self) -> str:
        return f"rank {self.rank}"

    # ---- exchange -------------------------------------------------------------------------------

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order, on every rank."""
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, value, group=self.patient)
        return gathered

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, group=self.patient)
        return box[0]

    def once(self, make: Callable[[], T]) -> T:
        """What `make` gives on rank 0, where alone it is called."""
        value: T = self.broadcast(make() if self.first else None)
        return value

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.gather(None)

    # ---- the end --------------------------------------------------------------------------------

    def speaks(self) -> bool:
        """Whether this rank is the first of this life of the job that has something to tell."""
        spoken = self.store.compare_set("spoken", "", str(self.rank))
        return bool(spoken.decode() == str(self.rank))

    def is_consequence(self, error: Exception) -> bool:
        """Whether the error is a broken connection: another rank's end, not a cause."""
        if isinstance(error, dist.DistError | Consequence):  # of NCCL and of the store
            return True
        # gloo's are plain RuntimeErrors in torch 2.13: the C++ file in their text tells them.
        return type(error) is RuntimeError and "/gloo/" in str(error)

    def gone(self) -> list[int]:
        """Ranks that have given no sign of life for a while."""
        now, silent = time.time(), []
        for rank in range(self.size):
            with contextlib.suppress(RuntimeError):
                beat = self.store.get(f"beat/{rank}").decode().split()
                if now - float(beat[0]) > _STALE:
                    silent.append(rank)
        return silent

    def end_those_that_hang(self, ranks: list[int]) -> None:
        """Kill ranks of this host that give no sign of life: a stopped process can't obey."""
        for rank in ranks:
            with contextlib.suppress(RuntimeError, OSError, ValueError):
                _, host, process = self.store.get(f"beat/{rank}").decode().split()
                if host == socket.gethostname() and rank != self.rank:
                    os.kill(int(process), signal.SIGKILL)


@contextmanager
def connect(timeout: float, device: str | None = None) -> Iterator[Ranks]:
    """Join the job that the environment describes; EnvironmentFault where that fails."""
    env = os.environ
    rank, size, local = (int(env[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = torch.device(kind, local) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(place)
    wait = timedelta(seconds=timeout)
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    try:
        store = _store(rank, size, wait)
        dist.init_process_group(
            backend,
            store=PrefixStore("groups", store),
            rank=rank,
            world_size=size,
            timeout=wait,
        )
        patient = dist.new_group(backend="gloo", timeout=timedelta(seconds=_PATIENCE))
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:300]
        raise EnvironmentFault(
            Problem(
                "GR902",
                f"rank {rank} can't join the {size} ranks at "
                f"{env['MASTER_ADDR']}:{env['MASTER_PORT']}: {text}",
                help="are all of them started, with the same --nnodes and --rdzv_endpoint?",
            )
        ) from None
    local_size = int(env.get("LOCAL_WORLD_SIZE", size))
    ranks = Ranks(rank, size, local, local_size, place, timeout, store, patient)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(rank, size, wait, stop), daemon=True)
    beating.start()
    try:
        yield ranks
    finally:
        stop.set()
    dist.destroy_process_group()


def _store(rank: int, size: int, wait: timedelta) -> Store:
    """The job's store, under a name of its own for every restart.

    The agent's store outlives the ranks; without that, gloo reads the addresses of dead ones.
    """
    env = os.environ
    agents = env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    host, port = env["MASTER_ADDR"], int(env["MASTER_PORT"])
    store = TCPStore(host, port, size, is_master=rank == 0 and not agents, timeout=wait)
    return PrefixStore(f"graphrec/{restarted()}", store)


def _beat(rank: int, size: int, wait: timedelta, stop: threading.Event) -> None:
    """Give signs of life, over a connection of its own: a store serves one thread at a time."""
    env = os.environ
    with contextlib.suppress(RuntimeError):
        plain = TCPStore(
            env["MASTER_ADDR"], int(env["MASTER_PORT"]), size, is_master=False, timeout=wait
        )
        store = PrefixStore(f"graphrec/{restarted()}", plain)
        while not stop.is_set():
            store.set(f"beat/{rank}", f"{time.time()} {socket.gethostname()} {os.getpid()}")
            stop.wait(_BEAT)
