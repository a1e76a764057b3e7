"""Losses of distillation: the student's gradients by differences, none at the teacher, edges."""

from __future__ import annotations

import pytest
import torch

from graphrec.nn import Hint, OrderCalibrated, Similarity

LAYERS = [Hint(), Hint("soft", 2.0), Similarity(), Similarity("euclid")]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("width", [1, 4])
def test_gradients_by_differences(layer: torch.nn.Module, width: int) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, width, dtype=torch.float64).requires_grad_().unbind()
    weight = torch.rand(5, 1, dtype=torch.float64)
    if width == 1 and layer.kind == "cosine":
        return  # of one number the cosine is its sign
    for given in ((), (weight,)):
        assert torch.autograd.gradcheck(
            lambda s, given=given: layer(s, teacher.detach(), *given), (student,)
        )
    leaf = teacher.detach().requires_grad_()
    layer(student, leaf).backward()
    assert leaf.grad is None


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_rows_of_weight_0_and_scaled_weights(layer: torch.nn.Module) -> None:
    student, teacher = torch.randn(2, 6, 3, dtype=torch.float64).unbind()
    kept = torch.tensor([1.0, 0, 1, 1, 0, 1]).reshape(6, 1)
    whole = layer(student, teacher, kept)
    alone = layer(student[kept[:, 0] > 0], teacher[kept[:, 0] > 0])
    if getattr(layer, "kind", "") == "euclid":
        alone = alone * (6 / 4) ** 0.5  # weights are to their mean: four rows stand for six
    torch.testing.assert_close(whole, alone)
    torch.testing.assert_close(layer(student, teacher, kept * 5), whole)
    assert layer(student, teacher, kept * 0) == 0


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_equal_layers_no_rows_and_zero_vectors(layer: torch.nn.Module) -> None:
    student = torch.zeros(3, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(student, torch.zeros(3, 2)), student)
    assert grad.isfinite().all()
    assert layer(torch.zeros(0, 2), torch.zeros(0, 2)) == 0


def test_only_rises_along_the_funnel_cost() -> None:
    steps = [
        torch.tensor([[0.5], [0.9]]),
        torch.tensor([[0.6], [0.3]]),
        torch.tensor([[0.1], [0.5]]),
    ]
    assert float(OrderCalibrated()(*steps)) == pytest.approx((0.1 + 0.0 + 0.0 + 0.2) / 4)
    assert OrderCalibrated()(*(x[:0] for x in steps)) == 0


def test_unknown_kinds() -> None:
    with pytest.raises(ValueError, match="squared, soft"):
        Hint("cubic")
    with pytest.raises(ValueError, match="cosine, euclid"):
        Similarity("dot")
