"""P4: which share of the machine's limits a training step reaches.

A step needs at least its matrix products at the rate of a large one, its table rows read once and
(weight and Adagrad's sum) written once at the rate of random rows, and Adam's seven passes over
dense parameters at the rate of a copy.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.cases import CASES, batches, compiled
from bench.models.pieces import Tables
from bench.options import Options
from bench.results import Row
from bench.steps import by_hand, generated
from bench.timing import Time, measure
from graphrec.nn import native

__all__ = ["Limits", "bound", "limits", "probes", "rows"]

BATCH, WIDTH = 4096, 16
ROWS, INNER = 4096, 512
COPIED, LOOKED = 1 << 25, 1 << 17


@dataclass(frozen=True)
class Limits:
    """Of this machine: floating point operations, bytes and rows of 64 bytes, all per second."""

    fp32: float
    bf16: float
    copy: float
    gather: float
    update: float


def rows(options: Options) -> list[Row]:
    """The limits, and the share of every model's bound; limits are timed beside every model."""
    shown: list[Row] = []
    limiting = probes()
    for case in CASES:
        model = compiled(case)
        data = batches(model, options.batch(BATCH))
        flops, lookups, dense = _work(case, options)
        made = {"step fp32": generated(model, data)}
        made["step bf16"] = generated(model, data, bf16=True)
        steps = {name: candidate.step for name, candidate in made.items()}
        times = measure(limiting | steps, options.windows, options.seconds)
        found = limits(times)
        shown = shown or _shown(found)
        for kind, wanted in (("fp32", 0.75), ("bf16", 0.65)):
            least = 1e3 * bound(found, kind, flops, lookups, dense)
            step = times[f"step {kind}"].wall
            how = (
                f"bound {least:.1f} ms ({flops / 1e9:.1f} GFLOP, {lookups / 1e3:.0f} k rows, "
                f"{dense / 1e6:.1f} M parameters), step {step:.1f} ms"
            )
            work = f"{case} B {options.batch(BATCH)} {kind}: share of the bound"
            shown.append(Row("P4", work, round(least / step, 3), "", wanted, how=how))
        del made, steps
        gc.collect()
    return shown


def _shown(found: Limits) -> list[Row]:
    return [
        Row("P4", "limit: fp32 GEMM", round(found.fp32 / 1e9, 1), "GFLOP/s"),
        Row("P4", "limit: bf16 GEMM", round(found.bf16 / 1e9, 1), "GFLOP/s"),
        Row("P4", "limit: copy, read and written", round(found.copy / 1e9, 2), "GB/s"),
        Row("P4", "limit: random 64-byte rows read", round(found.gather / 1e6, 1), "M/s"),
        Row("P4", "limit: the same written", round(found.update / 1e6, 1), "M/s"),
    ]


def bound(found: Limits, kind: str, flops: float, lookups: float, dense: float) -> float:
    """Seconds a step can't be faster than."""
    rate = found.fp32 if kind == "fp32" else found.bf16
    tables = lookups / found.gather + 2 * lookups / found.update
    return flops / rate + tables + 7 * 4 * dense / found.copy


def probes() -> dict[str, Callable[[], object]]:
    """Steps that do nothing but reach one limit each."""
    torch.manual_seed(0)
    a, b = torch.randn(ROWS, INNER), torch.randn(INNER, INNER)
    low = a.bfloat16(), b.bfloat16()
    source = torch.randn(COPIED)
    target = torch.empty_like(source)
    table, at = torch.randn(1 << 22, WIDTH), torch.randint(0, 1 << 22, (LOOKED,))
    values = torch.randn(LOOKED, WIDTH)
    steps: dict[str, Callable[[], object]] = {
        "fp32": lambda: a @ b,
        "fp32 by oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
        "bf16": lambda: low[0] @ low[1],
        "copy": lambda: target.copy_(source),
        "gather": lambda: table.index_select(0, at),
        "write": lambda: table.index_copy_(0, at, values),
        "put": lambda: table.index_put_((at,), values),
    }
    return steps | _native_steps(table, at)


def limits(times: Mapping[str, Time]) -> Limits:
    seconds = {name: time.wall / 1e3 for name, time in times.items()}
    flops = 2.0 * ROWS * INNER * INNER
    reads = min(seconds["gather"], seconds.get("native gather", seconds["gather"]))
    writes = min(seconds["write"], seconds["put"])
    return Limits(
        fp32=flops / min(seconds["fp32"], seconds["fp32 by oneDNN"]),
        bf16=flops / seconds["bf16"],
        copy=2 * 4 * COPIED / seconds["copy"],
        gather=LOOKED / reads,
        update=LOOKED / writes,
    )


def _native_steps(table: Tensor, at: Tensor) -> dict[str, Callable[[], object]]:
    """The compiled kernel's gather, where there is one."""
    kernel = native.kernel()
    if not isinstance(kernel, native.RowKernel):
        return {}
    return {"native gather": lambda: kernel.gather(table, at)}


def _work(case: str, options: Options) -> tuple[float, float, float]:
    """Operations of matrix products, rows looked up, dense parameters of one step."""
    model = compiled(case)
    one = batches(model, options.batch(BATCH), count=1)
    made = by_hand(case, model, one, tables="sparse")
    with FlopCounterMode(display=False) as counter:
        made.step()
    tables: Tables = made.module.tables
    dense = sum(p.numel() for n, p in made.module.named_parameters() if n[:7] != "tables.")
    embedded = len(tables.weights()) * one[0].ids.shape[1]
    return float(counter.get_total_flops()), float(embedded), float(dense)
