"""These tests run in their own process, `tests/kernels/test_interpreter.py` starts it.

By hand: TRITON_INTERPRET=1 GRAPHREC_KERNELS=triton python -m pytest tests/kernels/interpreter
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

INTERPRETED = (
    os.environ.get("TRITON_INTERPRET") == "1" and os.environ.get("GRAPHREC_KERNELS") == "triton"
)
if not INTERPRETED:
    collect_ignore_glob = ["*.py"]
else:
    sys.path.insert(0, str(Path(__file__).parent))
    # Tests launch kernels by themselves too, past the operators that install it.
    from graphrec.kernels.triton import interpreter_bf16

    interpreter_bf16.install()


_SHARE = 3
"""One planted fault in so many is tried in the short form: each costs a kernel's whole check."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave most of the planted faults to the long form; those of a file are spread evenly."""
    if config.getoption("--soak"):
        return
    planted = [item for item in items if "test_planted_faults_are_found" in item.name]
    left = set(planted) - set(planted[::_SHARE])
    config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = [item for item in items if item not in left]


class Launches(list[str]):
    """The names of the kernels that were launched, in order."""

    def spy(self, name: str, kernel: Any) -> Any:
        launches = self

        class Spy:
            def __getitem__(self, grid: tuple[int, ...]) -> Any:
                launches.append(name)
                return kernel[grid]

        return Spy()


@pytest.fixture(autouse=True)
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    """Names of launched kernels (all are called `..._kernel`); a test in which none was launched ran the torch path: it fails."""
    from graphrec.kernels import triton

    seen = Launches()
    for found in pkgutil.iter_modules(triton.__path__):
        module = importlib.import_module(f"{triton.__name__}.{found.name}")
        for name, kernel in vars(module).copy().items():
            if name.endswith("_kernel"):
                monkeypatch.setattr(module, name, seen.spy(name, kernel))
    yield seen
    assert seen, "no Triton kernel was launched"
