"""What block names mean: the built-in ones, shipped composites, plugins, installed packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graphrec.blocks import PRIMITIVES
from graphrec.blocks.base import Block
from graphrec.blocks.library import BUILTIN, load_library, shipped
from graphrec.ground.errors import RecipeError
from graphrec.ground.shapes import Shape
from graphrec.recipe.model import Composite

PLUGIN = '''
from graphrec.blocks.base import Block, Kernel
from graphrec.blocks.dense import MLP
from graphrec.ground.shapes import Shape


class Doubled(Block):
    """Twice the input."""

    kernels = {"torch": "my_layers:Doubled"}

    def infer(self, x: Shape) -> Shape:
        return x


class _Hidden(Doubled):
    """Not for recipes."""
'''


class Gated(Block):
    """A block of this file."""

    kernels = {"torch": "my_layers:Gated"}

    def infer(self, x: Shape) -> Shape:
        return x


class OtherMLP(Block):
    """A block under a taken name."""

    block_name = "mlp"
    kernels = {"torch": "my_layers:MLP"}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; modules imported from it are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_primitives_and_composites_share_one_space_of_names() -> None:
    primitives = {block.block_name for block in PRIMITIVES}
    composites = {path.stem for path in shipped("blocks").glob("*.yaml")}
    assert not primitives & composites
    assert set(BUILTIN.names) == primitives | composites
    assert list(BUILTIN.names) == sorted(BUILTIN.names)


@pytest.mark.parametrize("path", sorted(shipped("blocks").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_composites_can_be_read(path: Path) -> None:
    found = BUILTIN.get(path.stem)
    assert isinstance(found, Composite)
    assert found.block == path.stem
    assert found.doc.endswith((".", "]."))
    for parameter in found.params.values():
        assert parameter.doc
    assert BUILTIN.get(path.stem) is found


def test_an_unknown_name_is_nothing() -> None:
    assert BUILTIN.get("nothing") is None
    assert "nothing" not in BUILTIN


def test_adding_a_block_leaves_the_library_as_it_was() -> None:
    extended = BUILTIN.with_blocks(Gated)
    assert extended.get("gated") is Gated
    assert "gated" not in BUILTIN
    assert extended.with_blocks(Gated).names == extended.names


@pytest.mark.parametrize("name", ["mlp", "target_attention"])
def test_a_taken_name_is_refused(name: str) -> None:
    taken = type("Taken", (OtherMLP,), {"block_name": name, "__module__": __name__})
    with pytest.raises(ValueError, match=f"there already is a block `{name}`"):
        BUILTIN.with_blocks(taken)


def test_a_plugin_is_found_in_the_working_directory(elsewhere: Path) -> None:
    (elsewhere / "my_blocks.py").write_text(PLUGIN)
    library = load_library(["my_blocks"])
    assert "doubled" in library
    assert set(library.names) - set(BUILTIN.names) == {"doubled"}
    assert sys.path[0] == str(elsewhere)


def test_without_a_plugin_the_working_directory_is_not_searched(elsewhere: Path) -> None:
    before = list(sys.path)
    load_library()
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "can't be imported: ModuleNotFoundError"),
        ("raise SystemExit(0)", "can't be imported: SystemExit: 0"),
        ("raise OSError('no disk')", "can't be imported: OSError: no disk"),
        ("import graphrec", "defines no Block"),
        (PLUGIN + "\n    block_name = 'mlp'\n\nMLP2 = _Hidden", "there already is a block `mlp`"),
    ],
    ids=["absent", "leaving", "broken", "empty", "taken"],
)
def test_a_plugin_that_cannot_be_used(elsewhere: Path, text: str | None, said: str) -> None:
    if text is not None:
        (elsewhere / "my_blocks.py").write_text(text)
    with pytest.raises(RecipeError) as error:
        load_library(["my_blocks"])
    (problem,) = error.value.problems
    assert said in problem.message
    assert problem.path == "--plugin my_blocks"


@pytest.mark.parametrize("target", ["my_package", "my_package:Doubled"])
def test_installed_packages_offer_blocks(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    (elsewhere / "my_package.py").write_text(PLUGIN)
    folder = elsewhere / "my_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[graphrec.blocks]\nmine = {target}\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    assert "doubled" in load_library()


def test_an_entry_point_that_is_no_block_is_told(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "my_package.py").write_text(PLUGIN)
    folder = elsewhere / "my_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[graphrec.blocks]\nmine = my_package:Kernel\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    with pytest.raises(RecipeError, match="`my_package:Kernel` is no Block, Loss or Metric class"):
        load_library()


def test_the_library_needs_no_torch() -> None:
    program = (
        "import sys; from graphrec.blocks.library import BUILTIN\n"
        "[BUILTIN.get(name) for name in BUILTIN.names]; print('torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
