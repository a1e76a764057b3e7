#!/usr/bin/env python3
"""Make `.venv` from requirements.lock and install graphrec into it, editable.

Standard library only, nothing newer than Python 3.7: any python3 may start it; it looks for 3.11
itself. pip's own configuration and environment are honoured and nothing is added to them. A stamp
makes the second run return at once. `--any-torch` keeps the torch build that pip brings.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "graphrec-setup.stamp"
LOCK = ROOT / "requirements.lock"
WANTED = "3.11"

NO_PYTHON = """\
graphrec's lock is for Python {wanted}, and no python{wanted} was found on PATH.
Install it (Debian and Ubuntu: `apt install python3.11 python3.11-venv`; or pyenv, conda, uv), or
name one: `GRAPHREC_PYTHON=/path/to/python3.11 make setup`."""

CUDA_TORCH = """\
pip brought torch {version}, a CUDA build, but the lock is for CPU: fbgemm-gpu-cpu does not go with
it, and its CUDA libraries are not in the lock. Name an index or a folder that has the CPU build,
for example the CPU index that the install page of PyTorch names, and run this again:
    PIP_EXTRA_INDEX_URL=<CPU index>  make setup
    PIP_FIND_LINKS=<folder with torch's CPU wheel>  make setup
(`pip config set global.extra-index-url <CPU index>` makes it stay.) The build was removed again.
If a CUDA build is what you want: `python3 .ci/setup.py --any-torch`."""


def fail(message: str) -> NoReturn:
    """Say why, without a traceback, and stop."""
    print("setup: " + message, file=sys.stderr)
    raise SystemExit(1)


def run(*command: str) -> None:
    """Run one command and show its output; stop when it fails."""
    print("+ " + " ".join(command), flush=True)
    status = subprocess.call(list(command), cwd=str(ROOT))
    if status:
        fail(f"`{' '.join(command)}` failed with status {status}")


def pip(*arguments: str) -> None:
    """Run the environment's own pip; the interpreter is named, so a moved venv still works."""
    run(str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments)


def version_of(python: str) -> str:
    """`3.11`, or nothing when it does not run (a pyenv shim without that version, say)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True)
    except OSError:
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def find_python() -> str:
    """The interpreter that makes the environment."""
    asked = os.environ.get("GRAPHREC_PYTHON")
    for candidate in [asked] if asked else [sys.executable, shutil.which("python" + WANTED)]:
        if candidate and version_of(candidate) == WANTED:
            return candidate
    fail(NO_PYTHON.format(wanted=WANTED))


def fingerprint(any_torch: bool) -> str:
    """What the environment depends on; the place too, because console scripts hold its path."""
    digest = hashlib.sha256()
    for path in (LOCK, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    for text in (str(ROOT), WANTED, str(any_torch)):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def site_packages() -> Path:
    """Where the environment keeps its packages."""
    return VENV / "lib" / ("python" + WANTED) / "site-packages"


def torch_build() -> re.Match[str] | None:
    """Version and CUDA version of the installed torch, read and not imported.

    A CUDA build without its libraries, which are not in the lock, fails at import.
    """
    path = site_packages() / "torch" / "version.py"
    if not path.exists():
        return None
    pattern = r"__version__ = '(?P<version>[^']*)'.*?^cuda[^=\n]*= (?P<cuda>\S+)"
    return re.search(pattern, path.read_text(), re.DOTALL | re.MULTILINE)


def is_cuda(build: re.Match[str] | None) -> bool:
    """Whether that torch is a CUDA build."""
    return build is not None and build.group("cuda") != "None"


def install_lock() -> None:
    """The CPU environment: the lock, exactly."""
    # torch first and alone: a CUDA build is then found before the rest is fetched.
    pins = LOCK.read_text().split()
    pip("install", "--no-deps", *[pin for pin in pins if pin.startswith("torch==")])
    build = torch_build()
    if build is None:
        fail(f"no torch in {site_packages()} after installing it")
    if is_cuda(build):
        pip("uninstall", "-y", "-q", "torch")
        fail(CUDA_TORCH.format(version=build.group("version")))
    pip("install", "--no-deps", "-r", str(LOCK))


def install_any_torch() -> None:
    """The lock, but torch as pip's configuration gives it, with the libraries that it declares."""
    pins = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    pip("install", *[pin for pin in pins if pin.startswith(("torch==", "triton=="))])
    if is_cuda(torch_build()):  # fbgemm-gpu-cpu is built against the CPU torch only.
        pins = [pin.replace("fbgemm-gpu-cpu==", "fbgemm-gpu==") for pin in pins]
    # pip keeps an installed torch of the same version, whichever build it is.
    pip("install", "--no-deps", *pins)


def main(arguments: list[str] | None = None) -> int:
    """Set up, or return at once when nothing changed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--any-torch", action="store_true", help="accept a CUDA build of torch")
    options = parser.parse_args(arguments)
    stamp = fingerprint(options.any_torch)
    if STAMP.exists() and STAMP.read_text() == stamp and PYTHON.exists():
        return 0

    python = find_python()
    unusable = VENV.exists() and version_of(str(PYTHON)) != WANTED
    # To pip both builds of torch are the same version: it would keep the one that is there.
    other_build = not options.any_torch and is_cuda(torch_build())
    if STAMP.exists():
        STAMP.unlink()
    run(python, "-m", "venv", *(["--clear"] if unusable or other_build else []), str(VENV))
    if options.any_torch:
        install_any_torch()
    else:
        install_lock()
    # The build backend is in the lock: nothing is fetched to build the package.
    pip("install", "--no-deps", "--no-build-isolation", "-q", "-e", ".")
    partial = STAMP.with_suffix(".tmp")
    partial.write_text(stamp)
    partial.replace(STAMP)  # Written last and at once: an interrupted set-up starts again.
    print("setup: ready; activate it with `. .venv/bin/activate`, or use .venv/bin/graphrec")
    return 0


if __name__ == "__main__":
    sys.exit(main())
