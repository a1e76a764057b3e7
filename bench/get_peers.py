"""Download FuxiCTR and DeepCTR-Torch into bench/.peers, which git ignores.

    python bench/get_peers.py

Two wheels without their dependencies: what their training steps need is in the environment, and
the rest (ray, polars, requests: reading data, asking for newer versions) is not run here. So pip
can't replace torch by another build.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["FOLDER", "main"]

FOLDER = Path(__file__).resolve().parent / ".peers"
WHEELS = ("fuxictr==2.3.10", "deepctr-torch==0.3.0")


def main() -> int:
    """Install the wheels; pip's exit status."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--upgrade", "--quiet"]
    return subprocess.run([*command, "--target", str(FOLDER), *WHEELS]).returncode


if __name__ == "__main__":
    raise SystemExit(main())
