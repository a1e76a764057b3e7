"""Puts changed kernels in the place of the real ones."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from graphrec.kernels import triton

__all__ = ["plant"]

FIRST = (
    "activations",
    "tiles",
    "launchers",
    "gemm",
    "attention_rows",
    "jagged_attention_tiles",
    "hstu_tiles",
    "hstu_pairs",
)
"""Imported by the other modules, so put in place before them."""


def plant(name: str, old: str, new: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the operators find kernels with one text changed where they look for the real ones."""
    names = [found.name for found in pkgutil.iter_modules(triton.__path__)]
    planted = False
    for short in (*FIRST, *sorted(set(names) - set(FIRST))):
        module = importlib.import_module(f"{triton.__name__}.{short}")
        text = Path(str(module.__file__)).read_text()
        if module.__name__ == name:
            assert text.count(old) == 1, f"{text.count(old)} x {old!r}"
            text, planted = text.replace(old, new), True
        changed = _load(module.__name__, text, folder)
        monkeypatch.setitem(sys.modules, module.__name__, changed)
        monkeypatch.setattr(triton, short, changed)
    assert planted, f"no module {name}"


def _load(name: str, text: str, folder: Path) -> ModuleType:
    """A module of that name from other text; Triton reads kernels from their file."""
    path = folder / f"{name.rpartition('.')[2]}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
