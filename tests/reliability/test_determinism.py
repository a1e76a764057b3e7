"""R9: the same recipe gives the same bytes, over hash seeds, declaration orders and processes."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "compiler" / "passes"))
from mistakes import ROOT, recipes  # noqa: E402
from one_request import FITTED, one_request  # noqa: E402

from graphrec.compiler.pipeline import Compiled, check_recipe, compile_recipe  # noqa: E402
from graphrec.nn import Jagged  # noqa: E402
from graphrec.recipe.model import IdFeature  # noqa: E402
from graphrec.recipe.reader import read_yaml  # noqa: E402

NAMES = ("shop", "deepfm", "dbmtl_masknet", "kuairand_mmoe_din", "pepnet", "esmm", "fusion_tower")
NAMES += ("dlrm", "everything", "ple", "next_action", "autodis")

_CHILD = """
import sys, hashlib
from graphrec.compiler.pipeline import compile_recipe
for name in sys.argv[1:]:
    print(hashlib.sha256(compile_recipe(name).source.text.encode()).hexdigest())
"""


def plain(text: str) -> list[str]:
    """The lines of a generated file in no order, without the recipe's lines they came from."""
    statements = ast.unparse(ast.parse(text)).splitlines()
    comments = re.findall(r"#.*", re.sub(r"(recipe|[a-z_]+\.yaml):\d+", "recipe", text))
    return sorted([*statements, *comments])


def shuffled(value: Any, rng: random.Random, path: tuple[str, ...] = ()) -> Any:
    """The same recipe with its maps in another order, and its lists without an order too."""
    if isinstance(value, dict):
        items = [(k, shuffled(v, rng, (*path, k))) for k, v in value.items()]
        rng.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        made = [shuffled(v, rng, (*path, "*")) for v in value]
        if path in (("features",), ("features+",), ("relations",)):
            rng.shuffle(made)
        return made
    return value


def _values(text: str) -> Any:
    tree, _ = read_yaml(text, "recipe.yaml")
    assert tree is not None
    return tree.plain()


def test_a_hundred_compiles(tmp_path: Path) -> None:
    """Each time with the families, names, nodes, tasks, relations in another order.

    Nodes stand in the code as they do in the recipe; else it is the same, line by line.
    """
    rng = random.Random(7)
    count = 0
    for recipe in recipes():
        if recipe.name not in NAMES:
            continue
        for name, text in recipe.files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        first = compile_recipe(tmp_path / recipe.main)
        for _ in range(9):
            for name, text in recipe.files.items():
                changed = shuffled(_values(text), rng)
                (tmp_path / name).write_text(json.dumps(changed), encoding="utf-8")
            again = compile_recipe(tmp_path / recipe.main)
            assert plain(again.source.text) == plain(first.source.text), recipe.name
            count += 1
    assert count >= 100


def small(path: Path) -> Compiled:
    """Short tables: weights do not hang on their rows."""
    recipe = check_recipe(path).reading.recipe
    assert recipe is not None
    ids = {name: f for name, f in recipe.features.items() if isinstance(f, IdFeature)}
    large = [name for name, f in ids.items() if f.vocab.args and int(f.vocab.args[0]) > 50]
    return compile_recipe(path, overrides=[f"features.{name}.vocab=hash(50)" for name in large])


@pytest.mark.parametrize("name", ["shop", "ple", "next_action", "everything"])
def test_order_changes_no_key_no_weight_and_no_prediction(name: str, tmp_path: Path) -> None:
    """Nor the gradients, but for the last bits of sums over three readers and more."""
    (recipe,) = (recipe for recipe in recipes() if recipe.name == name)
    rng = random.Random(3)
    modules = []
    for values in (lambda text: _values(text), lambda text: shuffled(_values(text), rng)):
        for file, text in recipe.files.items():
            (tmp_path / file).write_text(json.dumps(values(text)), encoding="utf-8")
        compiled = small(tmp_path / recipe.main)
        rows = {t.name: FITTED for t in compiled.graph.tables}
        modules.append((compiled, compiled.module(rows).eval()))
    (first, ours), (second, theirs) = modules
    assert (first.source.text != second.source.text) or name != "shop"
    weights, others = ours.state_dict(), theirs.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    _, _, batch = one_request(first.graph, 9)
    predicted, again = ours(batch), theirs(batch)
    assert list(predicted) == list(again)
    for key, value in predicted.items():
        assert torch.equal(_tensor(value), _tensor(again[key])), key
    for made in (predicted, again):
        sum(_tensor(value).sum() for value in made.values()).backward()  # type: ignore[union-attr]
    gradients = dict(theirs.named_parameters())
    for key, weight in ours.named_parameters():
        assert (weight.grad is None) == (gradients[key].grad is None), key
        if weight.grad is not None and gradients[key].grad is not None:
            torch.testing.assert_close(
                weight.grad.to_dense(), gradients[key].grad.to_dense(), rtol=1e-5, atol=1e-6
            )


def _tensor(value: Any) -> torch.Tensor:
    return value.values if isinstance(value, Jagged) else value


def test_every_hash_seed_gives_the_same_bytes() -> None:
    paths = [str(ROOT / "recipes" / f"{name}.yaml") for name in NAMES if name != "everything"]
    seen = set()
    for seed in ("0", "1", "77", "4294967295"):
        run = subprocess.run(
            [sys.executable, "-c", _CHILD, *paths],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        seen.add(run.stdout)
    assert len(seen) == 1


def test_nothing_of_the_machine_is_in_the_code(tmp_path: Path) -> None:
    """Neither the folder, nor the date, nor the directory one works in."""
    text = (ROOT / "recipes" / "deepfm_criteo.yaml").read_text(encoding="utf-8")
    sources = set()
    for folder in (tmp_path / "a", tmp_path / "b" / "c"):
        folder.mkdir(parents=True)
        path = folder / "deepfm_criteo.yaml"
        path.write_text(text)
        sources.add(compile_recipe(path).source.text)
    (source,) = sources
    assert str(tmp_path) not in source
    assert not re.search(r"20\d\d-\d\d", source)
