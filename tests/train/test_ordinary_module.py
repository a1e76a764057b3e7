"""A module from Python is an ordinary one: what torch offers for modules works with it."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import graphrec
from graphrec.data import Encoder, Loader, open_data
from graphrec.nn import Batch, Jagged, pack, separate

RECIPE = """\
graphrec: 1
name: plain
data: {synthetic: 200}
features:
  - {type: id, names: {user: 20, item: 30, shop: 5}, dim: 4}
  - {type: id, names: {tags: 9}, dim: 4, pool: mean}
  - {type: dense, names: price, dim: 4}
  - {type: sequence, name: clicked, of: [item], max_len: 5}
groups: {history: {query: [item], keys: clicked}}
graph:
  interest: {block: din, in: history, hidden: [8]}
  deep: {block: mlp, in: [all, interest], hidden: [8], norm: layer}
tasks: {click: {label: click, in: deep}}
train: {batch: 64}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> graphrec.Model:
    path = tmp_path_factory.mktemp("plain") / "plain.yaml"
    path.write_text(RECIPE)
    return graphrec.load(path)


@pytest.fixture(scope="module")
def batch(model: graphrec.Model) -> Batch:
    data = open_data(model.recipe)
    encoder = Encoder.fit(model.recipe, data.train)
    loader = Loader(model.recipe, encoder, data.train, 64, shuffle=False, workers=0)
    return next(loader.epoch(0))


def loss_of(module: nn.Module, batch: Batch) -> Tensor:
    probs = module(batch)["probs"].float().clamp(1e-4, 1 - 1e-4)
    return nn.functional.binary_cross_entropy(probs, batch.labels["click"].float())


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_of_torch_step_it(name: str, model: graphrec.Model, batch: Batch) -> None:
    module = model.module()
    optimizer = OPTIMIZERS[name](module.parameters(), lr=0.05)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = loss_of(module, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    after = module.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in before if "item" in key)


def test_parameters_are_those_of_state_dict(model: graphrec.Model, batch: Batch) -> None:
    module = model.module()
    names = [name for name, _ in module.named_parameters()]
    assert set(names) == set(module.state_dict())
    assert "embeddings.item.weight" in names
    changed = {key: value + 0.5 for key, value in module.state_dict().items()}
    other = model.module()
    other.load_state_dict(changed)
    result = functional_call(module, changed, (batch,))["probs"]
    torch.testing.assert_close(result, other(batch)["probs"])
    assert not torch.equal(result, module(batch)["probs"])


def test_dense_and_sparse_gradients_are_equal(model: graphrec.Model, batch: Batch) -> None:
    plain, packed = model.module(), model.module(sparse=True)
    packed.load_state_dict(plain.state_dict())
    for module in (plain, packed):
        loss_of(module, batch).backward()
    whole = packed.get_submodule("embeddings").get_parameter("packed_4").grad
    assert whole is not None and whole.is_sparse
    assert not any(p.grad is not None and p.grad.is_sparse for p in plain.parameters())
    gradients = {name: p.grad for name, p in plain.named_parameters() if name.startswith("emb")}
    tables = [f"embeddings.{table}.weight" for table in ("item", "shop", "tags", "user")]
    parts = whole.to_dense().split([len(plain.state_dict()[table]) for table in tables])
    for table, part in zip(tables, parts, strict=True):
        torch.testing.assert_close(gradients[table], part)


def test_packing_is_undone_and_done(model: graphrec.Model, batch: Batch) -> None:
    module = model.module().eval()
    wanted = module(batch)["probs"]
    assert "embeddings.packed_4" in dict(pack(module).named_parameters())
    assert torch.equal(module(batch)["probs"], wanted)
    assert torch.equal(separate(module)(batch)["probs"], wanted)
    assert separate(module) is module


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_casts(dtype: torch.dtype, model: graphrec.Model, batch: Batch) -> None:
    module = model.module().eval()
    wanted = module(batch)["probs"].float()
    module.to(dtype)
    result = module(batch)["probs"]
    assert result.dtype == dtype
    torch.testing.assert_close(result.float(), wanted, atol=2e-2, rtol=0)
    loss_of(module, batch).backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in module.parameters())
    assert next(module.half().parameters()).dtype == torch.float16


def test_it_goes_through_a_file_into_a_new_process(
    model: graphrec.Model, batch: Batch, tmp_path: Path
) -> None:
    module = model.module().eval()
    torch.save({"module": module, "batch": batch, "wanted": module(batch)["probs"]}, tmp_path / "m")
    code = (
        "import torch; found = torch.load('m', weights_only=False);"
        "module = found['module']; result = module(found['batch'])['probs'];"
        "assert torch.equal(result, found['wanted']);"
        "print(type(module).__name__, len(list(module.parameters())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(graphrec.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["Plain", str(len(list(module.parameters())))]


def test_copies_are_of_their_own(model: graphrec.Model, batch: Batch) -> None:
    module = model.module()
    twin = copy.deepcopy(module)
    assert type(twin) is type(module)
    assert torch.equal(module.eval()(batch)["probs"], twin.eval()(batch)["probs"])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert not torch.equal(module(batch)["probs"], twin(batch)["probs"])
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    before = twin(batch)["probs"].detach()
    loss_of(twin, batch).backward()
    optimizer.step()
    assert not torch.equal(twin(batch)["probs"], before), "it reads other parameters"


def as_int32(value: Tensor | Jagged) -> Tensor | Jagged:
    if isinstance(value, Jagged):
        values = as_int32(value.values)
        assert isinstance(values, Tensor)
        return Jagged(values, value.lengths.int(), value.weights)
    return value.int() if value.dtype == torch.int64 else value


def test_ids_of_32_bits(model: graphrec.Model, batch: Batch) -> None:
    module = model.module().eval()
    narrow = Batch({name: as_int32(value) for name, value in batch.features.items()})
    assert torch.equal(module(narrow)["probs"], module(batch)["probs"])
    wrong = Batch({**batch.features, "user": torch.rand(64)})
    with pytest.raises(TypeError, match="ids are whole numbers, got torch.float32"):
        module(wrong)


def test_it_is_exported(model: graphrec.Model, batch: Batch) -> None:
    module = model.module().eval()
    inputs = Batch(batch.features)
    program = torch.export.export(module, (inputs,), strict=False)
    torch.testing.assert_close(program.module()(inputs)["probs"], module(inputs)["probs"])
    assert set(program.state_dict) >= set(module.state_dict())


def test_a_table_may_have_the_name_of_a_method(batch: Batch) -> None:
    module = graphrec.load(RECIPE.replace("shop: 5", "forward: 5")).module()
    inputs = Batch({**batch.features, "forward": batch.features["shop"]})
    module(inputs)["probs"].sum().backward()
    assert "embeddings.forward.weight" in dict(module.named_parameters())
    assert all(parameter.grad is not None for parameter in module.parameters())
