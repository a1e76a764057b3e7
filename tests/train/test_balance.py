"""Several losses made one: Pareto weights, learned uncertainty, and what a run does with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphrec.compiler.pipeline import check_recipe, compile_recipe
from graphrec.ground.errors import RecipeError
from graphrec.nn import Batch
from graphrec.train import checkpoint, train
from graphrec.train.balance import Pareto, Uncertainty, make_balance, pareto_weights
from graphrec.train.losses import Losses, TaskLosses

RECIPE = """
graphrec: 1
name: two
data: {synthetic: 600, workers: 0}
features:
  - {type: id, names: {user: 20, item: 30}, dim: 4}
graph:
  shared: {block: mlp, in: all, hidden: [8]}
  own:    {block: mlp, in: shared, each: tasks, hidden: [4]}
tasks:
  click: {label: click, in: own}
  buy:   {label: buy, in: own}
train: {epochs: 1, batch: 64, log_every: 3, seed: 3, save: {every: 1, keep: 99}}
"""


def weights(gradients: list[list[float]], least: list[float]) -> list[float]:
    rows = torch.tensor(gradients, dtype=torch.float64)
    return pareto_weights(rows @ rows.T, torch.tensor(least, dtype=torch.float64)).tolist()


@pytest.mark.parametrize(
    ("gradients", "least", "expected"),
    [
        ([[1, 0], [0, 2]], [0, 0], [0.8, 0.2]),
        ([[1, 0], [0, 2]], [0.4, 0.4], [0.6, 0.4]),
        ([[1, 1], [3, 3.2]], [0, 0], [1, 0]),
        ([[1, 0, 1], [0, 2, 0], [-1, 1, 0.5]], [0.1, 0.2, 0.1], [0.4, 0.2, 0.4]),
        ([[1, 2], [1, 2]], [0, 0], [0.5, 0.5]),
        ([[0, 0], [0, 0]], [0.5, 0.1], [0.7, 0.3]),
        ([[5]], [0.2], [1]),
    ],
)
def test_pareto_weights(gradients: Any, least: Any, expected: Any) -> None:
    assert weights(gradients, least) == pytest.approx(expected, abs=1e-9)


def test_the_scale_of_gradients_does_not_matter() -> None:
    rows = torch.randn(3, 9, generator=torch.Generator().manual_seed(1)).tolist()
    large = weights(rows, [0.1, 0.0, 0.2])
    small = weights([[x * 1e-6 for x in row] for row in rows], [0.1, 0.0, 0.2])
    assert small == pytest.approx(large, abs=1e-7)
    assert sum(large) == pytest.approx(1)
    assert large[0] >= 0.1 and large[1] >= 0 and large[2] >= 0.2


def losses(module: nn.Module, recipe: Any) -> Losses:
    generator = torch.Generator().manual_seed(0)
    ids = {"user": torch.randint(0, 20, (9,), generator=generator)}
    ids["item"] = torch.randint(0, 30, (9,), generator=generator)
    labels = {n: torch.randint(0, 2, (9,), generator=generator).float() for n in recipe.tasks}
    batch = Batch(ids, labels)
    return TaskLosses(recipe)(module(batch), batch)


@pytest.mark.parametrize("over", ["shared", "all"])
def test_pareto_reads_the_gradients_of_the_parameters_asked_for(over: str) -> None:
    compiled = compile_recipe(
        RECIPE, overrides=[f"train.balance={{pareto: {{min: {{buy: 0.1}}, over: {over}}}}}"]
    )
    module = compiled.module()
    balance = make_balance(compiled.recipe, module)
    assert isinstance(balance, Pareto) and not list(balance.parameters())
    found = losses(module, compiled.recipe)
    parameters = list(module.parameters())
    if over == "shared":
        parameters = list(module.get_submodule("shared").parameters())
    rows = []
    for key in ("bce_buy", "bce_click"):
        grads = torch.autograd.grad(
            found.parts[key], parameters, retain_graph=True, allow_unused=True
        )
        rows.append(torch.cat([dense(g, p) for g, p in zip(grads, parameters, strict=True)]))
    gram = torch.stack(rows).double() @ torch.stack(rows).double().T
    expected = pareto_weights(gram, torch.tensor([0.1, 0.0]))
    made = balance(found)
    assert [float(w) for w in balance.weights.values()] == pytest.approx(expected.tolist())
    assert list(balance.weights) == ["bce_buy", "bce_click"]
    terms = torch.stack([found.parts["bce_buy"], found.parts["bce_click"]])
    assert float(made.total.detach()) == pytest.approx(float((expected * terms).sum().detach()))
    assert made.balanced and made.parts is found.parts
    made.total.backward()
    assert all(p.grad is not None for p in module.parameters())


def dense(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros(parameter.numel())
    return (gradient.to_dense() if gradient.is_sparse else gradient).flatten()


def test_regularisation_is_added_with_weight_one() -> None:
    parts = {
        "bce_a": torch.tensor(0.5),
        "bce_b": torch.tensor(2.0),
        "g_feature_p_loss": torch.ones(()),
    }
    balance = Uncertainty({"bce_a": "a", "bce_b": "b"})
    with torch.no_grad():
        balance.log_variance.copy_(torch.tensor([0.0, 1.0]))
    made = balance(Losses(torch.zeros(()), parts, {}, {}))
    assert float(made.total.detach()) == pytest.approx(0.5 + 2.0 * 0.36787944 + 1.0 + 1.0)


class Quiet:
    quiet = False

    def result(self, text: str) -> None:
        pass

    remark = result


def run(base: Path, *overrides: str) -> Path:
    compiled = compile_recipe(RECIPE, overrides=overrides)
    return train(compiled, console=Quiet(), run_dir=base, command=["graphrec"]).folder


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "rows_per_s", "loader_share")}
        for r in found
    ]


@pytest.mark.parametrize("kind", ["uncertainty", "{pareto: {min: {buy: 0.3}}}"])
def test_a_balanced_run_resumes_and_shows_what_it_optimises(tmp_path: Path, kind: str) -> None:
    whole = run(tmp_path / "two", f"train.balance={kind}")
    shown = [r for r in lines(whole) if r["kind"] == "train"]
    assert all(r["loss"] != pytest.approx(r["click.loss"] + r["buy.loss"]) for r in shown)
    (scores,) = (r for r in lines(whole) if r["kind"] == "eval")
    assert scores["loss"] == pytest.approx(scores["click.loss"] + scores["buy.loss"])
    state = checkpoint.latest(whole / "checkpoints").optim()
    learned = state.get("balance/log_variance")
    assert (learned is not None and bool(learned.any())) == (kind == "uncertainty")

    copy = tmp_path / "again" / "two"
    shutil.copytree(whole, copy)
    for path in (copy / "checkpoints").glob("step-*"):
        if int(path.name.removeprefix("step-")) > 4:
            shutil.rmtree(path)
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**info, "finished": False}))
    assert run(copy, f"train.balance={kind}") == copy
    assert lines(copy) == lines(whole)
    for name in ("model.safetensors", "optim.safetensors"):
        first, again = (checkpoint.latest(f / "checkpoints").folder / name for f in (whole, copy))
        assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("balance", "code", "message"),
    [
        (
            "{pareto: {min: {click: 0.6, buy: 0.4}}}",
            "GR205",
            "the least weights of all losses are 1",
        ),
        ("{pareto: {min: {bye: 0.1}}}", "GR301", "no task `bye` with a loss"),
        ("{kind: uncertainty, over: all}", "GR205", "uncertainty has no `over`"),
        ("fair", "GR202", "expected one of none, pareto, uncertainty"),
    ],
)
def test_what_can_not_be_balanced_is_told(balance: str, code: str, message: str) -> None:
    found = check_recipe(RECIPE, overrides=[f"train.balance={balance}"]).problems
    assert [p.code for p in found] == [code] or code in [p.code for p in found]
    assert any(message in p.message for p in found), [p.message for p in found]


def test_one_loss_has_nothing_to_balance() -> None:
    given = ["train.balance=uncertainty", "tasks.buy=null"]
    (problem,) = check_recipe(RECIPE, overrides=given).problems
    assert "there is one loss" in problem.message


def test_the_canonical_recipe_says_the_balance_again() -> None:
    from graphrec.recipe import canonical

    asked = "train.balance={pareto: {min: {buy: 0.25}, over: all}}"
    compiled = compile_recipe(RECIPE, overrides=[asked])
    again = compile_recipe(canonical(compiled.recipe))
    assert again.recipe.train.balance == compiled.recipe.train.balance
    assert again.recipe.train.balance.min == {"buy": 0.25}


def test_a_task_of_frozen_tables_takes_no_part() -> None:
    shared = nn.Linear(2, 1)
    pareto = Pareto({"click": "click", "score": "score"}, shared, {}, "all")
    parts = [shared(torch.ones(1, 2)).sum(), torch.tensor(0.5)]
    assert pareto.weigh(parts).sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("balance", ["none", "uncertainty", "pareto"])
def test_nothing_to_train_is_refused(tmp_path: Path, balance: str) -> None:
    path = tmp_path / "frozen.yaml"
    text = RECIPE.replace("{type: id,", "{type: id, trainable: false,")
    path.write_text(
        text.partition("graph:")[0]
        + "graph: {score: sum(all)}\ntasks:\n  click: {label: click, logit: score}\n"
        + "  buy: {label: buy, logit: score}\n"
        + f"train: {{batch: 64, balance: {balance if balance != 'pareto' else '{pareto: {}}'}}}\n"
    )
    with pytest.raises(RecipeError, match="there is nothing to train"):
        train(compile_recipe(path), console=Quiet(), run_dir=tmp_path / "run")
