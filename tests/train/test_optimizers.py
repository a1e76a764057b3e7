"""Dense and sparse optimizers against torch's own; state, groups, clipping, accumulation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from graphrec.ground.errors import RecipeError
from graphrec.nn.batch import Jagged
from graphrec.nn.embedding import Embeddings
from graphrec.nn.tables import Dense, Lookup, Table
from graphrec.recipe.model import Recipe
from graphrec.recipe.training import Optimizer
from graphrec.train import dense_optimizers as dense
from graphrec.train.optimizers import Optimizers, make_optimizers

ROWS, DIM, BATCH, STEPS = 17, 4, 12, 20
ITEM = {"rows": ROWS, "dim": DIM, "init": "normal(1)"}


def make_recipe(**train: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "graphrec": 1,
            "name": "toy",
            "features": {"x": {"type": "dense", "name": "x"}},
            "tasks": {
                "t": {"label": {"column": "y"}, "in": "x", "loss": {"bce": {}}, "metrics": []}
            },
            "train": train,
        }
    )


def optimizer(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, **settings}


class Shop(nn.Module):
    """A table shared by a target, a pooled column and a history; another; a frozen one; an MLP."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        tables = [
            Table("item", **ITEM),
            Table("other", **ITEM),
            Table("still", **ITEM, trainable=False),
        ]
        lookups = [
            Lookup("target", table="item"),
            Lookup("b", table="other"),
            Lookup("tag", table="item", pool="mean"),
            Lookup("hist.target", table="item", sequence=True),
            Lookup("f", table="still"),
            Dense("p", dim=DIM),
            Dense("q", dim=DIM),
        ]
        self.embeddings = Embeddings(tables, lookups)
        self.tower_ctr = nn.Sequential(nn.Linear(7 * DIM, 8), nn.ReLU(), nn.Linear(8, 1))
        torch.manual_seed(1)
        for layer in (self.embeddings, self.tower_ctr[0], self.tower_ctr[2]):
            layer.reset_parameters()

    def forward(self, features: dict[str, Tensor | Jagged]) -> Tensor:
        embedded = self.embeddings(features)
        steps = embedded.sequence("hist")
        history = torch.zeros(steps.num_rows, DIM).index_add(0, steps.rows(), steps.values)
        x = torch.cat([embedded.concat(["b", "f", "p", "q", "tag", "target"]), history], dim=1)
        out: Tensor = self.tower_ctr(x)
        return out


def batches(count: int = STEPS, rows: int = 6) -> list[tuple[dict[str, Tensor | Jagged], Tensor]]:
    """Few distinct ids, so that every batch has duplicates within and across columns."""
    draw = torch.Generator().manual_seed(0)

    def ids(n: int) -> Tensor:
        return torch.randint(0, rows, (n,), generator=draw)

    def bags() -> Jagged:
        lengths = torch.randint(0, 3, (BATCH,), generator=draw)
        return Jagged(ids(int(lengths.sum())), lengths)

    found = []
    for _ in range(count):
        features: dict[str, Tensor | Jagged] = {name: ids(BATCH) for name in ("target", "b", "f")}
        features |= {"tag": bags(), "hist.target": bags()}
        features |= {name: torch.randn(BATCH, 1, generator=draw) for name in ("p", "q")}
        found.append((features, torch.randn(BATCH, 1, generator=draw)))
    return found


def loss_of(module: nn.Module, batch: tuple[dict[str, Tensor | Jagged], Tensor]) -> Tensor:
    return (module(batch[0]) - batch[1]).square().mean()


def train(module: nn.Module, optimizers: Optimizers, data: list[Any]) -> list[float]:
    losses = []
    for batch in data:
        optimizers.zero_grad()
        loss = loss_of(module, batch)
        loss.backward()
        optimizers.step()
        losses.append(loss.item())
    return losses


def reference(module: Shop, dense: Any, sparse: Any, data: list[Any]) -> None:
    """The same training, tables by torch's optimizer on a dense gradient of the packed tensor."""
    table = module.embeddings.packed_4
    others = [p for p in module.parameters() if p.requires_grad and p is not table]
    first, second = dense(others), sparse([table])
    for batch in data:
        module.zero_grad()
        loss_of(module, batch).backward()
        if not isinstance(second, torch.optim.SparseAdam):
            table.grad = table.grad.to_dense()
        first.step()
        second.step()


def equal(one: nn.Module, two: nn.Module, tolerance: float = 1e-6) -> None:
    mine, theirs = one.state_dict(), two.state_dict()
    assert list(mine) == list(theirs)
    for key, value in mine.items():
        torch.testing.assert_close(value, theirs[key], rtol=tolerance, atol=tolerance, msg=key)


PAIRS = {
    "adagrad": (optimizer("adagrad"), lambda p: torch.optim.Adagrad(p, lr=0.05, eps=1e-10)),
    "adam": (optimizer("adam", eps=1e-8), lambda p: torch.optim.SparseAdam(p, lr=0.05, eps=1e-8)),
    "sgd": (optimizer("sgd"), lambda p: torch.optim.SGD(p, lr=0.05)),
}


@pytest.mark.parametrize("kernel", ["auto", "torch"])
@pytest.mark.parametrize("name", sorted(PAIRS))
def test_tables_follow_the_dense_reference(name: str, kernel: str) -> None:
    settings, sparse = PAIRS[name]
    recipe = make_recipe(lr={"dense": 0.01, "sparse": 0.05}, optim={"sparse": settings})
    mine, theirs = Shop(), Shop()
    mine.embeddings.kernel = kernel
    frozen = mine.state_dict()["embeddings.still.weight"].clone()
    train(mine, make_optimizers(mine, recipe), batches())
    reference(theirs, lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-10), sparse, batches())
    equal(mine, theirs)
    assert torch.equal(mine.state_dict()["embeddings.still.weight"], frozen)


def test_rowwise_adagrad_keeps_one_number_a_row() -> None:
    recipe = make_recipe(lr={"sparse": 0.05}, optim={"sparse": optimizer("rowwise_adagrad")})
    module, theirs = Shop(), Shop()
    optimizers = make_optimizers(module, recipe)
    table = theirs.embeddings.packed_4
    total = torch.zeros(2 * ROWS, 1)
    second = make_optimizers(theirs, recipe)
    for batch in batches():
        loss_of(theirs, batch).backward()
        grad = table.grad.to_dense()
        expected = table.detach() - 0.05 * grad / (
            (total + grad.square().mean(1, keepdim=True)).sqrt() + 1e-10
        )
        total += grad.square().mean(1, keepdim=True)
        expected = torch.where(grad.abs().sum(1, keepdim=True) > 0, expected, table.detach())
        second.step()
        torch.testing.assert_close(table.detach(), expected, rtol=1e-6, atol=1e-6)
        train(module, optimizers, [batch])
    state = optimizers.state_dict()
    assert state["sparse/embeddings.item/sum"].shape == (ROWS, 1)
    torch.testing.assert_close(
        state["sparse/embeddings.item/sum"], total[:ROWS], rtol=1e-5, atol=1e-7
    )


DENSE = {
    "adam": (
        optimizer("adam", betas=[0.8, 0.9]),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.9), eps=1e-10),
    ),
    "adamw": (
        optimizer("adamw", weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-10, weight_decay=0.1),
    ),
    "adagrad": (optimizer("adagrad"), lambda p: torch.optim.Adagrad(p, lr=0.01, eps=1e-10)),
    "sgd": (optimizer("sgd", momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
}


@pytest.mark.parametrize("name", sorted(DENSE))
def test_dense_parameters_follow_torch(name: str) -> None:
    settings, dense = DENSE[name]
    recipe = make_recipe(lr={"dense": 0.01, "sparse": 0.05}, optim={"dense": settings})
    mine, theirs = Shop(), Shop()
    train(mine, make_optimizers(mine, recipe), batches())
    reference(theirs, dense, PAIRS["adagrad"][1], batches())
    equal(mine, theirs)


@pytest.mark.parametrize("name", ["adagrad", "rowwise_adagrad", "adam", "sgd"])
def test_only_rows_of_the_batch_are_touched(name: str) -> None:
    recipe = make_recipe(optim={"sparse": optimizer(name, weight_decay=0.1)})
    module = Shop()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    optimizers = make_optimizers(module, recipe)
    train(module, optimizers, batches(rows=6))
    for key in ("embeddings.item.weight", "embeddings.other.weight"):
        after = module.state_dict()[key]
        assert torch.equal(after[6:], before[key][6:])
        assert (after[:6] != before[key][:6]).any(dim=1).all()
    for key, slot in optimizers.state_dict().items():
        if key.startswith("sparse/"):
            assert slot[6:].abs().sum() == 0 and slot[:6].abs().sum() > 0


def test_weight_decay_is_l2_on_touched_rows() -> None:
    recipe = make_recipe(lr={"sparse": 0.05}, optim={"sparse": optimizer("sgd", weight_decay=0.5)})
    module = Shop()
    batch = batches(1)[0]
    table = module.embeddings.packed_4
    loss_of(module, batch).backward()
    grad = table.grad.to_dense()
    touched = torch.zeros(2 * ROWS, 1).index_fill(0, table.grad._indices()[0], 1.0)
    expected = table.detach() - 0.05 * (grad + 0.5 * touched * table.detach())
    make_optimizers(module, recipe).step()
    torch.testing.assert_close(table.detach(), expected, rtol=1e-6, atol=1e-6)


def test_bf16_tables_are_updated_in_float32() -> None:
    module = Embeddings(
        [Table("t", rows=4, dim=2, init="zeros", dtype="bf16")], [Lookup("a", table="t")]
    )
    recipe = make_recipe(lr={"sparse": 0.5}, optim={"sparse": optimizer("adagrad")})
    optimizers = make_optimizers(nn.ModuleDict({"embeddings": module}), recipe)
    (
        module({"a": torch.tensor([1, 1, 3])}).concat(["a"]) * torch.tensor([2.0, -4.0])
    ).sum().backward()
    optimizers.step()
    assert module.packed_2_bf16.tolist() == [[0, 0], [-0.5, 0.5], [0, 0], [-0.5, 0.5]]
    state = optimizers.state_dict()["sparse/embeddings.t/sum"]
    assert state.dtype == torch.float32 and state[1].tolist() == [16.0, 64.0]


# ---- accumulation, clipping, schedule, groups -------------------------------------------------


@pytest.mark.parametrize("name", ["adagrad", "adam", "sgd", "rowwise_adagrad"])
def test_accumulating_batches_is_one_batch_of_all_their_rows(name: str) -> None:
    def joined(one: Any, two: Any) -> Any:
        if isinstance(one, dict):
            return {k: joined(one[k], two[k]) for k in one}
        if isinstance(one, Jagged):
            return Jagged(joined(one.values, two.values), joined(one.lengths, two.lengths))
        return torch.cat([one, two])

    data = batches(8)
    large = [
        (joined(a[0], b[0]), joined(a[1], b[1])) for a, b in zip(data[::2], data[1::2], strict=True)
    ]
    settings = {"optim": {"sparse": optimizer(name), "dense": optimizer("sgd")}, "clip": 0.5}
    one, two = Shop(), Shop()
    small = make_optimizers(one, make_recipe(accumulate=2, **settings))
    train(one, small, data)
    train(two, make_optimizers(two, make_recipe(**settings)), large)
    assert small.updates == 4
    equal(one, two, 1e-5)


def test_flush_takes_the_mean_of_what_is_there() -> None:
    one, two = Shop(), Shop()
    early = make_optimizers(one, make_recipe(accumulate=3))
    exact = make_optimizers(two, make_recipe(accumulate=2))
    for optimizers, module in ((early, one), (exact, two)):
        train(module, optimizers, batches(2))
    assert early.pending == 2 and exact.pending == 0
    with pytest.raises(RuntimeError, match="between updates"):
        early.state_dict()
    assert early.flush() and not early.flush()
    equal(one, two, 0)


def test_discard_throws_away_what_was_accumulated() -> None:
    module = Shop()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    optimizers = make_optimizers(module, make_recipe(accumulate=2))
    train(module, optimizers, batches(1))
    optimizers.discard()
    assert not optimizers.flush()
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_clip_bounds_the_dense_gradient_alone() -> None:
    moved = {}
    for clip in (None, 1e-3):
        module = Shop()
        before = {k: v.clone() for k, v in module.state_dict().items()}
        train_settings: dict[str, Any] = {
            "optim": {"dense": optimizer("sgd"), "sparse": optimizer("sgd")}
        }
        train_settings["lr"] = {"dense": 1.0, "sparse": 1.0}
        train(module, make_optimizers(module, make_recipe(clip=clip, **train_settings)), batches(1))
        moved[clip] = {k: (v - before[k]) for k, v in module.state_dict().items()}
    tables = ("embeddings.item.weight", "embeddings.other.weight", "embeddings.still.weight")
    norm = sum(v.square().sum() for k, v in moved[1e-3].items() if k not in tables) ** 0.5
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)
    assert all(torch.equal(moved[None][k], moved[1e-3][k]) for k in tables)


def test_the_schedule_is_a_factor_on_both_rates() -> None:
    settings: dict[str, Any] = {"optim": {"dense": optimizer("sgd"), "sparse": optimizer("sgd")}}
    half = {"warmup": 2, "warmup_from": 0.5}
    one, two = Shop(), Shop()
    scheduled = make_optimizers(
        one, make_recipe(lr={"dense": 0.2, "sparse": 0.4}, schedule=half, **settings)
    )
    assert scheduled.factor == 0.5
    train(one, scheduled, batches(1))
    assert scheduled.factor == 0.75
    train(
        two,
        make_optimizers(two, make_recipe(lr={"dense": 0.1, "sparse": 0.2}, **settings)),
        batches(1),
    )
    equal(one, two, 0)


def test_a_schedule_over_the_run_needs_its_length() -> None:
    recipe = make_recipe(schedule={"kind": "cosine"})
    with pytest.raises(ValueError, match="`cosine` needs the number of updates"):
        make_optimizers(Shop(), recipe)
    assert make_optimizers(Shop(), recipe, updates=10).factor == 1.0


def test_groups_change_rate_and_decay_of_nodes() -> None:
    recipe = make_recipe(
        lr={"dense": 0.1, "sparse": 0.2},
        groups={
            "tower*": {"lr": 0.3},
            "tower.ctr": {"weight_decay": 0.5},
            "embeddings": {"lr": 0.7},
        },
    )
    optimizers = make_optimizers(Shop(), recipe)
    assert optimizers.dense is not None
    rates = [(g.lr, g.weight_decay, len(g.params)) for g in optimizers.dense.groups]
    assert sorted(rates) == [(0.3, 0.5, 4), (0.7, 0.0, 1)]
    assert [(table.lr, table.weight_decay) for table in optimizers.tables] == [(0.7, 0.0)]


def test_globs_of_nodes_leave_tables_alone() -> None:
    optimizers = make_optimizers(Shop(), make_recipe(groups={"*": {"lr": 0.3}}))
    assert [table.lr for table in optimizers.tables] == [0.02]


def test_a_glob_that_matches_nothing_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        make_optimizers(
            Shop(), make_recipe(groups={"towr.ctr": {"lr": 0.3}, "tower*": {"lr": 1.0}})
        )
    (problem,) = caught.value.problems
    assert problem.code == "GR301" and problem.path == "train.groups.towr.ctr"
    assert "tower_ctr" in problem.help


def test_parameters_of_losses_are_trained_too() -> None:
    class Balance(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.s = nn.Parameter(torch.zeros(()))

    module, balance = Shop(), Balance()
    optimizers = make_optimizers(module, make_recipe(), extra={"balance": balance})
    (loss_of(module, batches(1)[0]) * torch.exp(balance.s)).backward()
    optimizers.step()
    assert balance.s.item() == pytest.approx(-1e-3)
    assert "dense/balance.s/exp_avg" in optimizers.state_dict()


# ---- state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dense", sorted(DENSE))
@pytest.mark.parametrize("sparse", ["adagrad", "adam", "sgd", "rowwise_adagrad"])
def test_a_resumed_run_is_the_unbroken_run_bit_for_bit(dense: str, sparse: str) -> None:
    recipe = make_recipe(
        optim={"dense": DENSE[dense][0], "sparse": optimizer(sparse)},
        schedule={"kind": "exponential", "gamma": 0.5, "every": 3, "warmup": 2},
    )
    data = batches(8)
    unbroken = Shop()
    whole = make_optimizers(unbroken, recipe)
    train(unbroken, whole, data)

    first, second = Shop(), Shop()
    begun = make_optimizers(first, recipe)
    train(first, begun, data[:4])
    weights, state = load(save(first.state_dict())), load(save(begun.state_dict()))
    resumed = make_optimizers(second, recipe)
    train(second, resumed, data[5:6])  # anything: loading replaces it
    second.load_state_dict(weights)
    resumed.load_state_dict(state)
    train(second, resumed, data[4:])
    equal(second, unbroken, 0)
    mine, theirs = resumed.state_dict(), whole.state_dict()
    assert list(mine) == list(theirs) and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_a_state_before_the_first_update_loads() -> None:
    one, two = Shop(), Shop()
    fresh = make_optimizers(one, make_recipe()).state_dict()
    later = make_optimizers(two, make_recipe())
    train(two, later, batches(2))
    later.load_state_dict(fresh)
    assert {k: v.tolist() for k, v in later.state_dict().items()} == {
        k: v.tolist() for k, v in fresh.items()
    }


def test_keys_of_state_are_tables_and_parameters() -> None:
    module = Shop()
    optimizers = make_optimizers(module, make_recipe())
    train(module, optimizers, batches(1))
    shapes = {k: tuple(v.shape) for k, v in optimizers.state_dict().items()}
    assert (
        shapes["sparse/embeddings.item/sum"] == shapes["sparse/embeddings.other/sum"] == (ROWS, DIM)
    )
    assert shapes["dense/embeddings.p.weight/exp_avg"] == (1, DIM)
    assert shapes["dense/tower_ctr.0.weight/exp_avg_sq"] == (8, 7 * DIM)
    assert not any("still" in key for key in shapes)


def test_state_of_another_optimizer_or_model_is_refused() -> None:
    module = Shop()
    optimizers = make_optimizers(module, make_recipe())
    train(module, optimizers, batches(1))
    state = optimizers.state_dict()
    other = make_optimizers(Shop(), make_recipe(optim={"sparse": optimizer("adam")}))
    with pytest.raises(ValueError, match="`sparse/embeddings.item/exp_avg` .* is missing"):
        other.load_state_dict(state)
    key = "dense/tower_ctr.0.weight/exp_avg"
    for change, message in (
        ({key: None}, f"`{key}` is missing"),
        ({key: torch.zeros(2)}, "has shape"),
        ({"dense/nothing/step": torch.zeros(())}, "`dense/nothing/step` belongs to nothing"),
        ({"sparse/embeddings.item/sum": torch.zeros(2, 2)}, "is of shape"),
    ):
        wrong = {k: v for k, v in {**state, **change}.items() if v is not None}
        with pytest.raises(ValueError, match=message):
            make_optimizers(Shop(), make_recipe()).load_state_dict(wrong)


def test_training_is_deterministic() -> None:
    found = []
    for _ in range(2):
        module = Shop()
        found.append((train(module, make_optimizers(module, make_recipe()), batches()), module))
    assert found[0][0] == found[1][0]
    equal(found[0][1], found[1][1], 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparse": optimizer("adamw")}, "`adamw` is for dense parameters"),
        ({"dense": optimizer("rowwise_adagrad")}, "`rowwise_adagrad` is for tables"),
    ],
)
def test_optimizers_of_the_other_side_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_optimizers(Shop(), make_recipe(optim=settings))


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("compiled", [True, False])
def test_adam_is_that_of_torch(name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled and dense.adam_kernel() is None:
        pytest.skip("nothing can be compiled here")
    if not compiled:
        monkeypatch.setattr(dense, "adam_kernel", lambda: None)
    torch.manual_seed(0)
    shapes = [(300, 70), (16385,), (1,), (0, 4)]
    mine = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().double()) for p in mine]
    settings = Optimizer(name=name, betas=(0.8, 0.99), eps=1e-6)
    groups = [dense.Group(mine[:2], 0.01, 0.1), dense.Group(mine[2:], 0.02)]
    ours = dense.DenseOptimizer(settings, groups)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    exact = kind(
        [
            {"params": theirs[:2], "lr": 0.01, "weight_decay": 0.1},
            {"params": theirs[2:], "lr": 0.02, "weight_decay": 0.0},
        ],
        betas=(0.8, 0.99),
        eps=1e-6,
    )
    for step in range(20):
        for one, other in zip(mine, theirs, strict=True):
            grad = torch.randn(one.shape) * 10.0 ** (step % 5 - 3)
            one.grad = grad.t().contiguous().t() if grad.dim() == 2 else grad  # strides of its own
            other.grad = grad.double()
        if step < 3:  # begins later than the others
            mine[2].grad = theirs[2].grad = None
        ours.step()
        exact.step()
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=2e-6)
        assert float(ours.state[one]["step"]) == float(exact.state[other]["step"])
