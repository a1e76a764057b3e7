"""Every activation of the table: made, differentiated, in place as aside, and the kernels' column."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphrec.blocks import MLP as MLPBlock
from graphrec.ground.activation_table import (
    ACTIVATIONS,
    FUSED,
    canonical_activation,
    read_activation,
)
from graphrec.kernels.ops.reference import activate, slope
from graphrec.nn import MLP, activation

# Constructors of torch.nn that are no function of one number: another shape, an axis, attention.
OTHERS = {"GLU", "MultiheadAttention", "Softmax", "Softmax2d", "LogSoftmax", "Softmin"}


def test_torch_has_no_activation_that_is_not_here() -> None:
    theirs = set(nn.modules.activation.__all__) - OTHERS
    ours = {row.layer.partition(":")[2] for row in ACTIVATIONS.values()}
    assert theirs <= ours


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_gradients(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 5, generator=generator, dtype=torch.float64) * 3 + 0.01
    layer = activation(name, 5).double().eval()
    assert torch.autograd.gradcheck(layer, x.clone().requires_grad_())
    in_place = activation(name, 5, inplace=True).double().eval()
    torch.testing.assert_close(in_place(x.clone()), layer(x))
    for dtype in (torch.float32, torch.bfloat16):
        y = MLP(5, [5, 4], name).to(dtype)(x.to(dtype))
        y.float().sum().backward()
        assert y.dtype == dtype and bool(y.isfinite().all())


@pytest.mark.parametrize("name", FUSED)
def test_the_kernels_formulas_are_the_layers(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x = (torch.randn(40, generator=generator, dtype=torch.float64) * 3).requires_grad_()
    expected = activation(name, 40)(x)
    torch.testing.assert_close(activate(x.detach(), name), expected.detach())
    grad = torch.autograd.grad(expected.sum(), x)[0]
    kept = x.detach() if ACTIVATIONS[name].slope == "input" else expected.detach()
    torch.testing.assert_close(slope(torch.ones_like(grad), kept, name), grad)


@pytest.mark.parametrize(
    ("text", "canonical", "layer"),
    [
        ("leaky_relu(0.2)", "leaky_relu(negative_slope=0.2)", nn.LeakyReLU(0.2)),
        ("leaky_relu( negative_slope = 1e-2 )", "leaky_relu", nn.LeakyReLU(0.01)),
        ("gelu(approximate=tanh)", "gelu(approximate=tanh)", nn.GELU("tanh")),
        ("hardtanh(-2, max_val=3)", "hardtanh(min_val=-2, max_val=3)", nn.Hardtanh(-2, 3)),
        ("softplus(beta=2)", "softplus(beta=2)", nn.Softplus(2)),
        ("elu(alpha=1.0)", "elu", nn.ELU()),
        ("threshold(.5, -1)", "threshold(threshold=0.5, value=-1)", nn.Threshold(0.5, -1)),
    ],
)
def test_parameters(text: str, canonical: str, layer: nn.Module) -> None:
    assert canonical_activation(text) == canonical == canonical_activation(canonical)
    block = MLPBlock.model_validate({"hidden": [4], "activation": text})
    assert block.activation == canonical
    x = torch.randn(50) * 3
    torch.testing.assert_close(activation(canonical, 50)(x), layer(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("relu(0.1)", "takes 0 parameters, got 1"),
        ("elu(beta=1)", "elu has no `beta`; it has alpha"),
        ("elu()", "expected elu or elu"),
        ("elu(0)", "alpha of elu: expected a number above 0, got 0"),
        ("elu(1, alpha=2)", "`alpha` of elu is given twice"),
        ("elu(open('x'))", "expected a number"),
        ("elu(1", "expected elu or elu"),
        ("leaky_relu(2)", "expected a number from 0 to 1, got 2"),
        ("gelu(approximate=erf)", "expected one of none, tanh, got `erf`"),
        ("hardtanh(1, -1)", "min_val of hardtanh is below max_val"),
    ],
)
def test_wrong_parameters_are_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        read_activation(text)
