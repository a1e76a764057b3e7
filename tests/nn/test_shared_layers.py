"""Layers that cross features or serve several tasks, against their formulas on random numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graphrec.nn import (
    AITM,
    PLE,
    Bilinear,
    CrossV2,
    EPNet,
    MaskNet,
    MMoE,
    PPNet,
    RelationMLP,
    SENet,
    WuKong,
)
from graphrec.nn.mixing import without_some


def random(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_cross_v2_of_full_rank() -> None:
    layer = CrossV2(4).double()
    x0, x = random(3, 4), random(3, 4) + 1
    torch.testing.assert_close(layer(x0, x), x0 * (x @ layer.w.weight.t() + layer.w.bias) + x)


@pytest.mark.parametrize("kind", ["all", "each", "interaction"])
def test_bilinear(kind: str) -> None:
    layer, x = Bilinear(4, 3, kind).double(), random(2, 4, 3)
    expected = []
    for i in range(4):
        for j in range(i + 1, 4):
            matrix = layer.weight[{"all": 0, "each": i, "interaction": len(expected)}[kind]]
            expected.append((x[:, i] @ matrix) * x[:, j])
    torch.testing.assert_close(layer(x), torch.cat(expected, dim=1))


def test_senet_scales_fields() -> None:
    layer, x = SENet(4, reduction=2).double(), random(3, 4, 5)
    scale = torch.sigmoid(layer.excite(torch.relu(layer.squeeze(x.mean(2)))))
    torch.testing.assert_close(layer(x), x * scale[:, :, None])


def test_wukong() -> None:
    layer, x = (
        WuKong(4, 3, fm_fields=2, linear_fields=1, rank=2, hidden=[5]).double(),
        random(2, 4, 3),
    )
    crossed = x @ (x.transpose(1, 2) @ layer.rank_proj.weight.t())
    fm = layer.fm(layer.fm_norm(crossed.flatten(1))).reshape(2, 2, 3)
    linear = layer.compress.weight @ x
    assert layer.residual is not None
    expected = layer.norm(torch.cat([fm, linear], dim=1) + layer.residual.weight @ x)
    torch.testing.assert_close(layer(x), expected)


def test_masknet_in_series_reads_the_block_before() -> None:
    layer, x = MaskNet(5, blocks=2, hidden=4, aggregation=3, mode="serial").double(), random(6, 5)
    y = layer.norm(x)
    for block in layer.blocks:
        factors = block.project(torch.relu(block.aggregate(x)))
        y = torch.relu(block.norm(block.hidden(y * factors)))
    torch.testing.assert_close(layer(x), y)


def test_gates_do_not_train_what_they_scale() -> None:
    layer = EPNet(4, 3, hidden=5).double()
    x, domain = random(2, 4).requires_grad_(), random(2, 3)
    gate = layer.gate(torch.cat([domain, x], dim=1)).detach()
    layer(x, domain).sum().backward()
    torch.testing.assert_close(x.grad, gate)
    assert float(gate.min()) > 0
    assert float(gate.max()) < 2


def test_ppnet_gates_every_layer() -> None:
    layer = PPNet(4, 3, hidden=[6, 5], gate_hidden=2).double()
    x, domain = random(2, 4), random(2, 3)
    context, y = torch.cat([domain, x], dim=1), x
    for dense, gate in zip(layer.layers, layer.gates, strict=True):
        y = torch.relu(y @ dense.weight.t() + dense.bias) * gate(context)
    torch.testing.assert_close(layer(x, domain), y)


@pytest.mark.parametrize("gate_hidden", [[], [3]])
def test_mmoe_mixes_experts(gate_hidden: list[int]) -> None:
    layer = MMoE(5, 3, [6, 4], ["buy", "keys"], gate_hidden).double()
    x = random(7, 5)
    experts = [expert(x) for expert in layer.experts]
    for name, found in zip(["buy", "keys"], layer(x), strict=True):
        read = layer.gate_mlps[name](x) if layer.gate_mlps is not None else x
        weights = torch.softmax(layer.gates[name](read), dim=1)
        expected = sum(weights[:, k : k + 1] * expert for k, expert in enumerate(experts))
        torch.testing.assert_close(found, expected)
    assert "gates.keys.weight" in layer.state_dict()


def test_ple_levels_feed_each_other() -> None:
    layer = PLE(5, 2, ["a", "b"], private=[2, 1], shared=1, hidden=[[4], [3]]).double()
    x = random(6, 5)
    xs, shared = {"a": x, "b": x}, x
    for level in layer.levels:
        common = [expert(shared) for expert in level.shared]
        own = {name: [e(xs[name]) for e in level.experts[name].children()] for name in xs}
        gates = {name: torch.softmax(level.gates[name](xs[name]), dim=1) for name in xs}
        if level.shared_gate is not None:
            everything = [*own["a"], *own["b"], *common]
            gate = torch.softmax(level.shared_gate(shared), dim=1)
            shared = mixed(gate, everything)
        xs = {name: mixed(gates[name], [*own[name], *common]) for name in xs}
    for name, found in zip("ab", layer(x), strict=True):
        torch.testing.assert_close(found, xs[name])
    assert layer.levels[1].shared_gate is None


def mixed(weights: Tensor, experts: list[Tensor]) -> Tensor:
    return (weights.unsqueeze(2) * torch.stack(experts, dim=1)).sum(1)


def test_relation_mlp_reads_towers_side_by_side() -> None:
    layer = RelationMLP(5, [4]).double()
    own, parent = random(3, 3), random(3, 2)
    first = layer.layers[0]
    expected = torch.relu(torch.cat([own, parent], dim=1) @ first.weight.t() + first.bias)
    torch.testing.assert_close(layer(own, parent), expected)
    assert list(layer.state_dict()) == ["layers.0.weight", "layers.0.bias"]


def test_aitm_attends_to_what_parents_pass_on() -> None:
    layer = AITM(4, parents=1).double()
    own, parent = random(3, 4), random(3, 4) - 1
    seen = [own, layer.info[0](parent)]
    scores = [(layer.key(u) * layer.query(u)).sum(1) / math.sqrt(4) for u in seen]
    weights = torch.softmax(torch.stack(scores, dim=1), dim=1)
    expected = sum(weights[:, i : i + 1] * layer.value(u) for i, u in enumerate(seen))
    torch.testing.assert_close(layer(own, parent), expected)


def test_a_gate_leaves_out_experts_and_weighs_the_others_anew() -> None:
    """Zhao et al., 2019: softmax over those that remain; a gate keeps all rather than none."""
    torch.manual_seed(0)
    logits = torch.randn(4000, 3)
    weights = torch.softmax(without_some(logits, 0.3), dim=1)
    full = torch.softmax(logits, dim=1)
    kept = weights > 0
    assert bool(kept.any(1).all())
    again = full * kept
    torch.testing.assert_close(weights, again / again.sum(1, keepdim=True))
    # of the rows that lost something: each expert is lost with 0.3, but never all three at once
    assert abs(float((~kept).float().mean()) - (0.3 - 0.3**3)) < 0.02


@pytest.mark.parametrize("kind", ["mmoe", "ple"])
def test_experts_are_left_out_in_training_alone(kind: str) -> None:
    torch.manual_seed(0)

    def made(rate: float) -> torch.nn.Module:
        if kind == "mmoe":
            return MMoE(4, 3, [5], ["a", "b"], expert_dropout=rate)
        return PLE(4, 2, ["a", "b"], 2, 1, [5], expert_dropout=rate)

    dropping, plain, x = made(0.5), made(0.0), torch.randn(64, 4)
    plain.load_state_dict(dropping.state_dict())
    for a, b in zip(dropping.eval()(x), plain.eval()(x), strict=True):
        torch.testing.assert_close(a, b)
    trained, usual = dropping.train()(x), plain.train()(x)
    assert not torch.allclose(trained[0], usual[0])
    assert bool(torch.isfinite(torch.cat(trained)).all())


def test_the_gates_perceptrons_drop_as_torchs_do() -> None:
    torch.manual_seed(0)
    layer = MMoE(4, 3, [5], ["a"], gate_hidden=[6], gate_dropout=0.5)
    x = torch.randn(8, 4)
    torch.manual_seed(2)
    first = layer.gate_mlps["a"].layers[0]  # type: ignore[index,union-attr]
    hidden = torch.relu(torch.nn.functional.linear(x, first.weight, first.bias))
    hidden = torch.nn.functional.dropout(hidden, 0.5)
    expected = layer.gates["a"](hidden)
    torch.manual_seed(2)
    torch.testing.assert_close(layer.logits(x)[:, 0], expected)
