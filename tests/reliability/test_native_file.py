"""The compiled library: a damaged file is compiled again, a compiler that fails or hangs is told."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphrec.nn.native import compiled

SMALL = 'extern "C" int graphrec_answer() { return 42; }\n'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own, and a library that compiles in a moment."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    source = tmp_path / "small.cpp"
    source.write_text(SMALL)
    monkeypatch.setattr(compiled, "SOURCES", (source,))
    monkeypatch.setenv("GRAPHREC_CACHE", str(tmp_path / "cache"))
    compiled.library.cache_clear()
    yield tmp_path / "cache"
    compiled.library.cache_clear()


def answer() -> int:
    compiled.library.cache_clear()
    found = compiled.library()
    assert not isinstance(found, str), found
    value: int = found.graphrec_answer()
    return value


def test_a_damaged_library_is_compiled_again_and_never_loaded(cache: Path) -> None:
    assert answer() == 42
    (library,) = cache.iterdir()
    whole = library.read_bytes()
    cases = [whole[:n] for n in (0, 1, 31, 32, 33, 4096, len(whole) // 2, len(whole) - 1)]
    cases += [whole + b"\0"]
    places = (0, 100, len(whole) // 2, len(whole) - 1)
    cases += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]
    for case in cases:
        # another file under the name, as a copy cut short: what this process loaded stays whole
        beside = library.with_suffix(".bad")
        beside.write_bytes(case)
        beside.replace(library)
        assert not compiled._is_whole(library)
        assert answer() == 42
        assert compiled._is_whole(library)
    assert [path.name for path in cache.iterdir()] == [library.name]


def test_a_compiler_that_hangs_is_ended_and_told(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = tmp_path / "alive"
    hanging = tmp_path / "slow-g++"
    # as compilers do, it lets another process work, which holds the pipes
    hanging.write_text(f"#!/bin/sh\n(sleep 3; touch {alive}) &\nwait\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("CXX", str(hanging))
    monkeypatch.setattr(compiled, "_ANSWER", 0.3)
    start = time.monotonic()
    assert compiled.why_not() == f"{hanging} hangs: no answer in 0 s"
    assert time.monotonic() - start < 2.5
    time.sleep(max(0.0, 3.3 - (time.monotonic() - start)))
    assert not alive.exists()


def test_a_folder_that_takes_no_file_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file, not a folder")
    assert "could not be loaded" in compiled.why_not()
    monkeypatch.setenv("GRAPHREC_CACHE", os.devnull)
    compiled.library.cache_clear()
    assert "could not be loaded" in compiled.why_not()
