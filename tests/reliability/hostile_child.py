"""Checks and compiles mutated recipes in a process of its own, under an audit hook.

    python hostile_child.py FOLDER COUNT SEED

Prints JSON: how many ran, how many were fine, the slowest, the memory, and every violation: an
exception, a finding without a place, a file opened elsewhere or written, a socket, a process, or
code executed that is no module of an installed package.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import networkx  # noqa: F401 - imported by graphrec where a cycle is explained
from hostile_texts import mutated
from mistakes import recipes

from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.ground.errors import RecipeError, render

FORBIDDEN = (
    *("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system"),
    *("ctypes.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "shutil.", "os.remove"),
    *("os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.chmod", "pty.", "code."),
)
PACKAGES = tuple(
    os.path.realpath(p)
    # blocks/ ships with the package: its composites are read when one is asked for
    for p in (
        sys.prefix,
        sys.base_prefix,
        *(Path(__file__).parents[2] / name for name in ("graphrec", "blocks")),
    )
)


class Watch:
    """The audit hook: keeps what must not happen while `on`."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = args
            self.opened(path, str(mode or ""), int(flags or 0))
        elif event == "exec":
            file = getattr(args[0], "co_filename", "")
            # networkx writes wrappers of its own functions
            if not file.startswith(("<frozen", "<class 'networkx.", *PACKAGES)):
                self.seen.append(f"exec {file}")
        elif event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {args!r}"[:200])

    def opened(self, path: Any, mode: str, flags: int) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        real = os.path.realpath(os.fsdecode(path))
        writes = any(c in mode for c in "wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        inside = real.startswith((self.folder, *PACKAGES, "/proc/meminfo", "/sys/devices"))
        if writes or not inside:
            self.seen.append(f"open {real} {mode}")


def main() -> None:
    folder, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    corpus = recipes()
    for recipe in corpus:
        for name, text in recipe.files.items():
            (folder / name).write_text(text, encoding="utf-8")
    for recipe in corpus:  # whatever is imported late is imported now
        compile_recipe(folder / recipe.main)
    watch, rng = Watch(folder), random.Random(seed)
    path = folder / "mutated.yaml"
    fine, slowest, worst, wrong = 0, 0.0, "", []
    for _ in range(count):
        data = mutated(corpus, rng)
        path.write_bytes(data)
        watch.on = True
        started = time.process_time()
        try:
            problems, compiled = _run(path)
        except Exception as error:
            wrong.append(
                [f"{type(error).__name__}: {error}"[:300], data.decode("utf-8", "replace")]
            )
            problems, compiled = [], False
        took = time.process_time() - started
        watch.on = False
        fine += compiled
        if any(p.span is None for p in problems):
            wrong.append([f"no place: {problems}"[:300], data.decode("utf-8", "replace")])
        if watch.seen:
            wrong.append([f"audit: {watch.seen[:3]}", data.decode("utf-8", "replace")])
            watch.seen.clear()
        if took > slowest:
            slowest, worst = took, data.decode("utf-8", "replace")
        if len(wrong) > 5:
            break
    memory = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    found = {"fine": fine, "slowest": slowest, "worst": worst, "memory": memory, "wrong": wrong}
    print(json.dumps({**found, "torch": "torch" in sys.modules}))


def _run(path: Path) -> tuple[list[Any], bool]:
    checked = check_recipe(path)
    render(checked.problems, checked.reading.sources)
    if checked.errors:
        return list(checked.problems), False
    try:
        compile_recipe(path)
    except RecipeError as error:
        raise AssertionError("check is content, compile is not") from error
    return list(checked.problems), True


if __name__ == "__main__":
    main()
