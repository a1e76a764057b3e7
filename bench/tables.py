"""Embedding tables: lookup, gradient and exact Adagrad of 26 features, beside torch and FBGEMM.

    python bench/tables.py [--rows 100000] [--batch 4096] [--threads 2] [--windows 7]

All candidates run in one process, taking turns window by window; medians of the windows are
printed, wall and process CPU time, with ratios to the first. Their weights are compared first.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn

from graphrec.nn import native
from graphrec.nn.embedding import Embeddings
from graphrec.nn.tables import Lookup, Table
from graphrec.recipe.training import Optimizer
from graphrec.train.sparse import RowOptimizer

FEATURES = 26
LR, EPS = 0.02, 1e-10
NAMES = [f"C{number:02d}" for number in range(FEATURES)]

Step = Callable[[list[Tensor], Tensor], None]
Weights = Callable[[], Tensor]


def graphrec_step(initial: list[Tensor], kernel: str) -> tuple[Step, Weights]:
    """Packed tables with the row optimizer, on the compiled kernel or on torch's operators."""
    rows, dim = initial[0].shape
    tables = [Table(name, rows=rows, dim=dim, init="zeros") for name in NAMES]
    module = Embeddings(tables, [Lookup(name, table=name) for name in NAMES])
    module.load_state_dict({f"{n}.weight": w for n, w in zip(NAMES, initial, strict=True)})
    module.kernel = kernel
    weight = module.get_parameter(module.packs[0].name)
    optimizer = RowOptimizer(weight, Optimizer(name="adagrad", eps=EPS), kernel)

    def step(ids: list[Tensor], grad: Tensor) -> None:
        out = module(dict(zip(NAMES, ids, strict=True))).concat(NAMES)
        out.backward(grad)
        assert weight.grad is not None
        optimizer.update(weight.grad._indices()[0], weight.grad._values(), LR, 0.0, 1)
        weight.grad = None

    return step, lambda: weight.detach()


def torch_step(initial: list[Tensor]) -> tuple[Step, Weights]:
    """One nn.Embedding(sparse=True) a feature, with torch.optim.Adagrad."""
    tables = [nn.Embedding.from_pretrained(w.clone(), freeze=False, sparse=True) for w in initial]
    optimizer = torch.optim.Adagrad([table.weight for table in tables], lr=LR, eps=EPS)

    def step(ids: list[Tensor], grad: Tensor) -> None:
        optimizer.zero_grad()
        out = torch.cat([table(i) for table, i in zip(tables, ids, strict=True)], dim=1)
        out.backward(grad)
        optimizer.step()

    return step, lambda: torch.cat([table.weight.detach() for table in tables])


def fbgemm_step(initial: list[Tensor]) -> tuple[Step, Weights]:
    """FBGEMM's table batched embeddings with Adagrad fused into the backward."""
    warnings.simplefilter("ignore")
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    rows, dim = initial[0].shape
    spec = (rows, dim, EmbeddingLocation.HOST, ComputeDevice.CPU)
    tables = SplitTableBatchedEmbeddingBagsCodegen(
        [spec] * FEATURES, optimizer=EmbOptimType.EXACT_ADAGRAD, learning_rate=LR, eps=EPS
    )
    for mine, given in zip(tables.split_embedding_weights(), initial, strict=True):
        mine.copy_(given)

    def step(ids: list[Tensor], grad: Tensor) -> None:
        flat = torch.cat(ids)
        offsets = torch.arange(flat.numel() + 1)
        tables(flat, offsets).backward(grad)

    return step, lambda: torch.cat([w.detach() for w in tables.split_embedding_weights()])


def measure(
    candidates: dict[str, Step], data: list[tuple[list[Tensor], Tensor]], windows: int
) -> dict[str, tuple[float, float]]:
    """Median milliseconds a step of each candidate: (wall, process CPU)."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for window in range(windows + 1):  # the first one warms up
        for name, step in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for ids, grad in data:
                step(ids, grad)
            spent = (time.perf_counter() - wall, time.process_time() - cpu)
            if window:
                times[name].append((1e3 * spent[0] / len(data), 1e3 * spent[1] / len(data)))
    return {
        name: (statistics.median(w for w, _ in found), statistics.median(c for _, c in found))
        for name, found in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in (
        ("rows", 100_000),
        ("dim", 16),
        ("batch", 4096),
        ("threads", 2),
        ("windows", 7),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    initial = [torch.randn(args.rows, args.dim) * 0.01 for _ in NAMES]
    data = [
        (
            [torch.randint(0, args.rows, (args.batch,)) for _ in NAMES],
            torch.randn(args.batch, FEATURES * args.dim),
        )
        for _ in range(8)
    ]
    made = {"graphrec torch": graphrec_step(initial, "torch"), "torch sparse": torch_step(initial)}
    found = native.kernel()
    if isinstance(found, native.RowKernel):
        made = {"graphrec native": graphrec_step(initial, "native"), **made}
    else:
        print(f"without the native kernel: {found}")
    try:
        made["fbgemm TBE"] = fbgemm_step(initial)
    except ImportError as error:
        print(f"without FBGEMM: {error}")
    for step, _ in made.values():
        for ids, grad in data:
            step(ids, grad)
    expected = made["torch sparse"][1]()
    for name, (_, weights) in made.items():
        print(f"{name:16} largest difference to torch {(weights() - expected).abs().max():.1e}")
    times = measure({name: step for name, (step, _) in made.items()}, data, args.windows)
    wall, cpu = next(iter(times.values()))
    print(
        f"\n{FEATURES} x {args.rows} x {args.dim}, batch {args.batch}, {args.threads} threads; ms"
    )
    print(f"{'':16} {'wall':>8} {'x':>6} {'cpu':>8} {'x':>6}")
    for name, (w, c) in times.items():
        print(f"{name:16} {w:8.2f} {w / wall:6.2f} {c:8.2f} {c / cpu:6.2f}")
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
