"""Modules prepared for inference: equal outputs, the same checkpoint, exported with any batch."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from graphrec.ground.activation_table import ACTIVATIONS
from graphrec.nn import (
    AITM,
    DIN,
    MLP,
    Batch,
    CrossV2,
    Embeddings,
    Jagged,
    Linear,
    Lookup,
    MaskNet,
    MMoE,
    MultiWindowDIN,
    PPNet,
    SelfAttention,
    Table,
    prepare,
)
from graphrec.nn.packed_linear import PackedLinear

HISTORY = Jagged(
    torch.randn(11, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([4, 0, 1, 6])
)
X = torch.randn(4, 16, generator=torch.Generator().manual_seed(2))
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor | Jagged, ...]]] = {
    "linear": (lambda: Linear(16, 3), (X,)),
    "linear_jagged": (lambda: Linear(16, 3), (HISTORY,)),
    "mlp_jagged": (lambda: MLP(16, [20, 8], norm="batch", out=2), (HISTORY,)),
    "outputs": (lambda: MLP(16, [20, 8], norm="batch", hidden_outputs=True), (X,)),
    "mmoe": (lambda: MMoE(16, 3, [20], ["a", "b"], norm="batch", gate_hidden=[4]), (X,)),
    "cross": (lambda: CrossV2(16), (X, X)),
    "masknet": (lambda: MaskNet(16, 2, 24, top=[8], norm="batch"), (X,)),
    "ppnet": (lambda: PPNet(16, 16, [20, 8], 6, norm="batch"), (X, X)),
    "aitm": (lambda: AITM(16), (X, X)),
    "din": (lambda: DIN(16, 16, [20, 8], "dice", "batch", 0.1), (X, HISTORY)),
    "din_plain": (lambda: DIN(16, 16, [20, 8], "sigmoid", bias=False), (X, HISTORY)),
    "windows": (lambda: MultiWindowDIN(16, 16, [20], [2, 4], norm="batch"), (X, HISTORY)),
    "attention": (lambda: SelfAttention(16, 24, 3), (HISTORY,)),
    "attention_steps": (lambda: SelfAttention(16, 16, 2, 5, True, True, "none"), (HISTORY,)),
}


def values(made: object) -> list[Tensor]:
    if isinstance(made, tuple):
        return [value for one in made for value in values(one)]
    assert isinstance(made, Tensor | Jagged)
    return [made.values if isinstance(made, Jagged) else made]


def trained(make: Callable[[], nn.Module]) -> nn.Module:
    """A layer whose weights and statistics are nowhere those it starts with."""
    torch.manual_seed(0)
    layer = make().eval()
    with torch.no_grad():
        for value in layer.parameters():
            value.add_(torch.randn_like(value), alpha=0.1)
        for name, buffer in layer.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand_like(buffer))
    return layer


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_equal_and_keep_their_checkpoint(name: str, dtype: torch.dtype | None) -> None:
    make, inputs = LAYERS[name]
    layer = trained(make)
    prepared = prepare(copy.deepcopy(layer), dtype)
    before = layer.state_dict()
    after = prepared.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert any(isinstance(part, PackedLinear) for part in prepared.modules())
    assert not prepared.training and not any(p.requires_grad for p in prepared.parameters())
    with torch.no_grad():
        pairs = zip(values(layer(*inputs)), values(prepared(*inputs)), strict=True)
    for wanted, found in pairs:
        assert found.dtype == wanted.dtype == torch.float32
        off = float((found - wanted).norm() / wanted.norm())
        assert off < (2e-6 if dtype is None else 2e-2), off
        assert dtype is None or off > 1e-5, "nothing was computed in bfloat16"


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", sorted({*ACTIVATIONS} - {"hardshrink", "threshold"}))
def test_every_activation_and_norm(activation: str, norm: str) -> None:
    # Left out are those that jump: next to the jump the last digit of their input decides.
    layer = trained(lambda: MLP(40, [64, 32], activation, norm, 0.2, out=3))
    x = torch.randn(700, 40)  # large enough for oneDNN
    wanted = layer(x).detach()
    torch.testing.assert_close(prepare(copy.deepcopy(layer))(x), wanted, rtol=1e-4, atol=1e-5)
    narrow = prepare(copy.deepcopy(layer), torch.bfloat16)(x)
    assert float((narrow - wanted).norm() / wanted.norm()) < 2e-2


def test_batch_norm_is_not_computed_any_more() -> None:
    layer = prepare(trained(lambda: MLP(8, [4], norm="batch")))
    for part in layer.modules():
        if type(part).__name__ == "BatchNorm":
            part.register_forward_hook(lambda *_: pytest.fail("the norm is folded"))
    layer(torch.ones(3, 8))


def test_a_prepared_module_refuses_other_weights_and_training() -> None:
    layer = prepare(MLP(8, [4], out=1))
    with pytest.raises(RuntimeError, match="layers.0: load the weights first, then prepare"):
        layer.load_state_dict(MLP(8, [4], out=1).state_dict())
    with pytest.raises(RuntimeError, match="make a new one to train"):
        layer.train()
    with pytest.raises(RuntimeError, match="already prepared"):
        prepare(layer)
    with pytest.raises(ValueError, match="torch.int8"):
        prepare(MLP(8, [4]), torch.int8)


def test_a_prepared_module_is_loadable_by_a_plain_one() -> None:
    plain = trained(lambda: MLP(8, [4], norm="batch"))
    other = MLP(8, [4], norm="batch").eval()
    other.load_state_dict(prepare(copy.deepcopy(plain), torch.bfloat16).state_dict())
    x = torch.randn(5, 8)
    assert torch.equal(other(x), plain(x))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_copies_and_pickles_compute_the_same(dtype: torch.dtype | None) -> None:
    layer = prepare(trained(lambda: MLP(64, [64, 32])), dtype)
    x = torch.randn(600, 64)
    wanted = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), wanted)
    torch.testing.assert_close(layer.double()(x.double()).float(), wanted, rtol=2e-2, atol=2e-2)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings(
            [Table("item", rows=50, dim=8)],
            [Lookup("item", "item"), Lookup("h.item", "item", sequence=True)],
        )
        self.interest = DIN(8, 8, [16], "dice", "batch")
        self.deep = MLP(16, [32, 16], norm="batch", dropout=0.1, out=1)

    def forward(self, batch: Batch) -> Tensor:
        embedded = self.embeddings(batch.features)
        item = embedded.concat(["item"])
        interest = self.interest(item, embedded.sequence("h", ["h.item"]))
        made: Tensor = self.deep(torch.cat([item, interest], dim=1))
        return made


def rows(count: int) -> Batch:
    lengths = torch.arange(count) % 4
    ids = torch.arange(count) % 50
    return Batch({"item": ids, "h.item": Jagged(torch.arange(int(lengths.sum())) % 50, lengths)})


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_prepared_module_is_exported_with_any_batch(dtype: torch.dtype | None) -> None:
    module = prepare(trained(Model), dtype)
    example, shapes = rows(7), torch.export.ShapesCollection()
    for value in example.features.values():
        for tensor in [value.values, value.lengths] if isinstance(value, Jagged) else [value]:
            shapes[tensor] = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    for count in (1, 2, 1000):
        with torch.no_grad():
            wanted, found = module(rows(count)), program.module()(rows(count))
        torch.testing.assert_close(
            found,
            wanted,
            rtol=1e-5 if dtype is None else 2e-2,
            atol=1e-5 if dtype is None else 2e-2,
        )
