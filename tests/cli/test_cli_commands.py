"""Every command, what it prints where, and its exit status."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from graphrec.cli import GROUPS, main
from graphrec.ground.text import write_text

COMMANDS = [command for _, commands in GROUPS for command in commands]


@pytest.fixture
def small(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The recipe, from the folder it is in: no process of its own is needed for most tests."""
    monkeypatch.chdir(here)
    return "small.yaml"


# ---- help and usage ---------------------------------------------------------------------------


def test_help_has_a_line_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    width = max(len(command.name) for command in COMMANDS)
    for command in COMMANDS:
        assert f"  {command.name:<{width}}  {command.help}\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_no_words_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: graphrec COMMAND")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_with_examples(
    command: object, capsys: pytest.CaptureFixture[str]
) -> None:
    name = command.name  # type: ignore[attr-defined]
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: graphrec {name}" in text and "--format" in text and "--quiet" in text
    assert f"examples:\n  graphrec {name}" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from graphrec import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"graphrec {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chekc"], "no command `chekc`; did you mean `check`?"),
        (["check"], "the following arguments are required: RECIPE"),
        (["check", "small.yaml", "--formt", "json"], "unrecognized arguments: --formt json"),
        (["check", "small.yaml", "--qui"], "unrecognized arguments: --qui"),
        (["graph", "small.yaml", "--format", "png"], "invalid choice: 'png'"),
        (["compile", "small.yaml", "--check"], "--check compares with a file: add -O FILE"),
    ],
)
def test_usage_errors(
    words: list[str], said: str, small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("graphrec: ")
    assert said in captured.err and "usage: graphrec" in captured.err


@pytest.mark.parametrize("form", [["--format", "json"], ["--format=json"]])
def test_usage_errors_as_json(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *form]) == 2
    captured = capsys.readouterr()
    (problem,) = json.loads(captured.out)["problems"]
    assert captured.err == ""
    assert (problem["code"], problem["file"], problem["line"]) == ("GR001", None, None)
    assert problem["severity"] == "error" and "required: RECIPE" in problem["message"]


# ---- check ------------------------------------------------------------------------------------


def test_check_says_what_is_fine(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", small]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == "small.yaml: fine (3 nodes, 2 tables, predicts click)\n"
    assert main(["check", small, "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_check_shows_findings_under_carets(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(small).read_text().replace("in: deep", "in: depe")
    Path(small).write_text(text.replace("batch: 128", "bacth: 128"))
    assert main(["check", small]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error GR201  small.yaml:11:9" in captured.err
    assert "^^^^^ did you mean `batch`?" in captured.err
    assert "error GR301  small.yaml:10:29" in captured.err
    assert "did you mean `deep`?" in captured.err
    assert captured.err.endswith("2 errors\n")
    assert "\033" not in captured.err


def test_check_as_json(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", small, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"problems": []}
    assert main(["check", small, "--format", "json", "-o", "train.bacth=1"]) == 2
    captured = capsys.readouterr()
    (problem,) = json.loads(captured.out)["problems"]
    assert problem["code"] == "GR203" and problem["file"] is None
    assert set(problem) == {
        "code", "severity", "message", "help", "path",
        "file", "line", "column", "end_line", "end_column",
    }  # fmt: skip


def test_check_takes_overrides_and_shipped_names(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", small, "-o", "train.batch=64", "-o", "graph.deep.hidden=[4, 4]"]) == 0
    assert main(["check", small, "-o", "graph.deep.hidden=[-4]"]) == 2
    assert main(["check", "deepfm"]) == 0
    capsys.readouterr()
    assert main(["check", "depfm"]) == 2
    assert "did you mean `deepfm`?" in capsys.readouterr().err


def test_warnings_do_not_fail(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", small, "-o", "kernels.default=triton"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "warn GR602" in captured.err and "warning" in captured.out
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*words, "-o", "kernels.policy=strict"]) == 2


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from graphrec.cli.console import colorful

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colorful(Terminal()) and not colorful(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colorful(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not colorful(Terminal())


# ---- expand, describe, compile, graph ---------------------------------------------------------


def test_expand_is_a_recipe_again(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expand", small]) == 0
    text = capsys.readouterr().out
    Path("full.yaml").write_text(text)
    assert main(["expand", "full.yaml"]) == 0
    assert capsys.readouterr().out == text
    assert main(["expand", small, "--origin", "-o", "train.batch=64"]) == 0
    text = capsys.readouterr().out
    assert "batch: 64  # -o #1" in text and "name: small  # small.yaml:2" in text


def test_expand_as_json(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["expand", small, "--format", "json"]) == 0
    recipe = json.loads(capsys.readouterr().out)["recipe"]
    assert recipe["train"]["batch"] == 128 and recipe["features"]["price"]["type"] == "dense"


def test_describe(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", small]) == 0
    lines = capsys.readouterr().out.splitlines()
    deep = next(line for line in lines if line.startswith("deep ")).split()
    assert deep[:6] == ["deep", "mlp", "[B,", "8]", "80", "144"]
    assert main(["describe", small, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["totals"]["parameters"] == 89 and data["problems"] == []


def test_compile_prints_writes_and_compares(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", small]) == 0
    text = capsys.readouterr().out
    assert "class Small(nn.Module):" in text
    assert main(["compile", small, "-O", "model.py", "--check"]) == 2
    assert "error GR004  model.py is missing" in capsys.readouterr().err
    assert main(["compile", small, "-O", "model.py"]) == 0
    assert capsys.readouterr() == ("", "wrote model.py\n")
    assert Path("model.py").read_text() == text
    assert main(["compile", small, "-O", "model.py", "--check"]) == 0
    words = ["compile", small, "-O", "model.py", "--check", "-o", "graph.deep.hidden=[4]"]
    assert main(words) == 2
    assert Path("model.py").read_text() == text


def test_graph_in_every_form(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", small]) == 0
    assert "flowchart TD" in capsys.readouterr().out
    assert main(["graph", small, "--format", "dot"]) == 0
    assert capsys.readouterr().out.startswith('digraph "small" {')
    assert main(["graph", small, "--format", "svg", "-O", "small.svg"]) == 0
    assert ET.parse("small.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    capsys.readouterr()
    assert main(["graph", small, "--format", "json"]) == 0
    picture = json.loads(capsys.readouterr().out)
    assert {card["key"] for card in picture["cards"]} == {"all", "deep", "head.click", "task click"}


def test_a_file_that_cannot_be_written(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", small, "-O", "no/such/folder/model.py"]) == 4
    captured = capsys.readouterr()
    assert "GR002" in captured.err and "no/such/folder" in captured.err
    assert "Traceback" not in captured.err


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "model.py"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(str(target), "new \ud800")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


# ---- what there is ----------------------------------------------------------------------------


def test_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert "shop" in listed and "shop_base" not in listed
    assert main(["recipes", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [recipe["name"] for recipe in found] == listed
    assert main(["recipes", "shop"]) == 0
    assert "name: shop\n" in capsys.readouterr().out
    assert main(["recipes", "shpo"]) == 2


def test_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blocks"]) == 0
    assert any(line.startswith("mmoe ") for line in capsys.readouterr().out.splitlines())
    assert main(["blocks", "mmoe", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["ports"] == ["x"]
    assert main(["blocks", "mmeo"]) == 2
    assert "did you mean `mmoe`?" in capsys.readouterr().err


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    from graphrec.blocks.library import shipped

    for what in ("recipe", "block"):
        assert main(["schema", what]) == 0
        file = shipped("schemas") / f"{what}.schema.json"
        assert capsys.readouterr().out == file.read_text(encoding="utf-8")


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "gr502"]) == 0
    assert capsys.readouterr().out.startswith("GR502: fields of different widths\n")
    assert main(["explain"]) == 0
    assert "GR401  relations form a cycle\n" in capsys.readouterr().out
    assert main(["explain", "GR999"]) == 2
    assert main(["explain", "GR502", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["code"] == "GR502"


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--fast", "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    assert status == (0 if report["ok"] else 4)
    assert {"graphrec", "python", "torch"} <= {found["what"] for found in report["findings"]}


# ---- plugins ----------------------------------------------------------------------------------

PLUGIN = '''
from graphrec import Block, Shape


class Halved(Block):
    """The first half of a vector."""

    kernels = {"torch": "my_layers:Halved"}

    def infer(self, x: Shape) -> Shape:
        return x.resize(x.width // 2)

    def args(self, x: Shape) -> dict:
        return {}
'''


def test_blocks_of_a_plugin(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("blocks_of_mine.py").write_text(PLUGIN)
    text = (
        Path(small)
        .read_text()
        .replace("{block: mlp, in: all, hidden: [8]}", "{block: halved, in: all}")
    )
    Path(small).write_text(text)
    assert main(["check", small]) == 2
    assert "GR305" in capsys.readouterr().err
    assert main(["check", small, "--plugin", "blocks_of_mine"]) == 0
    assert main(["blocks", "halved", "--plugin", "blocks_of_mine"]) == 0
    assert "The first half of a vector." in capsys.readouterr().out
    assert main(["schema", "--plugin", "blocks_of_mine"]) == 0
    assert "block_halved" in capsys.readouterr().out
    assert main(["check", small, "--plugin", "no_such_module_at_all"]) == 2
    assert "can't be imported" in capsys.readouterr().err


# ---- when things break ------------------------------------------------------------------------


def test_a_bug_is_told_as_a_bug(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("something they got wrong")

    with monkeypatch.context() as patch:
        patch.setattr("graphrec.compiler.pipeline.check_recipe", broken)
        assert main(["check", small]) == 70
    err = capsys.readouterr().err
    assert "RuntimeError: something they got wrong" in err and f"an error in {__file__}" in err
    monkeypatch.setattr("graphrec.compiler.pipeline.parse", lambda *_, **__: None)
    assert main(["check", small]) == 70
    err = capsys.readouterr().err
    assert "a bug in graphrec, not in your recipe" in err and "please report it" in err
    assert main(["check", small, "--format", "json"]) == 70
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["code"] == "GR003"


def test_an_interrupt_is_quiet(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphrec.compiler.pipeline.check_recipe", interrupted)
    assert main(["check", small]) == 130
    assert capsys.readouterr().err == "interrupted\n"
