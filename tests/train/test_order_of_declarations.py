"""Reversing every map of a recipe changes nothing: two runs end with the same bytes of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from graphrec.cli.console import Console
from graphrec.compiler.pipeline import compile_recipe
from graphrec.train.loop import train

ROOT = Path(__file__).parents[2]


def turned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(list(value))}
    return [turned(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["shop", "dcn_v2", "dbmtl_mmoe"])
def test_reversed_declarations_train_bit_for_bit_alike(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    for file in (ROOT / "recipes").glob("*.yaml"):
        text = yaml.safe_dump(turned(yaml.safe_load(file.read_text())), sort_keys=False)
        (folder / file.name).write_text(text)
    weights = []
    for place in (ROOT / "recipes", folder):
        few = ["data.synthetic=3000", "train.batch=256", "train.epochs=1"]
        compiled = compile_recipe(place / f"{name}.yaml", overrides=few)
        run = train(compiled, console=Console(quiet=True), run_dir=tmp_path / place.name)
        weights.append(load_file(max(run.checkpoints.glob("*/model.safetensors"))))
    plain, other = weights
    assert plain.keys() == other.keys()
    assert all(plain[key].equal(other[key]) for key in plain)
