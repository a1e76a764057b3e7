"""Golden parity: every case of a folder as a recipe of graphrec, compared with what it must give.

    python tests/golden/run.py FOLDER        a line for each case that fails, then the count

Each case is translated by code from its json, compiled, given the case's weights by name, run
forward and backward, and compared as the page beside the cases says. Exit status 1 if one fails.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from golden_case import load  # noqa: E402
from golden_run import differences  # noqa: E402

__all__ = ["check", "main"]


def check(path: Path) -> list[str]:
    """What is wrong with the case of a json file: nothing, or a text for each difference."""
    try:
        return differences(load(path))
    except Exception as error:  # a case that can't be run is a case that fails
        text = " ".join(str(error).split())
        return [f"{type(error).__name__}: {text[:500]}"]


def main(arguments: list[str] | None = None) -> int:
    """Check the cases of a folder, print what fails; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="folder with <case>.json and <case>.npz files")
    folder: Path = parser.parse_args(arguments).folder
    files = [path for path in sorted(folder.rglob("*.json")) if path.with_suffix(".npz").exists()]
    failed = 0
    for path in files:
        problems = check(path)
        if problems:
            failed += 1
            print(f"{path.stem}: {'; '.join(problems[:8])}", flush=True)
    print(f"{len(files) - failed} passed, {failed} failed")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
