"""`graphrec import`: the recipe on stdout or in a file, remarks on stderr, exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from graphrec.cli import main

sys.path.insert(0, str(Path(__file__).parent))
from importer_configs import config


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "shop.config"
    path.write_text('model_dir: "exp"\n' + config("mmoe"), encoding="utf-8")
    return path


def test_the_recipe_goes_to_stdout(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(source)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("# yaml-language-server: $schema=")
    assert out.splitlines()[0].endswith("recipe.schema.json")
    assert 'model_dir: "exp" has no counterpart' in err


def test_the_recipe_goes_to_a_file_that_passes_check(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(source), "-O", "shop.yaml", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    schema = Path("shop.yaml").read_text(encoding="utf-8").splitlines()[0].partition("$schema=")[2]
    assert Path(schema).is_file()
    assert main(["check", "shop.yaml"]) == 0


def test_as_json(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(source), "--format", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert {(p["code"], p["severity"]) for p in made["problems"]} == {("GR132", "warn")}
    assert (made["problems"][0]["line"], made["problems"][0]["column"]) == (1, 1)
    assert "graphrec: 1\nname: shop\n" in made["recipe"]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"a: {", "GR130"), (b"a: 1", "GR131"), (b"\xff\xfe", "GR107"), (None, "GR120")],
)
def test_what_fails_has_a_code(
    content: bytes | None, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.config"
    if content is not None:
        path.write_bytes(content)
    assert main(["import", str(path), "--format", "json"]) == 2
    assert [p["code"] for p in json.loads(capsys.readouterr().out)["problems"]] == [code]
