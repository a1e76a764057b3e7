"""new, diff, and the page of graph, as they are called."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from graphrec.blocks.library import shipped
from graphrec.cli import main
from graphrec.recipe import read_recipe
from graphrec.views.catalog import shipped_recipes

Out = pytest.CaptureFixture[str]


@pytest.fixture
def small(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(here)
    return "small.yaml"


# ---- graph ------------------------------------------------------------------------------------


def test_a_page_with_numbers_or_fast(small: str, capsys: Out) -> None:
    assert main(["graph", small, "--format", "html", "-O", "graph.html"]) == 0
    text = Path("graph.html").read_text()
    assert '"parameters":"80"' in text and "small.yaml:8" in text
    assert main(["graph", small, "--format", "html", "--fast"]) == 0
    fast = capsys.readouterr().out
    assert "<!DOCTYPE html>" in fast and '"parameters":"80"' not in fast


def test_fast_does_not_import_torch(graphrec: object) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from graphrec.cli import main\n"
        "status = main(['graph', 'deepfm', '--format', 'html', '--fast', '--quiet'])\n"
        "sys.exit(status or ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120)
    assert done.returncode == 0


def test_the_graph_between_passes(small: str, capsys: Out) -> None:
    text = Path(small).read_text().replace("hidden: [8]}", "hidden: [8], kernel: triton}")
    Path(small).write_text(text)
    assert main(["graph", small, "--after", "build", "--format", "svg", "-O", "a.svg"]) == 0
    assert "After build." in Path("a.svg").read_text() and "triton" not in Path("a.svg").read_text()
    assert (
        main(["graph", small, "--after", "choose_kernels", "--format", "svg", "-O", "b.svg"]) == 0
    )
    assert "triton → torch" in Path("b.svg").read_text()
    for name in ("build", "prune", "tables", "choose_kernels"):
        assert main(["graph", small, "--after", name, "--format", "html", "-O", "c.html"]) == 0
    capsys.readouterr()
    assert main(["graph", small, "--after", "prun"]) == 2
    assert "did you mean `prune`? (in order: build, prune" in capsys.readouterr().err


def test_kernels_are_shown_after_every_pass_that_follows_their_choice(
    small: str, capsys: Out
) -> None:
    asked = ["-o", "graph.deep.kernel=triton", "--inference"]
    for name in ("candidate_split", "horizontal_fusion"):
        assert main(["graph", small, "--after", name, *asked]) == 0
        assert "triton → torch" in capsys.readouterr().out
    assert main(["graph", small, "--after", "candidate_split"]) == 0
    assert "does nothing for training: add --inference" in capsys.readouterr().err


SIDES = """\
graphrec: 1
name: sides
features:
  - {type: id, group: user, side: user, names: user, vocab: 50, dim: 4}
  - {type: id, group: item, side: item, names: item, vocab: 20, dim: 4}
graph:
  asker: {block: mlp, in: user, hidden: [4]}
  deep: {block: mlp, in: [asker, item], hidden: [8]}
  mixed: {block: mlp, in: all, hidden: [8]}
  top: {block: mlp, in: [deep, mixed], hidden: [4]}
tasks:
  click: {label: click, in: top}
"""


def test_what_runs_once_per_request_is_told_and_drawn(small: str, capsys: Out) -> None:
    Path("sides.yaml").write_text(SIDES)
    assert main(["describe", "sides.yaml", "--inference"]) == 0
    nodes = capsys.readouterr().out.partition("total:")[0]
    lines = {line.split()[0]: line for line in nodes.splitlines() if line}
    assert "once per request" in lines["asker"] and "once per request" in lines["user"]
    assert "per candidate" in lines["deep"] and "in two parts" in lines["all"]
    assert main(["describe", "sides.yaml"]) == 0
    assert "per candidate" not in capsys.readouterr().out
    drawn = {}
    for form in ("mermaid", "dot", "svg", "html", "json"):
        assert main(["graph", "sides.yaml", "--inference", "--format", form]) == 0
        drawn[form] = capsys.readouterr().out
    assert "class n_user,n_asker once" in drawn["mermaid"] or (
        "class n_asker,n_user once" in drawn["mermaid"]
    )
    thick = [line for line in drawn["dot"].splitlines() if 'penwidth="3"' in line]
    assert len(thick) == 2 and any('"asker"' in line for line in thick)
    root = ET.fromstring(drawn["svg"])
    marked = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if "once" in g.get("class", "")]
    assert len(marked) == 3  # two cards, and the legend
    assert '"runs":"once per request"' in drawn["html"]
    assert '"runs":"in two parts: once per request, and for every candidate"' in drawn["html"]
    once = {card["key"] for card in json.loads(drawn["json"])["cards"] if card["once"]}
    assert once == {"user", "asker"}
    assert main(["graph", "sides.yaml"]) == 0
    assert "once" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "small.yaml", "--batch", "0"], "expected a whole number of 1 or more, got `0`"),
        (["bench", "small.yaml", "--batch", "1e3"], "expected a whole number of 1 or more"),
        (["bench", "small.yaml", "--lock", ""], "--lock FILE in a folder you may write to"),
        (["bench", "small.yaml", "--lock", "none/such"], "can't write `none/such`"),
        (["compile", "small.yaml", "--inferenc"], "did you mean `--inference`?"),
        (["verify", "small.yaml", "--batch", "3"], "usage: graphrec verify"),
        (["describe", "."], "give a recipe of that folder"),
    ],
)
def test_slips_of_the_command_line_are_told(
    small: str, capsys: Out, words: list[str], said: str
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_by_its_own_name(small: str, capsys: Out) -> None:
    assert main(["compile", small, "-O", "none/model.py"]) == 4
    assert "none/model.py: No such file" in capsys.readouterr().err


def test_a_notebook_shows_the_page(here: Path) -> None:
    import graphrec

    text = graphrec.load(here / "small.yaml")._repr_html_()
    assert (
        text.startswith('<iframe srcdoc="&lt;!DOCTYPE html') and 'sandbox="allow-scripts"' in text
    )


# ---- diff -------------------------------------------------------------------------------------


def test_diff_of_two_recipes_and_of_overrides(small: str, capsys: Out) -> None:
    assert main(["diff", small, "-o", "features.item.dim=8", "-o", "train.lr=2e-3"]) == 0
    text = capsys.readouterr().out
    assert "~ item  dim: 4 -> 8" in text and "0.001 -> 0.002" in text
    assert main(["diff", "dbmtl", "dbmtl_masknet", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [change["name"] for change in data["tasks"]["added"]] == ["cart"]
    assert main(["diff", small, small]) == 0
    assert "no difference" in capsys.readouterr().out
    for form in ("svg", "html"):
        assert main(["diff", "deepfm", "dcn_v2", "--format", form, "-O", f"d.{form}"]) == 0
    assert ET.parse("d.svg").getroot().tag.endswith("svg")
    assert "deepfm → dcn_v2" in Path("d.html").read_text()
    capsys.readouterr()
    assert main(["diff", small]) == 2
    assert "a second recipe is missing" in capsys.readouterr().err
    assert main(["diff", small, "depfm"]) == 2


# ---- new --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [recipe.name for recipe in shipped_recipes()])
def test_a_copy_is_the_same_recipe_in_another_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", name, "-O", "mine.yaml", "--quiet"]) == 0
    copy, text = read_recipe("mine.yaml"), Path("mine.yaml").read_text()
    original = read_recipe(shipped("recipes") / f"{name}.yaml")
    plain = [r.model_dump(mode="json", exclude={"origin", "data"}) for r in (copy, original)]
    assert plain[0] == plain[1]
    assert copy.data.synthetic == original.data.synthetic
    assert "\nextends:" not in text and text.count("yaml-language-server") == 1


def test_the_editor_finds_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    assert main(["new", "deepfm", "-O", "sub/mine.yaml", "--quiet"]) == 0
    first = Path("sub/mine.yaml").read_text().splitlines()[0]
    path = Path("sub") / first.partition("$schema=")[2]
    assert json.loads(path.read_text())["title"] == "A graphrec recipe."
    assert main(["new", "deepfm", "-O", "sub/other.yaml", "--quiet", "--schema"]) == 0
    assert (
        Path("sub/other.yaml")
        .read_text()
        .startswith("# yaml-language-server: $schema=recipe.schema.json\n")
    )
    assert json.loads(Path("sub/recipe.schema.json").read_text())["title"] == "A graphrec recipe."


def test_new_from_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i % 7},{i % 3},{i / 9:.2f},{i % 2},{i % 5 + 1}\n" for i in range(300))
    Path("train.csv").write_text(f"item,shop,price,click,rating\n{rows}")
    assert main(["new", "--from", "train.csv", "--label", "click"]) == 0
    assert "label: click" in capsys.readouterr().out
    words = ["new", "--from", "train.csv", "--label", "click,rating", "--task", "rating=regression"]
    assert main([*words, "-O", "My Shop.yaml"]) == 0
    assert "now: graphrec train My Shop.yaml" in capsys.readouterr().err
    recipe = read_recipe("My Shop.yaml")
    assert recipe.name == "my_shop" and recipe.tasks["rating"].kind == "regression"
    assert main(["new", "--from", "train.csv", "--label", "clik"]) == 3
    assert "did you mean `click`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give the name of a shipped recipe, or --from FILES"),
        (["deepfm", "--from", "x.csv"], "give the name of a shipped recipe, or --from FILES"),
        (["--from", "x.csv"], "--from needs --label COLUMN"),
        (["deepfm", "--label", "y"], "--label and --task go with --from"),
        (["--from", "x.csv", "--label", "y", "--task", "binry"], "expected KIND or LABEL=KIND"),
        (["deepfm", "-O", "small.yaml"], "small.yaml is there already"),
        (["depfm"], "did you mean `deepfm`?"),
    ],
)
def test_new_asks_for_what_is_missing(words: list[str], said: str, small: str, capsys: Out) -> None:
    before = Path(small).read_text()
    assert main(["new", *words]) == 2
    assert said in capsys.readouterr().err and Path(small).read_text() == before
    assert main(["new", "deepfm", "-O", small, "--force"]) == 0


# ---- schema -----------------------------------------------------------------------------------

PLUGIN = '''
from graphrec import Block, Shape


class Halved(Block):
    """The first half of a vector."""

    kernels = {"torch": "my_layers:Halved"}
    times: int = 1
    """How often."""

    def infer(self, x: Shape) -> Shape:
        return x.resize(x.width // 2)

    def args(self, x: Shape) -> dict:
        return {}
'''


def test_an_editor_completes_blocks_of_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    import sys

    from jsonschema import Draft7Validator

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("halves_of_mine.py").write_text(PLUGIN)
    assert main(["schema", "--plugin", "halves_of_mine"]) == 0
    schema = json.loads(capsys.readouterr().out)
    halved = schema["$defs"]["block_halved"]["properties"]
    assert halved["block"]["description"] == "The first half of a vector."
    assert halved["times"]["description"] == "How often."
    assert "ports: x" in halved["in"]["description"]
    known = schema["$defs"]["node"]["properties"]["block"]["anyOf"][0]
    told = dict(zip(known["enum"], known["enumDescriptions"], strict=True))
    assert told["halved"] == "The first half of a vector." and all(told.values())
    check = Draft7Validator(schema)
    good = {"graphrec": 1, "graph": {"h": {"block": "halved", "in": "all", "times": 2}}}
    assert not list(check.iter_errors(good))
    good["graph"]["h"]["tims"] = 3  # type: ignore[index]
    assert list(check.iter_errors(good))
    assert main(["new", "deepfm", "-O", "mine.yaml", "--plugin", "halves_of_mine", "--quiet"]) == 0
    assert "block_halved" in Path("recipe.schema.json").read_text()


def test_every_word_of_the_schema_has_a_hover_text() -> None:
    from graphrec.views.schema import block_schema, recipe_schema

    for schema in (recipe_schema(), block_schema()):
        bare = []

        def walk(part: object, path: str, schema: dict = schema, bare: list = bare) -> None:  # type: ignore[type-arg]
            if isinstance(part, list):
                for index, value in enumerate(part):
                    walk(value, f"{path}.{index}")
            if not isinstance(part, dict):
                return
            for name, value in part.get("properties", {}).items():
                shown = value
                if "$ref" in value:
                    shown = schema["$defs"][value["$ref"].rpartition("/")[2]]
                if "description" not in shown and "const" not in shown:
                    bare.append(f"{path}.{name}")
            for key, value in part.items():
                if key != "if":
                    walk(value, f"{path}.{key}")

        walk(schema, "")
        assert not bare
