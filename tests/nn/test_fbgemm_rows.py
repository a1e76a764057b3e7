"""FBGEMM as a kernel of the tables: equal to torch's optimizers, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.embedding import Embeddings
from graphrec.nn.native import RowKernel, kernel
from graphrec.nn.native.fbgemm import Fbgemm, choose_fbgemm, fbgemm
from graphrec.nn.tables import Lookup, Table
from graphrec.recipe.training import Optimizer
from graphrec.train.table_optimizers import RowOptimizer

RULES = ("sgd", "adagrad", "rowwise_adagrad", "adam")
LENGTHS = torch.tensor([2, 0, 3, 1])


def able(asked: str, rule: str) -> bool:
    if asked == "native":
        return isinstance(kernel(), RowKernel)
    return asked == "torch" or (isinstance(fbgemm(), Fbgemm) and rule != "adam")


def features(seed: int) -> dict[str, Tensor | Jagged]:
    """Four rows: a shared table read by three columns, a bag, a history, many repeats."""
    seeded = torch.Generator().manual_seed(seed)
    ids = lambda count: torch.randint(0, 5, (count,), generator=seeded)  # noqa: E731
    return {
        "item": ids(4),
        "bought": ids(4),
        "user": ids(4),
        "tags": Jagged(ids(6), LENGTHS),
        "h.item": Jagged(ids(6), LENGTHS),
    }


def trained(asked: str, rule: str) -> dict[str, Tensor]:
    """Four steps on `asked`; the tables that came out."""
    module = Embeddings(
        [Table("item", rows=7, dim=8, init="normal(1)"), Table("user", rows=5, dim=8)],
        [
            Lookup("item", table="item"),
            Lookup("bought", table="item"),
            Lookup("user", table="user"),
            Lookup("tags", table="item", pool="mean"),
            Lookup("h.item", table="item", sequence=True),
        ],
        kernel=asked,
    )
    module.reset(0)
    optimizer = RowOptimizer(module.packed_8, Optimizer(name=rule, eps=1e-6), asked)
    for step in range(1, 5):
        embedded = module(features(step))
        single = embedded.concat(["bought", "item", "tags", "user"])
        _loss(single, embedded.concat(["h.item"])).backward()
        grad = module.packed_8.grad
        optimizer.update(grad._indices()[0], grad._values(), 0.05, 0.0, step)
        module.packed_8.grad = None
    return {key: value.clone() for key, value in module.state_dict().items()}


def _loss(single: Tensor, steps: Tensor) -> Tensor:
    return single.sin().sum() + steps.square().sum()


def by_torch(rule: str) -> dict[str, Tensor]:
    """The same with nn.Parameter and torch.optim, by plain indexing."""
    start = Embeddings(
        [Table("item", rows=7, dim=8, init="normal(1)"), Table("user", rows=5, dim=8)], []
    )
    start.reset(0)
    state = {key: nn.Parameter(value.clone()) for key, value in start.state_dict().items()}
    item, user = state["item.weight"], state["user.weight"]
    optimizer: torch.optim.Optimizer
    if rule == "adam":
        optimizer = torch.optim.SparseAdam(state.values(), lr=0.05, eps=1e-6)
    elif rule == "adagrad":
        optimizer = torch.optim.Adagrad(state.values(), lr=0.05, eps=1e-6)
    else:
        optimizer = torch.optim.SGD(state.values(), lr=0.05)
    for step in range(1, 5):
        x = features(step)
        bags = nn.functional.embedding_bag(
            x["tags"].values, item, LENGTHS.cumsum(0) - LENGTHS, mode="mean"
        )
        single = torch.cat([item[x["bought"]], item[x["item"]], bags, user[x["user"]]], 1)
        optimizer.zero_grad()
        _loss(single, item[x["h.item"].values]).backward()
        if rule == "adam":
            for weight in state.values():
                rows = weight.grad.abs().sum(1).nonzero().view(-1)
                weight.grad = torch.sparse_coo_tensor(rows[None], weight.grad[rows], weight.shape)
        optimizer.step()
    return {key: value.detach() for key, value in state.items()}


@pytest.mark.filterwarnings("ignore:.*check_sparse_tensor_invariants")
@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("asked", ["torch", "native", "fbgemm"])
def test_every_kernel_trains_as_torch_optim_does(asked: str, rule: str) -> None:
    if not able(asked, rule):
        pytest.skip(f"no {asked} kernel for {rule} here")
    expected = by_torch(rule)
    for key, value in trained(asked, rule).items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES[:3])
@pytest.mark.parametrize(
    ("count", "rows", "dim"), [(1, 1, 4), (700, 50, 16), (5000, 3000, 8), (999, 40, 64)]
)
def test_updates_equal_those_of_the_torch_road(rule: str, count: int, rows: int, dim: int) -> None:
    if not able("fbgemm", rule):
        pytest.skip(f"no FBGEMM: {fbgemm()}")
    seeded = torch.Generator().manual_seed(count)
    weight = torch.randn(rows, dim, generator=seeded)
    batches = [
        (
            torch.randint(0, rows, (size,), generator=seeded),
            torch.randn(size, dim, generator=seeded),
        )
        for size in (count, 0, count)
    ]
    found = {}
    for asked in ("fbgemm", "torch"):
        table = weight.clone()
        optimizer = RowOptimizer(table, Optimizer(name=rule, eps=1e-6), asked)
        for step, (chosen, grads) in enumerate(batches, start=1):
            optimizer.update(chosen, grads, 0.05, 0.0, step)
        found[asked] = [table, *optimizer.slots.values()]
    assert not torch.equal(found["fbgemm"][0], weight)
    for one, two in zip(found["fbgemm"], found["torch"], strict=True):
        torch.testing.assert_close(one, two, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("weight", "rule", "weight_decay", "reason"),
    [
        (torch.zeros(2, 8), "adam", 0.0, "it has no adam"),
        (torch.zeros(2, 6), "adagrad", 0.0, "width 6 is not a multiple of 4"),
        (torch.zeros(2, 8).bfloat16(), "adagrad", 0.0, "stored as bfloat16"),
        (torch.zeros(2, 8), "adagrad", 0.1, "no weight decay"),
        (torch.zeros(2, 8, device="meta"), "sgd", 0.0, "it is on meta"),
        (torch.zeros(8, 8).T[:4], "sgd", 0.0, "not a plain contiguous tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_refuses(weight: Tensor, rule: str, weight_decay: float, reason: str) -> None:
    with pytest.raises(RuntimeError, match=f"FBGEMM can't update this table: .*{reason}"):
        choose_fbgemm("fbgemm", weight, rule, weight_decay)
    assert choose_fbgemm("auto", weight, rule, weight_decay) is None
    assert choose_fbgemm("torch", torch.zeros(2, 8), "sgd", 0.0) is None


def test_a_table_asked_for_what_it_refuses_says_so_before_training() -> None:
    with pytest.raises(RuntimeError, match="no adam"):
        RowOptimizer(torch.zeros(2, 8), Optimizer(name="adam"), "fbgemm")


def test_it_is_loaded_without_its_python_package() -> None:
    if not able("fbgemm", "sgd"):
        pytest.skip(f"no FBGEMM: {fbgemm()}")
    code = (
        "import sys; from graphrec.nn.native.fbgemm import fbgemm; print(type(fbgemm()).__name__);"
        "print([name for name in ('fbgemm_gpu', 'torchrec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["Fbgemm", "[]"]
