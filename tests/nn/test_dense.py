"""Perceptron, its layers and its activations, against recorded numbers and by their definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from graphrec.ground.activation_table import ACTIVATIONS
from graphrec.nn.activations import BatchNorm, Dice, activation
from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP, Dense, Linear


@pytest.mark.parametrize("case", ["mlp_ln_relu", "mlp_bn_prelu_train", "dice_train"])
def test_golden(case, shared) -> None:
    folder = shared / "golden" / "open"
    graph = json.loads((folder / f"{case}.json").read_text())["graph"]
    with np.load(folder / f"{case}.npz", allow_pickle=False) as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file}
    mlp = MLP(graph["in"], graph["units"], graph["activation"], graph["norm"], bias=graph["bias"])
    mlp.load_state_dict(
        {_layer(key): value for key, value in arrays.items() if key.startswith("w/")}
    )
    x = arrays["in/x"].requires_grad_()
    y = mlp(x)
    y.backward(arrays["in/cot.y"])
    close(y, arrays["out/y"], 1e-5)
    assert x.grad is not None
    close(x.grad, arrays["grad/in.x"], 1e-4)
    seen = 0
    for key, value in arrays.items():
        if key.startswith("grad/mlp."):
            grad = mlp.get_parameter(_layer(key)).grad
            assert grad is not None
            close(grad, value, 1e-4)
            seen += 1
        elif key.startswith("after/"):
            close(mlp.state_dict()[_layer(key)], value, 1e-5)
    assert seen == len(list(mlp.parameters()))


def _layer(key: str) -> str:
    """`grad/mlp.0.weight` -> `layers.0.weight`."""
    return key.partition("/")[2].replace("mlp.", "layers.", 1)


def close(ours: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    assert ours.shape == wanted.shape
    assert (ours - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_keys() -> None:
    mlp = MLP(6, [4, 3], "dice", norm="layer", out=2)
    assert list(mlp.state_dict()) == [
        f"layers.{i}.{name}"
        for i in (0, 1)
        for name in (
            "weight",
            "bias",
            "norm.weight",
            "norm.bias",
            "act.alpha",
            "act.running_mean",
            "act.running_var",
        )
    ] + ["out.weight", "out.bias"]
    assert mlp.out_features == 2
    assert MLP(6, [4, 3]).out_features == 3
    assert list(MLP(6, [4], "prelu", norm="batch").state_dict()) == [
        "layers.0.weight",
        "layers.0.norm.weight",
        "layers.0.norm.bias",
        "layers.0.norm.running_mean",
        "layers.0.norm.running_var",
        "layers.0.act.weight",
    ]
    assert [*MLP(6, [4], bias=False, out=1).state_dict()] == ["layers.0.weight", "out.weight"]


def test_by_hand() -> None:
    mlp = MLP(3, [4, 2], "silu", norm="layer", out=1)
    x = torch.randn(5, 3)
    y = x
    for layer in mlp.layers:
        assert isinstance(layer, Dense)
        y = F.linear(y, layer.weight, layer.bias)
        y = F.silu((y - y.mean(1, True)) / (y.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt())
    assert mlp.out is not None
    torch.testing.assert_close(mlp(x), mlp.out(y))


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_kinds_of_input_agree(act, norm) -> None:
    """[B, D], [B, L, D] and Jagged are the same rows; so are the gradients, in place or not."""
    torch.manual_seed(0)
    x, lengths = torch.randn(6, 4), torch.tensor([1, 0, 3, 2])
    results = []
    for given in (x, x.reshape(2, 3, 4), Jagged(x, lengths)):
        torch.manual_seed(1)
        mlp = MLP(4, [5, 3], act, norm)
        y = mlp(given)
        if isinstance(given, Jagged):
            assert y.lengths is lengths
            y = y.values
        y = y.reshape(6, 3)
        y.square().sum().backward()
        results.append([y, *(p.grad for p in mlp.parameters()), *mlp.buffers()])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_gradients_by_differences(act) -> None:
    torch.manual_seed(0)
    mlp = MLP(3, [4], act, "batch").double().eval()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mlp, (x,))


@pytest.mark.parametrize("act", sorted({*ACTIVATIONS} - {"rrelu"}))  # it draws its slopes
def test_in_place_changes_nothing(act) -> None:
    torch.manual_seed(0)
    fresh, inplace = activation(act, 4), activation(act, 4, inplace=True)
    x = torch.randn(5, 4)
    torch.testing.assert_close(inplace(x.clone()), fresh(x))
    before = x.clone()
    fresh(x)
    assert torch.equal(x, before)


def test_dice_by_hand() -> None:
    dice, x = Dice(3), torch.randn(50, 3) * 2 + 1
    torch.nn.init.normal_(dice.alpha)
    p = torch.sigmoid((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt())
    torch.testing.assert_close(dice(x), dice.alpha * (1 - p) * x + p * x)
    dice.eval()
    p = torch.sigmoid((x - dice.running_mean) / (dice.running_var + 1e-5).sqrt())
    torch.testing.assert_close(dice(x), dice.alpha * (1 - p) * x + p * x)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_for_statistics(rows) -> None:
    norm = BatchNorm(3)
    norm.running_mean.fill_(2.0)
    x = torch.randn(rows, 3)
    torch.testing.assert_close(norm(x), (x - 2) / (1 + 1e-5) ** 0.5)
    assert norm.running_mean.tolist() == [2.0] * 3


def test_hidden_outputs() -> None:
    mlp = MLP(4, [5, 3], "relu", out=2, hidden_outputs=True)
    x = torch.randn(6, 4)
    first, second, last = mlp(x)
    assert [t.shape[1] for t in (first, second, last)] == [5, 3, 2]
    torch.testing.assert_close(second, mlp.layers[1](first))
    torch.testing.assert_close(last, mlp.out(second))
    (jagged,) = MLP(4, [5], hidden_outputs=True)(Jagged(x, torch.tensor([6])))
    assert jagged.values.shape == (6, 5)


def test_dropout_is_per_layer() -> None:
    mlp = MLP(4, [200, 100], "none", dropout=[0.5, 0], hidden_outputs=True)
    torch.manual_seed(0)
    first, second = mlp(torch.randn(10, 4))
    assert 0.4 < (first == 0).float().mean() < 0.6
    assert (second != 0).all()
    first, second = mlp.eval()(torch.randn(10, 4))
    assert (first != 0).all()


def test_weights_are_drawn_anew_and_by_seed() -> None:
    mlp = MLP(64, [256], "dice", "batch", out=1)
    before = {key: value.clone() for key, value in mlp.state_dict().items()}
    mlp(torch.randn(8, 64))
    torch.nn.init.ones_(mlp.layers[0].act.alpha)
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        mlp.reset_parameters()
        states.append({key: value.clone() for key, value in mlp.state_dict().items()})
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        drawn = key in ("layers.0.weight", "out.weight")
        assert torch.equal(value, before[key]) != drawn, key
    torch.manual_seed(5)
    mlp.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    assert torch.equal(mlp.layers[0].norm.running_mean, torch.zeros(256))


@pytest.mark.parametrize(("act", "variance"), [("relu", 2 / 64), ("tanh", 2 / (64 + 256))])
def test_spread_of_initial_weights(act, variance) -> None:
    torch.manual_seed(0)
    layer = Dense(64, 256, act)
    assert layer.weight.var().item() == pytest.approx(variance, rel=0.05)
    assert not layer.bias.any()


def test_linear() -> None:
    linear = Linear(4, 3)
    x = torch.randn(2, 5, 4)
    torch.testing.assert_close(linear(x), x @ linear.weight.t() + linear.bias)
    assert linear(Jagged(x[0], torch.tensor([2, 3]))).values.shape == (5, 3)
    assert linear.out_features == 3
    assert Linear(4, 3, bias=False).bias is None
    assert not linear.bias.any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"hidden": []}, "at least one width in `hidden`, or `out`"),
        ({"hidden": [2], "dropout": [0.1, 0.2]}, "`dropout` has 2 numbers for 1 hidden layers"),
        (
            {"hidden": [2], "activation": "swish"},
            "unknown activation `swish`; there are celu, dice,",
        ),
        ({"hidden": [2], "norm": "group"}, "unknown norm `group`; there are none, batch, layer"),
    ],
)
def test_wrong_arguments(arguments, said) -> None:
    with pytest.raises(ValueError, match=said):
        MLP(4, **arguments)


def test_only_a_linear() -> None:
    mlp = MLP(4, [], out=3)
    assert mlp(torch.randn(2, 4)).shape == (2, 3)
    assert list(mlp.state_dict()) == ["out.weight", "out.bias"]
