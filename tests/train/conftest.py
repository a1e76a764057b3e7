"""Small recipes, and the golden cases of losses and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphrec.recipe.model import Recipe

Make = Callable[..., Recipe]


def make_recipe(tasks: dict[str, Any], **more: Any) -> Recipe:
    """A canonical recipe around these tasks; what is left out gets harmless values."""
    full = {}
    for name, task in tasks.items():
        base = {
            "label": {"column": f"label_{name}"},
            "in": "all",
            "loss": {"bce": {}},
            "metrics": [],
        }
        full[name] = {**base, **task}
    recipe = {
        "graphrec": 1,
        "name": "tiny",
        "features": {"u": {"type": "id", "name": "u", "vocab": 10, "dim": 4}},
        "tasks": full,
        **more,
    }
    return Recipe.model_validate(recipe)


@pytest.fixture
def recipe_of() -> Make:
    return make_recipe


@pytest.fixture
def golden_case(shared: Path) -> Callable[[str], tuple[dict[str, Any], dict[str, np.ndarray]]]:
    def read(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        path = shared / "golden" / "open" / f"{name}.json"
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            return json.loads(path.read_text()), {k: arrays[k] for k in arrays.files}

    return read
