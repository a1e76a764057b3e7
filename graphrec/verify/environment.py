"""What this machine has, what is missing or does not fit together, and the line that mends it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any, Literal

from graphrec.ground.text import aligned, memory

__all__ = ["EXTRAS", "REQUIRED", "SET", "Finding", "Report", "examine"]

REQUIRED = {
    "torch": "2.13",
    "numpy": "2.0",
    "pyarrow": "18",
    "pydantic": "2.10",
    "PyYAML": "6.0.2",
    "networkx": "3.4",
    "rich": "13",
    "safetensors": "0.5",
    "torchmetrics": "1.0.3",
}
"""What graphrec itself needs, with the oldest release: as pyproject.toml says, by a test."""

SET = {
    "torch": "2.13",
    "triton": "3.7.1",
    "torchrec": "1.8",
    "fbgemm-gpu-cpu": "1.8",
    "fbgemm-gpu": "1.8",
    "tensordict": "0.15",
    "torchmetrics": "1.0.3",
}
"""Releases that belong together, where the distributed or Triton's ones are installed at all."""
_BESIDE = {"torch": ("torchrec", "triton"), "torchmetrics": ("torchrec",)}
"""Packages that may be newer unless one of these is there, which was built or pinned for them."""

EXTRAS = {
    "triton": ("kernels on a GPU", "pip install triton==3.7.1"),
    "torchrec": (
        "distributed training",
        "pip install --no-deps torchrec==1.8.0 {fbgemm}==1.8.0 tensordict==0.15.3 "
        "torchmetrics==1.0.3 pyre-extensions==0.0.32",
    ),
    "tensorboard": ("TensorBoard files in the run folder", "pip install 'tensorboard>=2.18'"),
}
"""Package -> what it is for, and the line that installs it."""

_CPU, _CUDA = "fbgemm-gpu-cpu", "fbgemm-gpu"
_TIMEOUT = 120

Severity = Literal["ok", "note", "error"]


@dataclass(frozen=True)
class Finding:
    """One line of the report; `mend` is what to type when something is wrong or missing."""

    severity: Severity
    what: str
    value: str
    mend: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that was found."""

    findings: tuple[Finding, ...] = field(default=())

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def as_json(self) -> dict[str, Any]:
        return {"ok": not self.errors, "findings": [asdict(finding) for finding in self.findings]}

    def as_text(self) -> str:
        marks = {"ok": " ", "note": "-", "error": "!"}
        rows = [[marks[finding.severity], finding.what, finding.value] for finding in self.findings]
        lines = []
        for finding, line in zip(self.findings, aligned(rows).splitlines(), strict=True):
            lines += [line, *([f"     {finding.mend}"] if finding.mend else [])]
        wrong = len(self.errors)
        last = (
            f"{wrong} thing{'s' * (wrong != 1)} to mend (!)"
            if wrong
            else "all that is needed is here"
        )
        return "\n".join([*lines, "", last]) + "\n"


def examine(*, imports: bool = True) -> Report:
    """Look at this machine; with `imports` also whether torch, torchrec and fbgemm really load."""
    findings = [*_machine(), *_packages(), *_fit()]
    if imports and not any(f.severity == "error" for f in findings):
        findings += _loads()
    return Report(tuple(findings))


def _machine() -> Iterator[Finding]:
    from graphrec.ground.version import __version__

    yield Finding("ok", "graphrec", __version__)
    version = platform.python_version()
    old = sys.version_info < (3, 11)
    mend = "graphrec needs Python 3.11 or newer" if old else ""
    yield Finding("error" if old else "ok", "python", f"{version} ({sys.executable})", mend)
    yield Finding(
        "ok", "system", f"{platform.system()} {platform.machine()}, {_cores()} cores{_ram()}"
    )
    compiler = next(
        (path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None
    )
    if compiler:
        yield Finding("ok", "C++ compiler", compiler)
    else:
        mend = (
            "tables and dense layers are slower without one, and `train.compile: true` needs one: "
            "apt-get install g++"
        )
        yield Finding("note", "C++ compiler", "none", mend)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ram() -> str:
    try:
        return f", {memory(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))} memory"
    except (ValueError, OSError, AttributeError):
        return ""


def _packages() -> Iterator[Finding]:
    for name, oldest in REQUIRED.items():
        version = _version(name)
        if version is None:
            yield Finding("error", name, "not installed", f"pip install {name}")
        elif _numbers(version) < _numbers(oldest) and not _is_bound(name):
            text = f"{version}, but graphrec needs {oldest} or newer"
            yield Finding("error", name, text, f"pip install '{name}>={oldest}'")
        else:
            yield Finding("ok", name, version)
    fbgemm = _CUDA if _is_cuda_build() else _CPU
    for name in (_CPU, _CUDA):
        if (version := _version(name)) is not None:
            yield Finding("ok", name, version)
    for name, (purpose, line) in EXTRAS.items():
        version = _version(name)
        if version is None:
            mend = f"for {purpose}: {line.format(fbgemm=fbgemm)}"
            yield Finding("note", name, "not installed (optional)", mend)
        else:
            yield Finding("ok", name, version)


def _fit() -> Iterator[Finding]:
    """Whether the releases belong together, and fbgemm is the build that torch needs."""
    torch = _version("torch")
    if torch is None:
        return
    for name, wanted in SET.items():
        version = _version(name)
        bound = name not in _BESIDE or _is_bound(name)
        if version is not None and bound and not _is_release(version, wanted):
            requirement = f"{name}=={wanted}" + (".0" if wanted.count(".") == 1 else "")
            text = f"{version}, but {wanted} belongs to this graphrec"
            yield Finding("error", name, text, f"pip install --no-deps {requirement}")
    right, wrong = (_CUDA, _CPU) if _is_cuda_build() else (_CPU, _CUDA)
    if _version(wrong) is not None:
        kind = "CUDA" if right == _CUDA else "CPU"
        mend = (
            f"pip uninstall -y {wrong} {right} && pip install --no-deps {right}=={SET[right]}.0"
            "   (the two overwrite each other's files: remove both first)"
        )
        yield Finding("error", wrong, f"does not go with torch {torch}, a {kind} build", mend)
    elif _version("torchrec") is not None and _version(right) is None:
        mend = f"pip install --no-deps {right}=={SET[right]}.0"
        yield Finding("error", right, "not installed, but torchrec needs it", mend)


def _is_bound(name: str) -> bool:
    """Whether something is installed that wants one release of this package."""
    return any(map(_version, _BESIDE.get(name, ())))


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release, to compare: 2.13.0+cpu is (2, 13, 0)."""
    return tuple(map(int, re.findall(r"\d+", re.split(r"[+a-z]", version)[0])))


def _is_release(version: str, wanted: str) -> bool:
    return version.split("+")[0].split(".")[: wanted.count(".") + 1] == wanted.split(".")


def _is_cuda_build() -> bool:
    """From torch's version (`2.13.0+cpu`), or from the CUDA libraries that its wheel asks for."""
    version = _version("torch") or ""
    if "+" in version:
        return "+cpu" not in version
    requirements = metadata.requires("torch") or []
    return any(name.startswith(("nvidia-", "cuda-")) for name in requirements) and any(
        dist.name.startswith("nvidia-") for dist in metadata.distributions() if dist.name
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _loads() -> Iterator[Finding]:
    """Import in a process of its own: what is broken there can't take this one down."""
    code = (
        "import torch; n = torch.cuda.device_count(); "
        "print(', '.join(torch.cuda.get_device_name(i) for i in range(n)) or 'none')"
    )
    loaded, output = _import(code)
    if not loaded:
        mend = "pip install --force-reinstall torch==2.13.0"
        yield Finding("error", "import torch", output, mend)
        return
    yield Finding("ok", "CUDA devices", output)
    yield _native()
    if _version("torchrec") is not None:
        loaded, output = _import("import fbgemm_gpu, torchrec")
        right = _CUDA if _is_cuda_build() else _CPU
        mend = f"pip install --no-deps --force-reinstall {right}=={SET[right]}.0 torchrec==1.8.0"
        if loaded:
            yield Finding("ok", "import torchrec", "works")
        else:
            yield Finding("error", "import torchrec", output, mend)


def _native() -> Finding:
    """Compiles the C++ of the tables where this machine has not done so before."""
    loaded, why = _import("from graphrec.nn.native.compiled import why_not; print(why_not() or 0)")
    if loaded and why == "0":
        return Finding("ok", "native kernels", "compiled and whole")
    mend = "training works without them, slower: mend the compiler, or name another by CXX=..."
    return Finding("note", "native kernels", f"none: {why}", mend)


def _import(code: str) -> tuple[bool, str]:
    command = [sys.executable, "-W", "ignore", "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return False, f"no answer in {_TIMEOUT} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1][:300] if lines else f"status {done.returncode}"
