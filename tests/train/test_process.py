"""Freed memory stays with a process that trains; importing graphrec sets nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import ctypes
class Info(ctypes.Structure):
    names = 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype, libc.malloc.restype = Info, ctypes.c_void_p
before = libc.mallinfo2().hblks
libc.malloc(ctypes.c_size_t(30 << 20))
print(libc.mallinfo2().hblks - before)
"""
"""1 if 30 MB are mapped, to be given back when freed, as glibc does; 0 if they are of the heap."""
FAULTS = """
import resource, torch
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    before = faults()
    blocks = [torch.ones(3_000_000) for _ in range(12)]  # 144 MB
    del blocks
    return faults() - before
step(); step()
print(min(step() for _ in range(10)))  # the system may add some, not always
"""
PREPARE = "from graphrec.train.process import prepare_process; prepare_process()"
IMPORT = "import graphrec.nn, graphrec.kernels, graphrec.train.inference"
TRAIN = """
from graphrec.cli.console import Console
from graphrec.compiler.pipeline import compile_recipe
from graphrec.train.loop import train
text = '''graphrec: 1
name: tiny
data: {synthetic: 50}
features: [{type: id, names: {user: 10}, dim: 2}]
graph: {top: {block: mlp, in: all, hidden: [2]}}
tasks: {click: {label: click, in: top}}
'''
train(compile_recipe(text), console=Console(quiet=True), run_dir='run')
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")


def printed(code: str, folder: str = ".", **settings: str) -> int:
    """The last number that `code` prints in a new process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | path | settings,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def test_importing_sets_nothing() -> None:
    assert printed(IMPORT + PROBE) == printed(PROBE) == 1


def test_the_trainer_and_the_command_line_keep_freed_memory(tmp_path: Path) -> None:
    assert printed(TRAIN + PROBE, str(tmp_path)) == 0
    assert printed(PREPARE + PROBE) == 0


def test_a_step_finds_its_pages_again() -> None:
    assert printed(PREPARE + FAULTS) < 1000  # 144 MB are 36,000 pages


def test_somebody_elses_settings_stay() -> None:
    assert printed(PREPARE + PROBE, GRAPHREC_MALLOC="0") == 1
    assert printed(PREPARE + PROBE, MALLOC_TRIM_THRESHOLD_="131072") == 1
