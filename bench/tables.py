"""Embedding tables: lookup, gradient and exact update of 26 features, beside torch and FBGEMM.

    python bench/tables.py [--rule adagrad] [--dtype fp32] [--first-order] [--rows 100000] ...

`--rule` is sgd, adagrad, rowwise_adagrad or adam (lazy, as torch.optim.SparseAdam), `--dtype` how
tables are stored, `--first-order` adds a table of width 1 read at the same rows. Candidates that
can't do what is asked are left out. All run in one process, taking turns window by window; medians
of the windows are printed, wall and process CPU time, with ratios to the first. Weights are
compared first.
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
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn

from graphrec.nn import native
from graphrec.nn.embedding import Embeddings
from graphrec.nn.tables import Lookup, Table
from graphrec.recipe.training import Optimizer
from graphrec.train.table_optimizers import Change, RowOptimizer, update_rows

FEATURES = 26
LR, EPS = 0.02, 1e-10
NAMES = [f"C{number:02d}" for number in range(FEATURES)]

Step = Callable[[list[Tensor], Tensor], None]
Candidate = tuple[Step, Callable[[], Tensor]]  # and the weights it has come to


def graphrec_step(initial: list[Tensor], kernel: str, args: argparse.Namespace) -> Candidate:
    """Packed tables with the row optimizer, on one of their kernels."""
    rows, dim = initial[0].shape
    columns = [Lookup(name, table=name) for name in NAMES]
    modules = [_embeddings(rows, dim, columns, kernel, args.dtype)]
    modules[0].load_state_dict({f"{n}.weight": w for n, w in zip(NAMES, initial, strict=True)})
    if args.first_order:
        # FBGEMM has no width 1: there the wide table is its own, the narrow one torch's.
        narrow = "torch" if kernel == "fbgemm" else kernel
        modules.append(_embeddings(rows, 1, columns, narrow, "fp32"))
    weights = [module.get_parameter(module.table_groups[0].name) for module in modules]
    settings = Optimizer(name=args.rule, eps=EPS)
    optimizers = [
        RowOptimizer(w, settings, m.kernel) for w, m in zip(weights, modules, strict=True)
    ]
    count = 0

    def step(ids: list[Tensor], grad: Tensor) -> None:
        nonlocal count
        count += 1
        features = dict(zip(NAMES, ids, strict=True))
        embedded = modules[0](features)
        out = [embedded.concat(NAMES)]
        out += [module(features, like=embedded).concat(NAMES) for module in modules[1:]]
        torch.autograd.backward(out, [grad, grad[:, :FEATURES].contiguous()][: len(out)])
        given = zip(optimizers, weights, strict=True)
        changes = [Change(one, w.grad, LR, 0.0) for one, w in given if w.grad is not None]
        update_rows(changes, count)
        for weight in weights:
            weight.grad = None

    return step, lambda: weights[0].detach().float()


def _embeddings(rows: int, dim: int, columns: list[Lookup], kernel: str, dtype: str) -> Embeddings:
    tables = [Table(name, rows=rows, dim=dim, init="zeros", dtype=dtype) for name in NAMES]  # type: ignore[arg-type]
    return Embeddings(tables, columns, kernel=kernel)


def torch_step(initial: list[Tensor], args: argparse.Namespace) -> Candidate:
    """One nn.Embedding(sparse=True) a feature, with torch.optim's optimizer."""
    tables = [nn.Embedding.from_pretrained(w.clone(), freeze=False, sparse=True) for w in initial]
    if args.first_order:
        rows = initial[0].shape[0]
        tables += [
            nn.Embedding.from_pretrained(torch.zeros(rows, 1), freeze=False, sparse=True)
            for _ in NAMES
        ]
    weights = [table.weight for table in tables]
    optimizer: torch.optim.Optimizer
    if args.rule == "adam":
        optimizer = torch.optim.SparseAdam(weights, lr=LR, eps=EPS)
    elif args.rule == "adagrad":
        optimizer = torch.optim.Adagrad(weights, lr=LR, eps=EPS)
    else:
        optimizer = torch.optim.SGD(weights, lr=LR)

    def step(ids: list[Tensor], grad: Tensor) -> None:
        optimizer.zero_grad()
        out = [torch.cat([t(i) for t, i in zip(tables[:FEATURES], ids, strict=True)], dim=1)]
        if args.first_order:
            narrow = zip(tables[FEATURES:], ids, strict=True)
            out.append(torch.cat([table(i) for table, i in narrow], dim=1))
        torch.autograd.backward(out, [grad, grad[:, :FEATURES].contiguous()][: len(out)])
        optimizer.step()

    return step, lambda: torch.cat([weight.detach() for weight in weights[:FEATURES]])


def fbgemm_step(initial: list[Tensor], args: argparse.Namespace) -> Candidate:
    """FBGEMM's table batched embeddings with the update fused into the backward."""
    warnings.simplefilter("ignore")
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    rows, dim = initial[0].shape
    spec = (rows, dim, EmbeddingLocation.HOST, ComputeDevice.CPU)
    rules = {
        "sgd": EmbOptimType.EXACT_SGD,
        "adagrad": EmbOptimType.EXACT_ADAGRAD,
        "rowwise_adagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    }
    tables = SplitTableBatchedEmbeddingBagsCodegen(
        [spec] * FEATURES, optimizer=rules[args.rule], learning_rate=LR, eps=EPS
    )
    for mine, given in zip(tables.split_embedding_weights(), initial, strict=True):
        mine.copy_(given)

    def step(ids: list[Tensor], grad: Tensor) -> None:
        flat = torch.cat(ids)
        offsets = torch.arange(flat.numel() + 1)
        tables(flat, offsets).backward(grad)

    return step, lambda: torch.cat([w.detach() for w in tables.split_embedding_weights()])


def candidates(initial: list[Tensor], args: argparse.Namespace) -> dict[str, Candidate]:
    """All that can do what is asked for, graphrec's native kernel first where there is one."""
    made: dict[str, Candidate] = {}
    found = native.kernel()
    if isinstance(found, native.RowKernel):
        made["graphrec native"] = graphrec_step(initial, "native", args)
    else:
        print(f"without the native kernel: {found}")
    made["graphrec torch"] = graphrec_step(initial, "torch", args)
    try:
        made["graphrec fbgemm"] = graphrec_step(initial, "fbgemm", args)
    except RuntimeError as error:
        print(f"without graphrec on FBGEMM: {error}")
    if args.rule != "rowwise_adagrad" and args.dtype == "fp32":
        made["torch sparse"] = torch_step(initial, args)
    if args.rule != "adam" and args.dtype == "fp32" and not args.first_order:
        try:
            made["fbgemm TBE"] = fbgemm_step(initial, args)
        except ImportError as error:
            print(f"without FBGEMM: {error}")
    return made


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
    parser.add_argument("--rule", choices=native.RULES, default="adagrad")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--first-order", action="store_true")
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
    made = candidates(initial, args)
    for step, _ in made.values():
        for ids, grad in data:
            step(ids, grad)
    judge = "torch sparse" if "torch sparse" in made else "graphrec torch"
    expected = made[judge][1]()
    for name, (_, weights) in made.items():
        print(f"{name:16} largest difference to {judge} {(weights() - expected).abs().max():.1e}")
    times = measure({name: step for name, (step, _) in made.items()}, data, args.windows)
    wall, cpu = next(iter(times.values()))
    print(
        f"\n{args.rule}, {args.dtype}, {FEATURES} x {args.rows} x {args.dim}"
        f"{' and x 1' if args.first_order else ''}, batch {args.batch}, {args.threads} threads; ms"
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
