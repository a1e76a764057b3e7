"""Kernels of a recipe on this machine: how fast each is, and whether it gives torch's numbers.

unmeasured.py  a recipe compiled for the device there is, without its kernels.lock
jobs.py     what there is to time and to compare: a recipe's blocks and tables, each once
layer.py    a block's layer alone: inputs, one call, outputs and gradients by name
collection.py   a collection of tables alone: a batch of ids, lookup, gradients, update
compare.py   two results compared, with the tolerance of their precision
timing.py   candidates in turn, medians of windows, wall time and process time
bench.py    `graphrec bench`: times, and the entries of kernels.lock
verify.py   `graphrec verify`: every kernel against float64 torch, on round and odd batches
"""

from __future__ import annotations

from graphrec.verify.kernels.bench import Bench, bench
from graphrec.verify.kernels.jobs import Job, jobs
from graphrec.verify.kernels.unmeasured import unmeasured
from graphrec.verify.kernels.verify import Verified, verify

__all__ = ["Bench", "Job", "Verified", "bench", "jobs", "unmeasured", "verify"]
