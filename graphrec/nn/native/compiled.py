"""The C++ of this package, compiled once on the machine it runs on and loaded by ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch

__all__ = ["FLAGS", "SOURCES", "library", "threads_for"]

FOLDER = Path(__file__).parent
SOURCES = tuple(FOLDER / name for name in ("rows.cpp", "passes.cpp", "scores.cpp", "adam.cpp"))
FLAGS = (
    "-O3",
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
)


def threads_for(numbers: int) -> int:
    """How many threads work on so many numbers; for a few, waking another takes longer."""
    return torch.get_num_threads() if numbers >= 1 << 15 else 1


@cache
def library() -> ctypes.CDLL | str:
    """The library, compiled if this machine has not done so before, or why there is none.

    GRAPHREC_NATIVE=0 switches it off; GRAPHREC_CACHE is the folder of compiled files (default:
    graphrec below XDG_CACHE_HOME or ~/.cache).
    """
    if os.environ.get("GRAPHREC_NATIVE") == "0":
        return "switched off by GRAPHREC_NATIVE=0"
    if os.name != "posix":
        return f"not tried on {platform.system()}"
    compiler = shutil.which(os.environ.get("CXX") or "g++") or shutil.which("c++")
    if compiler is None:
        return "no C++ compiler (g++)"
    try:
        return ctypes.CDLL(str(_compiled(compiler)))
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()
        return f"{Path(compiler).name} could not compile it: {last[-1] if last else error}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it could not be loaded: {error}"


def _compiled(compiler: str) -> Path:
    """The library for these sources, this compiler and processor."""
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    # `-march=native` code runs only on processors with the same extensions.
    sources = [path.read_text() for path in (FOLDER / "numbers.h", *SOURCES)]
    parts = (*sources, *FLAGS, version, platform.machine(), _processor())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = os.environ.get("GRAPHREC_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graphrec"
    target = (Path(folder) if folder else base) / f"graphrec-{key}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target and renamed: other processes see nothing or all of it.
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            native = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
            command = [compiler, *FLAGS, native, *map(str, SOURCES), "-o", str(made)]
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
            made.replace(target)
    return target


def _processor() -> str:
    """What the processor can do, as text; empty where that is not to be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
