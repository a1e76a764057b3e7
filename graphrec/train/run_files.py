"""The files of a run folder that its predictions depend on, hashed: the folder is one whole.

Every checkpoint keeps the facts of these files. A vocabulary of another run, an edited recipe or a
flipped bit in the statistics would change every prediction without a word: it is refused instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from graphrec.ground.errors import CheckpointError, Problem
from graphrec.train.tensors import FileFacts, file_facts

__all__ = ["check_files", "run_files"]

_SINGLE = ("recipe.yaml", "stats.json", "kernels.lock")
_LEARNED = ("stats.json", "vocab/")


def run_files(folder: Path) -> dict[str, FileFacts]:
    """Facts of recipe, statistics, kernels and vocabularies of a run folder, by name in it."""
    paths = [folder / name for name in _SINGLE]
    paths += sorted((folder / "vocab").glob("*.parquet"))
    return {
        path.relative_to(folder).as_posix(): file_facts(path) for path in paths if path.is_file()
    }


def check_files(folder: Path, expected: Mapping[str, FileFacts]) -> None:
    """Raise CheckpointError (GR805, GR809) for every file that is not what it was."""
    problems = []
    for name, facts in sorted(expected.items()):
        path = folder / name
        try:
            if file_facts(path) == facts:
                continue
            why = "is not what it was when the run was saved (sha256 differs)"
        except OSError as error:
            why = f"can't be read: {error.strerror or error}"
        code = "GR805" if name.startswith(_LEARNED) else "GR809"
        help = "bring it back from a copy: the weights belong to that file and to no other"
        problems.append(Problem(code, f"{path} {why}", help=help))
    if problems:
        raise CheckpointError(problems)
