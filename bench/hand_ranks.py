"""DeepFM on torchrec by hand, one of several ranks: what a user writes from torchrec's tutorials.

    torchrun --nproc_per_node 2 -m bench.hand_ranks --rows 100000 --batch 4096 --steps 60

DistributedModelParallel with the planner's own choice, optimizers fused into the backward of
tables, Adam for the rest, `TrainPipelineSparseDist`. Its batches lie in memory: it pays for no
reading. Rank 0 prints one line of JSON: rows per second of the second half, and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.streamable import Pipelineable

IDS, NUMBERS, WIDTH, FIRST = 26, 13, 16, 4  # FBGEMM's rows are multiples of four
KINDS = 8  # different batches, again and again


class DeepFM(nn.Module):
    """Loss and logits [B] of a batch: ids, numbers [B, N], labels [B]."""

    def __init__(self, rows: int) -> None:
        from torchrec import EmbeddingBagCollection, EmbeddingBagConfig

        super().__init__()
        self.ids = [f"C{number + 1}" for number in range(IDS)]
        configs = [
            EmbeddingBagConfig(
                name=f"{kind}_{name}",
                embedding_dim=width,
                num_embeddings=rows,
                feature_names=[name],
            )
            for kind, width in (("deep", WIDTH), ("first", FIRST))
            for name in self.ids
        ]
        self.tables = EmbeddingBagCollection(configs, device=torch.device("meta"))
        self.vectors = nn.Parameter(torch.randn(NUMBERS, WIDTH) / 100)
        self.slopes = nn.Parameter(torch.zeros(NUMBERS))
        self.deep = _perceptron((IDS + NUMBERS) * WIDTH, 512, 256, 128)
        self.final = _perceptron(1 + WIDTH + 128, 64)
        self.head = nn.Linear(64, 1)

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        embedded = self.tables(batch.ids)
        vectors = torch.cat([embedded[f"{name}@deep_{name}"] for name in self.ids], 1)
        first = torch.cat([embedded[f"{name}@first_{name}"] for name in self.ids], 1)
        flat = torch.cat([vectors, (batch.numbers.unsqueeze(-1) * self.vectors).flatten(1)], 1)
        fields = flat.unflatten(1, (-1, WIDTH))
        linear = first[:, ::FIRST].sum(1) + batch.numbers @ self.slopes
        fm = 0.5 * (fields.sum(1).square() - fields.square().sum(1))
        hidden = self.final(torch.cat([linear.unsqueeze(1), fm, self.deep(flat)], 1))
        logits = self.head(hidden).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
        return loss, logits


def _perceptron(*widths: int) -> nn.Sequential:
    pairs = zip(widths, widths[1:], strict=False)
    return nn.Sequential(*(part for pair in pairs for part in (nn.Linear(*pair), nn.ReLU())))


@dataclass
class Rows(Pipelineable):
    """A rank's rows of a batch, as torchrec's pipelines want them."""

    ids: Any
    numbers: Tensor
    labels: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> Rows:
        return Rows(self.ids.to(device, non_blocking), self.numbers, self.labels)

    def record_stream(self, stream: Any) -> None:
        """Nothing to do on CPUs."""


def batches(rows: int, size: int, steps: int, rank: int) -> Iterator[Rows]:
    """The same few batches of random rows, again and again."""
    from torchrec import KeyedJaggedTensor

    random = torch.Generator().manual_seed(rank)
    names = [f"C{number + 1}" for number in range(IDS)]
    kinds = [
        Rows(
            KeyedJaggedTensor(
                keys=names,
                values=torch.randint(rows, (IDS * size,), generator=random),
                lengths=torch.ones(IDS * size, dtype=torch.int32),
            ),
            torch.randn(size, NUMBERS, generator=random),
            torch.randint(2, (size,), generator=random).float(),
        )
        for _ in range(KINDS)
    ]
    for step in range(steps):
        yield kinds[step % KINDS]


def main() -> None:
    """Be one of the ranks that torchrun started."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("--rows", 100_000), ("--batch", 4096), ("--steps", 60)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    pipeline = _pipeline(args.rows, args.batch)
    size = args.batch // dist.get_world_size()
    rows = batches(args.rows, size, args.steps, dist.get_rank())
    half, began = args.steps // 2, 0.0
    for step in range(args.steps):
        if step == half:
            began = time.perf_counter()
        pipeline.progress(rows)
    seconds = time.perf_counter() - began
    peak = [0.0] * dist.get_world_size()
    dist.all_gather_object(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if dist.get_rank() == 0:
        speed = (args.steps - half) * args.batch / seconds
        print(json.dumps({"rows_per_s": speed, "peak_mib": max(peak)}), flush=True)
    dist.destroy_process_group()


def _pipeline(rows: int, batch: int) -> Any:
    from torchrec.distributed.model_parallel import (
        DistributedModelParallel,
        get_default_sharders,
    )
    from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
    from torchrec.distributed.train_pipeline import TrainPipelineSparseDist
    from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
    from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizerWrapper
    from torchrec.optim.optimizers import in_backward_optimizer_filter

    torch.manual_seed(0)
    device, world = torch.device("cpu"), dist.get_world_size()
    model = DeepFM(rows)
    apply_optimizer_in_backward(torch.optim.Adagrad, model.tables.parameters(), {"lr": 0.02})
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=world, compute_device="cpu", local_world_size=world),
        batch_size=batch // world,
    )
    plan = planner.collective_plan(model, get_default_sharders(), dist.GroupMember.WORLD)
    sharded = DistributedModelParallel(model, device=device, plan=plan)
    dense = KeyedOptimizerWrapper(
        dict(in_backward_optimizer_filter(sharded.named_parameters())),
        lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    )
    optimizer = CombinedOptimizer([sharded.fused_optimizer, dense])
    return TrainPipelineSparseDist(sharded, optimizer, device, execute_all_batches=True)


if __name__ == "__main__":
    main()
