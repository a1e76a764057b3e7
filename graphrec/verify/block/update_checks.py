"""What training does to a layer's weights and state: updates like torch's, saved and read back."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphrec.recipe.optimizer_table import DENSE, OPTIMIZERS
from graphrec.recipe.training import Optimizer
from graphrec.train.dense_optimizers import DenseOptimizer, Group
from graphrec.train.tensors import read_tensors, unsaved, write_tensors
from graphrec.verify.block.example import Example, tensors
from graphrec.verify.block.verdict import Skipped, Unfit, reported
from graphrec.verify.layer_calls import call, values_of

__all__ = ["check_checkpoint", "check_updates"]

_STEPS = (1.0, -0.5, 2.0)
"""Factors of the gradient in the updates that are compared."""
_TORCH = {name.lower(): name for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
"""The classes of torch by the names that recipes have for them; one of ours alone is in no list."""
_SETTINGS: dict[str, Any] = {
    "betas": (0.8, 0.9),
    "eps": 1e-8,
    "momentum": 0.9,
    "weight_decay": 0.01,
}


def check_updates(example: Example) -> None:
    """Every optimizer changes the weights as plain torch.optim does, however they lie in memory."""
    layer = example.layer().eval()
    outputs = call(layer, tensors(example.inputs, example.lengths, torch.float32))
    total = torch.stack([values_of(output).float().square().sum() for output in outputs]).sum()
    if total.requires_grad:
        reported("the backward pass", total.backward)
    trained = {n: p.grad for n, p in layer.named_parameters() if p.grad is not None}
    if not trained:
        raise Skipped("it has no weights")
    for name in (one for one in DENSE if one in _TORCH):
        mine, theirs = copy.deepcopy(layer), copy.deepcopy(layer)
        given = {key: _SETTINGS[key] for key in OPTIMIZERS[name].settings}
        own = DenseOptimizer(
            Optimizer(name=name, **given), [Group([*mine.parameters()], 0.05, 0.01)]
        )
        plain = getattr(torch.optim, _TORCH[name])(
            [*theirs.parameters()], lr=0.05, foreach=False, **given
        )
        for factor in _STEPS:
            for module, optimizer in ((mine, own), (theirs, plain)):
                for key, grad in trained.items():
                    module.get_parameter(key).grad = grad * factor
                optimizer.step()
        _compare(mine, theirs, name)


def _compare(mine: nn.Module, theirs: nn.Module, optimizer: str) -> None:
    for key, right in theirs.named_parameters():
        actual, wanted = mine.get_parameter(key).detach().double(), right.detach().double()
        largest = max(float(wanted.abs().max()), 1e-6) if wanted.numel() else 1.0
        off = float((actual - wanted).abs().max()) / largest if wanted.numel() else 0.0
        digits = 1e-5 if right.element_size() >= 4 else 5e-2
        if not off <= digits:
            raise Unfit(
                f"{optimizer} changes `{key}` (strides {list(right.stride())}) otherwise than"
                f" torch.optim: {off:.3g} of its largest number after {len(_STEPS)} updates"
            )


def check_checkpoint(example: Example) -> None:
    """A checkpoint can hold the layer's state, and gives it back bit for bit."""
    state = example.layer().state_dict()
    if not state:
        raise Skipped("it has no state")
    wrong = unsaved(state)
    if wrong:
        shown = "; ".join(f"`{name}`: {why}" for name, why in wrong.items())
        raise Unfit(
            f"a checkpoint can't hold {shown}; it holds floats, integers, booleans and complex64:"
            " keep the tensor in one of them, or out of the state (persistent=False)"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        write_tensors(path, state)
        saved = read_tensors(path)
    again = example.layer()
    reported("loading its own state", lambda: again.load_state_dict(saved))
    for name, tensor in again.state_dict().items():
        ours, theirs = (t.contiguous().reshape(-1) for t in (tensor, state[name]))
        same = ours.dtype == theirs.dtype and ours.shape == theirs.shape
        if not same or (ours.numel() and not torch.equal(*map(_bytes, (ours, theirs)))):
            raise Unfit(f"`{name}` is not what was saved, once a new layer has loaded it")


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.uint8)
