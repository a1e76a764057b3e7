"""Settings that exist to agree with other implementations, against the plain formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from graphrec.blocks.dense import MLP as MLPBlock
from graphrec.blocks.sequence import Din
from graphrec.compiler.pipeline import compile_recipe
from graphrec.nn import CGC, DIN, MLP, Batch, Jagged, MultiWindowDIN

LENGTHS = torch.tensor([2, 0, 3, 1])


def history() -> tuple[torch.Tensor, Jagged, torch.Tensor, torch.Tensor]:
    """Query, history, the padded history, and which of its steps are real."""
    torch.manual_seed(0)
    steps = Jagged(torch.randn(6, 4), LENGTHS)
    real = torch.arange(3) < LENGTHS.unsqueeze(1)
    padded = torch.zeros(4, 3, 4)
    padded[real] = steps.values
    return torch.randn(4, 4), steps, padded, real


@pytest.mark.parametrize("setting", [{"norm": "batch"}, {"activation": "dice"}])
def test_din_can_count_padding(setting: dict[str, str]) -> None:
    query, steps, padded, real = history()
    layer = DIN(4, 4, [5, 3], norm_padding="include", **setting)
    plain = DIN(4, 4, [5, 3], **setting)
    plain.load_state_dict(layer.state_dict())
    each = query.unsqueeze(1).expand_as(padded)
    scores = plain.mlp(torch.cat([each, padded, each - padded, each * padded], 2)).squeeze(2)
    shares = torch.softmax(scores.masked_fill(~real, -1e30), 1)
    torch.testing.assert_close(layer(query, steps), (shares.unsqueeze(2) * padded).sum(1))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value)
    exact = DIN(4, 4, [5, 3], **setting)
    exact.load_state_dict(layer.state_dict())
    assert not torch.allclose(layer(query, steps), exact(query, steps))
    for module in (layer, exact):  # evaluation has no statistics to take
        module.load_state_dict(plain.state_dict())
        module.eval()
    torch.testing.assert_close(layer(query, steps), exact(query, steps))


def test_windows_can_count_padding() -> None:
    query, steps, padded, real = history()
    layer = MultiWindowDIN(4, 4, [5], [1, 2], norm="batch", norm_padding="include")
    plain = MultiWindowDIN(4, 4, [5], [1, 2], norm="batch")
    plain.load_state_dict(layer.state_dict())
    each = query.unsqueeze(1).expand_as(padded)
    factors = plain.act(plain.mlp(torch.cat([padded, each * padded, each], 2)))
    weighed = factors * padded * real.unsqueeze(2)
    second = (LENGTHS - 1).clamp(min=1, max=2).unsqueeze(1)
    expected = torch.cat([weighed[:, 0], weighed[:, 1:].sum(1) / second, query], 1)
    torch.testing.assert_close(layer(query, steps), expected)


def test_padding_is_counted_where_there_are_statistics_only() -> None:
    with pytest.raises(ValidationError, match="norm_padding needs norm: batch"):
        Din.model_validate({"hidden": [4], "norm_padding": "include"})


def test_leaky_relu_with_a_slope() -> None:
    layer = MLP(3, [4], "leaky_relu(0.3)")
    x = torch.randn(5, 3)
    dense = layer.layers[0]
    torch.testing.assert_close(layer(x), F.leaky_relu(F.linear(x, dense.weight, dense.bias), 0.3))
    for wrong in ("leaky_relu(2)", "leaky_relu(-0.1)", "leaky_relu()", "relu(0.1)"):
        with pytest.raises(ValidationError, match="activation"):
            MLPBlock.model_validate({"hidden": [4], "activation": wrong})


def test_an_extraction_layer_over_inputs_of_unequal_widths() -> None:
    layer = CGC([3, 5], ["a", "b"], 1, 1, [4], [4], last=False, shared_features=6)
    (a, b), shared = layer([torch.randn(7, 3), torch.randn(7, 5)], torch.randn(7, 6))
    assert a.shape == b.shape == shared.shape == (7, 4)


RECIPE = """
graphrec: 1
name: exported
features: [{type: dense, names: x, width: 3}]
graph:
  tower:  {block: mlp, in: all, hidden: [2]}
  side:   {block: linear, in: all, out: 4}
  both:   {block: linear, in: side, each: [a, b], out: 1}
tasks:
  click: {label: click, in: tower}
export: {nodes: [side, both]}
"""


def test_exported_nodes_are_computed_and_returned() -> None:
    """A node that only `export` asks for is no dead node, and copies are all returned."""
    module = compile_recipe(RECIPE).module()
    found = module(Batch({"x": torch.randn(5, 3)}))
    assert list(found) == ["logits", "probs", "side", "both.a", "both.b"]
    torch.testing.assert_close(found["both.b"], module.both_b(found["side"]))


def test_a_module_made_double_computes_in_double() -> None:
    text = RECIPE.replace(
        "width: 3}]", "width: 3}, {type: id, names: tags, vocab: 9, dim: 2, pool: mean}]"
    )
    module = compile_recipe(text).module().double()
    tags = Jagged(torch.tensor([1, 2, 3]), torch.tensor([2, 0, 1]))
    found = module(Batch({"x": torch.randn(3, 3).double(), "tags": tags}))
    assert found["logits"].dtype == torch.float64
    found["logits"].sum().backward()
