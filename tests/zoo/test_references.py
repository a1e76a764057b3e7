"""Recipes against independent models: same weights by name, same outputs and gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graphrec.compiler.pipeline import compile_recipe
from graphrec.nn import Batch, Jagged
from graphrec.recipe.model import IdFeature

sys.path.insert(0, str(Path(__file__).parent))
from reference_parts import CRITEO, NUMBERS, ROWS, SHOP, Features, Rows  # noqa: E402
from references_histories import HISTORIES  # noqa: E402
from references_multi import MULTI_TASK  # noqa: E402
from references_single import SINGLE_TASK  # noqa: E402

RECIPES = Path(__file__).parents[2] / "recipes"
REFERENCES: dict[str, Callable[[], Features]] = {**SINGLE_TASK, **HISTORIES, **MULTI_TASK}
BATCH, LONGEST = 37, 30
OUTPUT, GRADIENT = 1e-5, 1e-4


def compiled_module(name: str) -> nn.Module:
    """The recipe's module, every table cut to ROWS rows (one of them for unseen values)."""
    features = compile_recipe(RECIPES / f"{name}.yaml").recipe.features
    short = [
        f"features.{n}.vocab={ROWS - 1}" for n, f in features.items() if isinstance(f, IdFeature)
    ]
    return compile_recipe(RECIPES / f"{name}.yaml", overrides=short).module().eval()


def random_weights(state: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Weights of a size that makes every term of every formula count."""

    def draw(name: str, old: Tensor) -> Tensor:
        values = torch.randn(old.shape, generator=generator)
        if name.endswith("running_var"):
            return values.square() + 0.5
        if name.startswith(("embeddings.", "first_order.")):
            return values * 0.5
        if values.ndim > 1:
            return values * (2 / old.shape[-1]) ** 0.5
        return values * 0.1 + (1.0 if name.endswith("norm.weight") else 0.0)

    return {name: draw(name, old) for name, old in sorted(state.items())}


def random_rows(names: tuple[str, ...], generator: torch.Generator) -> Rows:
    """Ids (the unseen row too), numbers, lists of ids with empty ones, histories of all lengths."""

    def ids(size: int) -> Tensor:
        return torch.randint(ROWS, (size,), generator=generator)

    rows: Rows = {name: ids(BATCH) for name in names}
    for name in ("price", *NUMBERS):
        rows[name] = torch.randn(BATCH, 1, generator=generator)
    rows["tags"] = [ids(number % 4) for number in range(BATCH)]
    lengths = [number % (LONGEST + 1) for number in range(BATCH)]
    for name in ("item_id", "category"):
        rows[f"clicked.{name}"] = [ids(length) for length in lengths]
    return rows


def batch_of(rows: Rows) -> Batch:
    def packed(values: Tensor | list[Tensor]) -> Tensor | Jagged:
        if isinstance(values, Tensor):
            return values
        return Jagged(torch.cat(values), torch.tensor([len(v) for v in values]))

    return Batch({name: packed(values) for name, values in rows.items()})


def gradients(
    module: nn.Module, outputs: dict[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """Gradients of a random combination of the outputs, by name; tables apart."""
    total = torch.zeros(())
    for name in sorted(outputs):
        total = (
            total + (outputs[name] * torch.randn(outputs[name].shape, generator=generator)).sum()
        )
    total.backward()
    tables = ("embeddings.", "first_order.")
    named = [(n, p.grad) for n, p in module.named_parameters() if not n.startswith(tables)]
    return {name: gradient for name, gradient in named if gradient is not None}


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_a_recipe_computes_what_its_paper_says(name: str) -> None:
    module, reference = compiled_module(name), REFERENCES[name]().eval()
    generator = torch.Generator().manual_seed(len(name))
    weights = random_weights(module.state_dict(), generator)
    module.load_state_dict(weights)
    reference.load_state_dict(weights)
    rows = random_rows((*SHOP, *CRITEO), generator)
    expected = reference(rows)
    given = module(batch_of(rows))
    found = {key: given[key] for key in expected}
    kinds = ("logits", "y", "probs_ctcvr")
    assert set(expected) == {key for key in given if key.startswith(kinds)}
    for key, value in expected.items():
        value = value.detach()
        assert float(value.std()) > 0.02, f"{key} hardly depends on the input"
        limit = OUTPUT * max(1.0, float(value.abs().max()))
        torch.testing.assert_close(given[key].detach(), value, rtol=OUTPUT, atol=limit)
    state = generator.get_state()
    wanted = gradients(reference, expected, generator)
    got = gradients(module, found, generator.set_state(state))
    assert set(got) == set(wanted)
    # Some are 0 but for rounding: a bias before a softmax.
    limit = GRADIENT / 2 * max((float(value.abs().max()) for value in wanted.values()), default=0.0)
    for key, value in wanted.items():
        said = partial("{}: {}".format, key)
        torch.testing.assert_close(got[key], value, rtol=GRADIENT, atol=limit, msg=said)
