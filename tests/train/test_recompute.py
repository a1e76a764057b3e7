"""`train.memory: low`: the same training, with less kept between forward and backward."""

from __future__ import annotations

import pytest
import torch

from bench.cases import batches, compiled
from bench.steps import trainer_of
from graphrec.ground.errors import RecipeError
from graphrec.nn.batch import Batch
from graphrec.train.trainer import Trainer

SMALL = [f"features.{n}.vocab=50" for n in ("user_id", "adgroup_id", "campaign_id", "brand")]
MORE = ["graph.tower.dropout=0.3", "graph.tower.norm=layer"]


def _kept(trainer: Trainer, batch: Batch) -> int:
    """Bytes that a forward pass saves for the backward pass, without parameters."""
    total, known = 0, {parameter.data_ptr() for parameter in trainer.module.parameters()}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        if tensor.data_ptr() not in known:
            known.add(tensor.data_ptr())  # several readers of one tensor keep it once
            total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        trainer.forward(batch)
    return total


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("case", "more"), [("ple", []), ("dbmtl", MORE)])
def test_the_same_training_with_less_memory(case: str, more: list[str], precision: str) -> None:
    weights, kept = [], []
    for memory in ("normal", "low"):
        model = compiled(
            case, [*SMALL, *more, f"train={{precision: {precision}, memory: {memory}}}"]
        )
        trainer = trainer_of(model, model.module())
        first, second = batches(model, 32, count=2)
        torch.manual_seed(0)  # of dropout
        kept.append(_kept(trainer, first.batch))
        trainer._train(first.batch)
        trainer._train(second.batch)
        weights.append({key: value.clone() for key, value in trainer.module.state_dict().items()})
    assert kept[1] < kept[0] / 2
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        assert torch.equal(weights[1][key], value), key


def test_running_statistics_count_a_batch_once() -> None:
    model = compiled("dbmtl", [*SMALL, "graph.tower.norm=batch", "train.memory=low"])
    trainer = trainer_of(model, model.module())
    normal = compiled("dbmtl", [*SMALL, "graph.tower.norm=batch"])
    other = trainer_of(normal, normal.module())
    for one in batches(model, 32, count=2):
        trainer._train(one.batch)
        other._train(one.batch)
    for key, value in other.module.state_dict().items():
        torch.testing.assert_close(trainer.module.state_dict()[key], value, rtol=0, atol=0)


def test_compile_decides_what_is_kept() -> None:
    with pytest.raises(RecipeError, match="torch.compile decides what is kept"):
        compiled("dbmtl", ["train.memory=low", "train.compile=true"])
