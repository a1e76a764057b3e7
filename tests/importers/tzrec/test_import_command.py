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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DeepFM_x:\n  model: DeepFM\n  dataset_id: x\n", "a config of FuxiCTR"),
        ("USER_ID_FIELD: user_id\nload_col: {}\n", "a config of RecBole"),
        ("input_features: []\noutput_features: []\n", "a config of Ludwig"),
        ("graphrec: 1\nname: x\n", "a recipe already"),
    ],
)
def test_files_of_other_tools_are_named(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text, encoding="utf-8")
    assert main(["import", str(path)]) == 2
    assert f"this is {said}" in capsys.readouterr().err


def test_check_names_files_of_other_tools(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(source)]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert "this is a config of TorchEasyRec, not a recipe" in line


def test_vocabulary_files_are_written_beside_the_recipe(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("num_buckets: 20", 'vocab_list: ["a", "b"]'), encoding="utf-8")
    (tmp_path / "made").mkdir()
    assert main(["import", str(source), "-O", "made/shop.yaml"]) == 0
    assert "vocab_list in cate.vocab.txt beside it" in capsys.readouterr().err
    assert (tmp_path / "made" / "cate.vocab.txt").read_text(encoding="utf-8") == "a\nb\n"
    assert main(["check", "made/shop.yaml"]) == 0
