"""What can't be had on many processes, told before the first row is read."""

from __future__ import annotations

from collections.abc import Iterator

from graphrec.graph import Graph, Group
from graphrec.ground.errors import Problem, RecipeError, suggestion
from graphrec.recipe.model import Recipe

__all__ = ["refuse"]

_BATCHWISE = {
    "info_nce": "compares a row with the other rows of its batch, which other ranks hold",
}
"""Blocks that need the whole batch on one process, and why."""
_ONE = "train this recipe on one process"


def refuse(recipe: Recipe, graph: Graph, device: str) -> None:
    """RecipeError (GR901) with everything that ranks on this kind of device can't do."""
    problems = [*_tables(recipe, device), *_training(recipe), *_model(recipe, graph)]
    if problems:
        raise RecipeError(problems)


def _tables(recipe: Recipe, device: str) -> Iterator[Problem]:
    train = recipe.train
    sparse = train.optim.sparse
    if sparse.name == "adam" and device == "cpu":
        yield _problem(
            recipe,
            "train.optim",
            "adam on tables has no fused form on CPUs in FBGEMM",
            "use adagrad, rowwise_adagrad or sgd for the tables: "
            "-o train.optim='{dense: adam, sparse: rowwise_adagrad}'",
        )
    if sparse.weight_decay:
        yield _problem(
            recipe,
            "train.optim",
            "weight decay on tables is not the same rule in the fused optimizers",
            "take weight_decay away from the tables' optimizer",
        )
    if sparse.name == "rowwise_adagrad":
        for table in sorted(t for t, way in train.shard.items() if way == "column_wise"):
            yield _problem(
                recipe,
                f"train.shard.{table}",
                "column_wise and rowwise_adagrad: every part would have an accumulator of its own, "
                "which is another algorithm",
                "shard it row_wise, or use adagrad for the tables",
            )


def _training(recipe: Recipe) -> Iterator[Problem]:
    train = recipe.train
    if train.accumulate > 1:
        yield _problem(
            recipe,
            "train.accumulate",
            "tables are updated in the backward pass of every batch: nothing can be accumulated",
            f"one batch of the whole size is the same sum: -o train.accumulate=1 "
            f"-o train.batch={train.batch * train.accumulate}",
        )
    if train.balance.kind == "pareto" and train.balance.over == "all":
        yield _problem(
            recipe,
            "train.balance",
            "Pareto weights over the tables need their gradients before they are updated",
            "weigh the shared dense parameters: {pareto: {over: shared}}",
        )
    if train.compile:
        yield _problem(
            recipe,
            "train.compile",
            "torch.compile does not see through sharded lookups here",
            "-o train.compile=false",
        )
    if train.memory == "low":
        yield _problem(
            recipe,
            "train.memory",
            "nodes computed again were not tried beside lookups that other ranks answer",
            "-o train.memory=normal",
        )


def _model(recipe: Recipe, graph: Graph) -> Iterator[Problem]:
    for node in graph.nodes:
        why = _BATCHWISE.get(node.label)
        if why is None and node.is_loss and node.role != "loss":
            why = "is a mean over the rows that one process has"
        if isinstance(node.op, Group) and node.op.regularize:
            why = "has variational dropout, which divides by the rows that one process has"
        if why is not None:
            reason = f"node `{node.name}` ({node.label}) {why}"
            yield Problem("GR901", reason, node.span, f"graph.{node.origin or node.name}", _ONE)
    if recipe.retrieval is not None:
        yield _problem(
            recipe,
            "retrieval",
            "the items that rows are compared with are drawn and held by one process",
            _ONE,
        )
    for name in recipe.losses:
        yield _problem(
            recipe,
            f"losses.{name}",
            f"the term `{name}` is a mean over the rows that one process has",
            _ONE,
        )
    for name, task in sorted(recipe.tasks.items()):
        for loss in task.loss:
            if recipe.measures.losses[loss].group:
                yield _problem(
                    recipe,
                    f"tasks.{name}.loss",
                    f"{loss} compares the rows of a session, which other ranks may hold",
                    f"{_ONE}, or use a loss of single rows",
                )
    for table in (*graph.tables, *graph.first_order_tables):
        if table.dtype != "fp32" and table.trainable:
            yield _problem(
                recipe,
                f"features.{table.name}.dtype",
                f"table `{table.name}` is stored in {table.dtype}: sharded tables are fp32",
                "leave dtype out",
            )
    known = {table.name for table in graph.tables}
    for name in recipe.train.shard:
        if name != "*" and name not in known:
            yield _problem(
                recipe,
                f"train.shard.{name}",
                f"no table is called `{name}`",
                suggestion(name, sorted(known)),
            )


def _problem(recipe: Recipe, path: str, message: str, help: str) -> Problem:
    origin = recipe.origin
    span = origin.key(path) if origin else None
    return Problem("GR901", message, span, path, help)
