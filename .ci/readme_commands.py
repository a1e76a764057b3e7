#!/usr/bin/env python3
"""Run the marked code blocks of the documentation, as a reader would type them.

`<!-- ci -->` on the line before a fence runs that block: `bash` by bash, `python` by Python.
`<!-- ci: file NAME -->` writes the block to NAME instead. The blocks of one document run in order
in one temporary directory, where `recipes` is a copy of the checkout's and `.venv/bin` comes first
on PATH; so a later block finds what an earlier one made, and nothing is written to the checkout.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKER = re.compile(r"^<!-- ci(?:: file (?P<file>\S+))? -->$")
FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)")
COMMANDS = {
    "bash": ["bash", "-euo", "pipefail"],
    "python": [str(ROOT / ".venv" / "bin" / "python")],
}


@dataclass(frozen=True)
class Block:
    """One marked block: its language, its text, and where it stands."""

    language: str
    text: str
    line: int
    file: str | None


def blocks(text: str) -> Iterator[Block]:
    """The marked blocks of a Markdown text, in order."""
    lines = text.splitlines()
    position = 0
    marker: re.Match[str] | None = None
    while position < len(lines):
        opened = FENCE.match(lines[position])
        if opened is None:
            found = MARKER.match(lines[position].strip())
            # An empty line may stand between marker and fence, a sentence may not.
            if found or lines[position].strip():
                marker = found
            position += 1
            continue
        start = position + 1
        end = next(
            (n for n in range(start, len(lines)) if lines[n].rstrip() == opened["fence"]),
            len(lines),
        )
        if marker:
            body = "\n".join(lines[start:end]) + "\n"
            yield Block(opened["language"], body, start + 1, marker["file"])
        marker = None
        position = end + 1


def run(block: Block, directory: Path, timeout: float) -> tuple[int, str]:
    """Run one block in `directory`: its exit status, and all it printed."""
    if block.file:
        target = directory / block.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text)
        return 0, ""
    if block.language not in COMMANDS:
        return 1, f"marked for CI, but {block.language or 'no language'} is not bash or python\n"
    script = directory / f".block-{block.line}"
    script.write_text(block.text)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    try:
        done = subprocess.run(
            [*COMMANDS[block.language], str(script)],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        printed = error.output or b""
        text = printed.decode(errors="replace") if isinstance(printed, bytes) else printed
        return 1, f"{text}\nstopped after {timeout:.0f} s\n"
    return done.returncode, done.stdout


def check(document: Path, timeout: float) -> tuple[int, int]:
    """Run the blocks of one document: how many there are, and how many failed."""
    count = failed = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if (ROOT / "recipes").is_dir():
            shutil.copytree(ROOT / "recipes", directory / "recipes")
        for block in blocks(document.read_text()):
            began = time.perf_counter()
            status, output = run(block, directory, timeout)
            count += 1
            failed += bool(status)
            word = "FAILED" if status else "ok"
            place = f"{document.relative_to(ROOT)}:{block.line}"
            what = f"file {block.file}" if block.file else block.language
            print(f"{word:6} {place} {what} {time.perf_counter() - began:.1f} s", flush=True)
            if status:
                print(f"--- the block\n{block.text}--- status {status}, it printed\n{output}---")
    return count, failed


def main() -> int:
    """Check README.md and docs/, or the documents named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("documents", nargs="*", type=Path)
    parser.add_argument("--timeout", type=float, default=600, help="seconds a block may take")
    options = parser.parse_args()
    named = [path.resolve() for path in options.documents]
    documents = named or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    results = [check(document, options.timeout) for document in documents]
    count, failed = (sum(column) for column in zip(*results, strict=True))
    print(f"{count} marked blocks in {len(documents)} documents, {failed} failed")
    if not count:
        print("no block is marked `<!-- ci -->`: the documentation would go stale unseen")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
