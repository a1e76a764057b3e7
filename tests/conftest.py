"""What every test may ask for: the shared data, golden files, the long form, two threads."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
THREADS = 2

# Before torch is imported, and for processes that tests start: one number everywhere, so that
# sums are made in one order and xdist workers do not fight for cores.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, str(THREADS))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")
    parser.addoption("--soak", action="store_true", help="the long form of enumerated tests")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """Hold torch to two threads, if some test imported it; torch is not imported for this."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(THREADS)
    yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden files: GRAPHREC_SHARED, else beside the checkout."""
    asked = os.environ.get("GRAPHREC_SHARED")
    path = (ROOT / (asked or "../shared")).resolve()
    if not path.is_dir():
        pytest.skip(f"no shared data: {path} is not a folder (set GRAPHREC_SHARED)")
    return path


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the long form is wanted: `make soak`."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def golden(update_golden: bool) -> Callable[[str, str], None]:
    """`golden("deepfm.py", text)`: equal to tests/golden/deepfm.py, byte for byte."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if update_golden:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        if not path.exists():
            pytest.fail(f"tests/golden/{name} is missing; write it with --update-golden")
        expected = path.read_bytes().decode()
        if text != expected:
            lines = difflib.unified_diff(
                expected.splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm=""
            )
            pytest.fail("\n".join([*lines, "if that is wanted: pytest --update-golden"]))

    return compare


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[str], Path]:
    """`write_recipe(text)`: the text as a file `recipe.yaml` in a folder of the test's own."""

    def write(text: str, name: str = "recipe.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
