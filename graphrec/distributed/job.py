"""What `train` needs of many processes: rank 0 goes the way of one process, the others follow it.

Whatever rank 0 does that concerns all, it says first; a follower does what it is told, in that
order, until training is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce

from graphrec.compiler.pipeline import Compiled
from graphrec.data import DataSet, Encoder, open_data
from graphrec.distributed.engine import Engine, Tables
from graphrec.distributed.loader import RankLoader
from graphrec.distributed.preview import id_lengths, plan_data, plan_text
from graphrec.distributed.ranks import Ranks
from graphrec.distributed.refusals import refuse
from graphrec.distributed.replicas import Replicas
from graphrec.distributed.saving import model_parts, optim_parts
from graphrec.distributed.trainer import RankTrainer
from graphrec.ground.errors import Interrupted
from graphrec.ground.text import write_text
from graphrec.nn.activations import BatchNorm
from graphrec.nn.embedding import without_tables
from graphrec.recipe import recipe_hash
from graphrec.recipe.model import Recipe
from graphrec.train.balance import Balance, Pareto, make_balance
from graphrec.train.loop import OneProcess, known_updates
from graphrec.train.optimizers import make_optimizers
from graphrec.train.progress import Console, Progress
from graphrec.train.run import Run
from graphrec.train.run_files import run_files
from graphrec.train.saving import try_saving
from graphrec.train.signals import Signals
from graphrec.train.trainer import Trainer

__all__ = ["ManyProcesses", "follow"]


class ManyProcesses(OneProcess):
    """The parts of a run on rank 0, made together with all other ranks."""

    def __init__(self, ranks: Ranks, compiled: Compiled) -> None:
        refuse(compiled.recipe, compiled.graph, ranks.device.type)
        self.ranks = ranks

    def open_run(self, base: Path, identity: dict[str, str], console: Console) -> Run:
        run = super().open_run(base, identity, console)
        self._say("folder", str(run.folder))
        return run

    def fit(self, recipe: Recipe, data: DataSet) -> Encoder:
        return super().fit(recipe, data)

    def trainer(
        self,
        compiled: Compiled,
        data: DataSet,
        encoder: Encoder,
        run: Run,
        device: torch.device,
    ) -> Trainer:
        self._say("trainer")
        trainer = _trainer(self.ranks, compiled, data, encoder, run)
        trainer.lead = self._say
        plan = trainer.engine.plan
        write_text(run.folder / "plan.txt", plan_text(plan) + "\n")
        write_text(run.folder / "plan.json", json.dumps(plan_data(plan), indent=1) + "\n")
        return trainer

    def try_saving(self, trainer: Trainer) -> None:
        assert isinstance(trainer, RankTrainer)
        model, rest = Trainer.state(trainer)
        shards = trainer.engine.shards
        parts = {**model_parts(shards, first=True), **optim_parts(shards, first=True)}
        # Not by their own names: a part alone is no table.
        numbered = {f"part {number}": part for number, part in enumerate(parts.values())}
        try_saving(trainer.saver.parent, ({**model, **numbered}, rest))

    def _say(self, command: str, value: Any = None) -> None:
        self.ranks.broadcast((command, value))


class _Follower(Run):
    """The run folder on a rank that writes nothing into it but its parts of checkpoints."""

    def record(self, record: Mapping[str, Any]) -> None:
        self.records.append(dict(record))


class _Silent:
    """A console, and a TensorBoard, of which nothing comes."""

    quiet = True
    missing = False

    def result(self, text: str) -> None:
        pass

    def remark(self, text: str) -> None:
        pass

    def record(self, record: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def follow(ranks: Ranks, compiled: Compiled) -> None:
    """Be one of the ranks that rank 0 leads, to the end of training.

    Raises what `train` raises for a mistake of its own; SystemExit after a signal.
    """
    recipe = compiled.recipe
    refuse(recipe, compiled.graph, ranks.device.type)
    data = open_data(recipe)
    run: Run | None = None
    trainer: RankTrainer | None = None
    while True:
        told: tuple[str, Any] = ranks.broadcast(None)
        command, value = told
        if command == "folder":
            run = _Follower(Path(value))
        elif command == "trainer":
            assert run is not None
            encoder = Encoder.load(recipe, run.folder)
            trainer = _trainer(ranks, compiled, data, encoder, run)
        elif command == "restore":
            assert trainer is not None
            trainer.restore(value)
        elif command == "train":
            assert trainer is not None
            silent: Any = _Silent()
            with Signals() as signals, Progress(silent, None) as progress:
                trainer.run(progress, signals, silent)
            if signals.received is not None and not trainer.position.finished:
                raise Interrupted(signals.status)
            return


def _trainer(
    ranks: Ranks, compiled: Compiled, data: DataSet, encoder: Encoder, run: Run
) -> RankTrainer:
    recipe = compiled.recipe
    train, seed, batch = recipe.train, recipe.train.seed, recipe.train.batch
    loader = RankLoader(recipe, encoder, data.train, batch, ranks, shuffle=True, seed=seed)
    evaluated = None
    if data.eval is not None:
        evaluated = RankLoader(
            recipe, encoder, data.eval, batch, ranks, shuffle=False, seed=seed, whole=True
        )
    with without_tables():
        module = compiled.module(encoder.rows, run.folder / "model.py")
    weighted = frozenset(field.key for field in encoder.plan.fields if field.weights)
    tables = Tables(module, weighted)
    module = module.to(ranks.device)
    balance = make_balance(recipe, module)
    learned = {} if balance is None else {"balance": balance.to(ranks.device)}
    optimizers = make_optimizers(
        module, recipe, known_updates(recipe, loader), learned, [*tables.readings]
    )
    parts = (recipe, compiled.graph, module, optimizers, loader, evaluated, run)
    trainer = RankTrainer(*parts, recipe_hash(recipe), ranks.device, balance)
    trainer.saver.run_files = run_files(run.folder)
    engine = Engine(
        module,
        tables,
        ranks,
        batch,
        wishes=train.shard,
        lengths=id_lengths(recipe),
        optimizer=train.optim.sparse,
        rates={owner: rate for owner, (rate, _) in optimizers.table_rates.items()},
        losses=trainer.loss,
        before=trainer.before_backward,
        after=trainer.after_backward,
        context=trainer._autocast,
        extra=balance,
    )
    _share_batches(module, balance)
    rates = {owner: rate for owner, (rate, _) in optimizers.table_rates.items()}
    trainer.start(ranks, engine, Replicas(engine.dmp, engine.shards, train.optim.sparse, rates))
    # Weights have seeds of their own; this one is for dropout, which every rank draws for its rows.
    torch.manual_seed(seed + 1_000_003 * ranks.rank)
    return trainer


def _share_batches(module: nn.Module, balance: Balance | None) -> None:
    """Let what is made of the rows of a batch be made of those of all ranks."""
    for part in module.modules():
        if isinstance(part, BatchNorm):
            part.over_ranks = all_reduce
    if isinstance(balance, Pareto):
        balance.over_ranks = _mean


def _mean(grad: torch.Tensor) -> torch.Tensor:
    total = grad.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
