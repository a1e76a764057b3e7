"""P1, P2, P5: training steps of generated modules against the same models written by hand.

The hand-written modules on FBGEMM's tables stand in for TorchEasyRec, which is built on them.
"""

from __future__ import annotations

import gc

from bench.cases import CASES, batches, compiled
from bench.goals import attention
from bench.options import Options
from bench.results import Row, ratio
from bench.steps import Candidate, by_hand, check_equal, generated, missing, trained
from bench.timing import Time, measure

__all__ = ["rows", "steps"]

BATCH = 4096
FP32 = {"deepfm": 1.6, "dbmtl": 1.15, "mmoe": None, "ple": None}
BF16 = {"deepfm": 2.6, "dbmtl": 2.3, "mmoe": None, "ple": None}


def rows(options: Options) -> list[Row]:
    """Figures of every model, and of the attention block."""
    found = []
    for case in CASES:
        found += _rows_of(case, options)
        gc.collect()
    return found + attention.rows(options)


def steps(case: str, options: Options) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Candidates with equal weights, and why some others are missing."""
    model = compiled(case)
    data = batches(model, options.batch(BATCH))
    made = {"ours": generated(model, data)}
    absent = {}
    for tables in ("TBE", "sparse"):
        why = missing(tables)
        if why:
            absent[f"hand {tables}"] = why
            continue
        made[f"hand {tables}"] = by_hand(
            case, model, data, tables=tables, weights=made["ours"].module
        )
        gaps = check_equal(made["ours"], made[f"hand {tables}"])
        print(f"{case}, hand {tables}: outputs differ by {gaps[0]:.0e}, trained {gaps[1]:.0e}")
        if tables == "TBE":
            made["hand TBE bf16"] = by_hand(case, model, data, bf16=True)
        # A fresh pair for the next comparison: this one has been trained.
        made["ours"] = generated(model, data)
    made["ours bf16"] = generated(model, data, bf16=True)
    made["ours, trainer"] = trained(model, data)
    try:
        made["ours on FBGEMM"] = generated(model, data, tables="fbgemm")
        made["ours on FBGEMM"].step()
    except (RuntimeError, ValueError, ImportError) as error:
        made.pop("ours on FBGEMM", None)
        absent["ours on FBGEMM"] = str(error)
    return made, absent


def _rows_of(case: str, options: Options) -> list[Row]:
    made, absent = steps(case, options)
    times = measure({n: c.step for n, c in made.items()}, options.windows, options.seconds)
    del made
    where = f"{case} B {options.batch(BATCH)}"
    found = []
    for goal, ours, theirs, wanted in (
        ("P1", "ours", "hand TBE", FP32[case]),
        ("P1", "ours on FBGEMM", "hand TBE", 1.0),
        ("P2", "ours bf16", "hand TBE", BF16[case]),
        ("P2", "ours bf16", "hand TBE bf16", None),
        ("P5", "ours", _best(times, "hand TBE", "hand sparse"), 1.0),
        ("P5", "ours bf16", "hand TBE bf16", 1.0),
        ("P5", "ours, trainer", "ours", None),
    ):
        work = f"{where}: {ours} / {theirs}"
        if ours in times and theirs in times:
            found.append(ratio(goal, work, times[ours], times[theirs], wanted))
        else:
            why = "; ".join(absent[name] for name in (ours, theirs) if name in absent)
            found.append(Row(goal, work, None, wanted=wanted, how=why))
    return found


def _best(times: dict[str, Time], *names: str) -> str:
    """The fastest of those that are here."""
    here = [name for name in names if name in times]
    return min(here, key=lambda name: times[name].wall) if here else names[0]
