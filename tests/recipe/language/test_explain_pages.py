"""Every diagnostic has a page with a failing and a fixed example, and both are run."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from graphrec.cli import main
from graphrec.views.explain import Scene, page, scenes, titles

ALL = [(code, scene) for code in titles() for scene in scenes(code)]


@pytest.mark.parametrize("code", titles())
def test_there_is_one_of_each(code: str) -> None:
    found = {scene.which for scene in scenes(code)}
    assert {"wrong", "right"} <= found, code
    assert "```" not in page(code)


@pytest.mark.parametrize(
    ("code", "scene"), ALL, ids=[f"{code}-{scene.which}-{i}" for i, (code, scene) in enumerate(ALL)]
)
def test_examples_do_what_they_say(
    code: str,
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in scene.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    status, said = 0, ""
    for command in scene.commands:
        words = shlex.split(command)
        if words[0] != "graphrec":
            status, said = _elsewhere(words)
            assert status == 0 or "graphrec" in command, said
            continue
        capsys.readouterr()
        status = main([*words[1:], "--format", "json"] if words[1] != "train" else words[1:])
        out, err = capsys.readouterr()
        said = out + err
    warns = code in ("GR602", "GR132")
    if scene.which == "wrong":
        assert code in said, said[-2000:]
        assert (status == 0) == warns
    else:
        assert status == 0, said[-2000:]
        assert code not in said


def _elsewhere(words: list[str]) -> tuple[int, str]:
    """Status and output of a command in a process of its own, with this graphrec on its path."""
    done = subprocess.run(
        [sys.executable if words[0] == "python" else words[0], *words[1:]],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_pages_are_given_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "GR502", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["title"] == titles()["GR502"]
    assert "wrong:" in found["text"]
