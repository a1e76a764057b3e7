"""Parameters however they lie in memory: every optimizer is torch's, and a resumed one is itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from graphrec.recipe.model import Recipe
from graphrec.recipe.optimizer_table import DENSE, OPTIMIZERS
from graphrec.train import dense_optimizers
from graphrec.train.optimizers import Optimizers, make_optimizers

SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {"betas": [0.8, 0.9], "eps": 1e-8, "weight_decay": 0.1},
    "adamw": {"betas": [0.8, 0.9], "eps": 1e-8, "weight_decay": 0.1},
    "adagrad": {"eps": 1e-8, "weight_decay": 0.1},
    "sgd": {"momentum": 0.9, "weight_decay": 0.1},
}
TORCH = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adagrad": torch.optim.Adagrad,
    "sgd": torch.optim.SGD,
}
LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "rows": lambda: torch.randn(7, 5),
    "transposed": lambda: torch.randn(5, 7).t(),
    "qr": lambda: torch.linalg.qr(torch.randn(7, 5))[0],
    "permuted": lambda: torch.randn(2, 3, 4).permute(2, 0, 1),
    "gaps": lambda: torch.randn(7, 10)[:, ::2],
    "part": lambda: torch.randn(9, 5)[2:].t(),
    "number": lambda: torch.randn(()),
    "nothing": lambda: torch.randn(0, 3),
    "narrow": lambda: torch.randn(5, 7).bfloat16().t(),
    "wide": lambda: torch.randn(5, 7).double().t(),
}


class Weights(nn.Module):
    """One parameter of each layout."""

    def __init__(self, layouts: list[str]) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name in layouts:
            self.register_parameter(name, nn.Parameter(LAYOUTS[name]()))

    def forward(self, seed: int) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        terms = []
        for parameter in self.parameters():
            # A product whose gradient is a row-major tensor, whatever the parameter's layout.
            wanted = torch.randn(parameter.shape, generator=draw)
            terms.append((parameter.float().tanh() - wanted).square().sum())
        return torch.stack(terms).sum()


def optimizers(module: nn.Module, name: str) -> Optimizers:
    dense = {"name": name, **SETTINGS[name]}
    task = {"label": {"column": "y"}, "in": "x", "loss": {"bce": {}}, "metrics": []}
    recipe = Recipe.model_validate(
        {
            "graphrec": 1,
            "name": "weights",
            "features": {"x": {"type": "dense", "name": "x"}},
            "tasks": {"t": task},
            "train": {"lr": {"dense": 0.05}, "optim": {"dense": dense}},
        }
    )
    return make_optimizers(module, recipe)


def train(module: nn.Module, own: Any, steps: range) -> None:
    for step in steps:
        module.zero_grad()
        module(step).backward()
        own.step()


@pytest.fixture(params=["native", "torch"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "torch":
        monkeypatch.setattr(dense_optimizers, "adam_kernel", lambda: None)
    yield request.param


def test_every_dense_optimizer_is_tried() -> None:
    assert set(SETTINGS) == set(TORCH) == set(DENSE)
    assert all(set(given) == {*OPTIMIZERS[name].settings} for name, given in SETTINGS.items())


@pytest.mark.parametrize("layout", [*LAYOUTS, "all"])
@pytest.mark.parametrize("name", DENSE)
def test_updates_are_those_of_torch(name: str, layout: str, kernel: str) -> None:
    chosen = [*LAYOUTS] if layout == "all" else [layout]
    mine, theirs = Weights(chosen), Weights(chosen)
    plain: Any = {"lr": 0.05, **SETTINGS[name], "foreach": False}
    train(mine, optimizers(mine, name), range(4))
    train(theirs, TORCH[name](theirs.parameters(), **plain), range(4))
    for key, expected in theirs.named_parameters():
        found = mine.get_parameter(key)
        assert found.stride() == expected.stride()
        digits = 6e-2 if key == "narrow" else 1e-5  # torch rounds bfloat16 after each operation
        torch.testing.assert_close(found.detach(), expected.detach(), rtol=digits, atol=digits)


@pytest.mark.parametrize("name", DENSE)
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(name: str, kernel: str) -> None:
    whole, first = Weights([*LAYOUTS]), Weights([*LAYOUTS])
    train(whole, optimizers(whole, name), range(6))
    own = optimizers(first, name)
    for stop in range(5):
        train(first, own, range(stop, stop + 1))
        weights, state = (
            load(save({k: v.contiguous() for k, v in values.items()}))
            for values in (first.state_dict(), own.state_dict())
        )
        first = Weights([*LAYOUTS])
        first.load_state_dict(weights)
        own = optimizers(first, name)
        own.load_state_dict(state)
    train(first, own, range(5, 6))
    for key, expected in whole.state_dict().items():
        assert torch.equal(first.state_dict()[key], expected), key


def test_a_sparse_gradient_of_a_dense_parameter_counts_as_dense() -> None:
    mine, theirs = (nn.Embedding(6, 3, sparse=sparse) for sparse in (True, False))
    theirs.load_state_dict(mine.state_dict())
    for module in (mine, theirs):
        own = optimizers(module, "adam")
        for step in range(3):
            module(torch.tensor([step, 4, 4])).square().sum().backward()
            own.step()
    torch.testing.assert_close(mine.weight, theirs.weight)
