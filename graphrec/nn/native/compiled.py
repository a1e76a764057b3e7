"""The C++ of this package, compiled once on the machine it runs on and loaded by ctypes.

The file ends with the sha256 of what stands before it (a loader of shared libraries reads what the
headers name, and no further): one file, written beside its place and renamed, tells whether it is
whole. A damaged one is compiled again and never loaded: pages of a cut library end a process by
SIGBUS at the first call into them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

__all__ = ["FLAGS", "SOURCES", "library", "threads_for", "why_not"]

FOLDER = Path(__file__).parent
SOURCES = tuple(
    FOLDER / f"{name}.cpp" for name in ("rows", "passes", "scores", "adam", "norm", "hstu")
)
FLAGS = (
    "-O3",
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
)
# A compiler answers at once and needs some 20 s here: one that takes longer hangs.
_ANSWER, _COMPILE = 10.0, 240.0
_DIGEST = hashlib.sha256().digest_size


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
    except subprocess.TimeoutExpired as error:
        return f"{compiler} hangs: no answer in {error.timeout:.0f} s"
    except OSError as error:
        return f"it could not be loaded: {error}"


def why_not() -> str:
    """Why there is no library; empty where there is one."""
    library_or_why = library()
    return library_or_why if isinstance(library_or_why, str) else ""


def _compiled(compiler: str) -> Path:
    """The library for these sources, this compiler and processor."""
    version = _run([compiler, "--version"], _ANSWER)
    # `-march=native` code runs only on processors with the same extensions.
    sources = [path.read_text() for path in (FOLDER / "numbers.h", *SOURCES)]
    parts = (*sources, *FLAGS, version, platform.machine(), _processor())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = os.environ.get("GRAPHREC_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graphrec"
    target = (Path(folder) if folder else base) / f"graphrec-{key}.so"
    if not _is_whole(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target and renamed: other processes see nothing or all of it, and those that
        # have loaded the file before keep theirs.
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            beside = Path(scratch) / target.name
            native = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
            _run([compiler, *FLAGS, native, *map(str, SOURCES), "-o", str(beside)], _COMPILE)
            _seal(beside)
            beside.replace(target)
    return target


def _seal(path: Path) -> None:
    """Append the hash of the file, and put both on the disk."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    with path.open("ab") as file:
        file.write(digest)
        file.flush()
        os.fsync(file.fileno())


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def _run(command: Sequence[str], seconds: float) -> str:
    """What a command prints; one that hangs is ended with everything it has started."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, err)
    return out


def _processor() -> str:
    """What the processor can do, as text; empty where that is not to be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
