"""Two pictures of the last whole results: training steps by model, and cost against work.

python -m bench --draw        needs matplotlib: pip install 'graphrec[bench]'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw", "draw_profile"]

FOLDER = Path(__file__).resolve().parent / "results"
SIZE = (8, 4)
FULL, LOW, PEERS = "#4c78a8", "#e45756", "#9a9a9a"


def draw() -> None:
    """Write steps.png and growth.png beside the newest whole JSON file."""
    import matplotlib

    matplotlib.use("Agg")
    found = sorted(p for p in FOLDER.glob("*.json") if not p.stem.endswith("-part"))
    if not found:
        raise SystemExit("no results yet: make bench")
    rows = json.loads(found[-1].read_text())["rows"]
    _steps(rows)
    _growth(rows)


def _steps(rows: Sequence[Mapping[str, Any]]) -> None:
    """Bars: how many times as fast the generated module's training step is, by model."""
    from matplotlib import pyplot

    bars = []
    for row in rows:
        match = re.fullmatch(r"(.+): ours( bf16)? / (.+)", row["work"])
        if match and row["goal"] in ("P1", "P2", "P3") and row["value"] is not None:
            case, low, other = match.groups()
            colour = PEERS if row["goal"] == "P3" else LOW if low else FULL
            label = f"{case}, {'bf16' if low else 'fp32'} over {other}"
            bars.append((label, float(row["value"]), colour))
    bars.reverse()
    figure, axes = pyplot.subplots(figsize=(SIZE[0], 0.32 * len(bars) + 1.2))
    for at, (_, value, colour) in enumerate(bars):
        axes.barh(at, value, color=colour)
        axes.text(value, at, f" {value:.2f}", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [label for label, _, _ in bars], fontsize=8)
    axes.margins(y=0.01)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("training steps per second, generated module over the other")
    _finish(figure, axes, "steps.png")


def _growth(rows: Sequence[Mapping[str, Any]]) -> None:
    """Lines: cost of a step against the amount of work, both over the smallest, log scales."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=SIZE)
    for row in rows:
        if row["goal"] == "P8":
            pairs = re.findall(r"(\d+): ([\d.]+)", row["how"])
            amounts = [int(amount) for amount, _ in pairs]
            costs = [float(cost) for _, cost in pairs]
            work = row["work"].split()[0]
            x = [amount / amounts[0] for amount in amounts]
            axes.plot(x, [cost / costs[0] for cost in costs], marker="o", label=work)
    top = 100
    axes.plot([1, top], [1, top], color="black", linewidth=0.8, linestyle=":", label="linear")
    axes.set(xscale="log", yscale="log", xlabel="work, times", ylabel="cost of a step, times")
    axes.legend(fontsize=8)
    _finish(figure, axes, "growth.png")


def draw_profile(rows: Sequence[Mapping[str, Any]]) -> None:
    """Bars of `bench.profile`: each part's share of a step, one bar a recipe and precision."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(SIZE[0], 0.34 * len(rows) + 1.4))
    labels = [f"{row['case']} B {row['batch']}, {row['precision']}" for row in rows][::-1]
    starts = [0.0] * len(rows)
    for number, part in enumerate(rows[0]["parts"]):
        shares = [100 * row["parts"][part] / row["step"] for row in reversed(rows)]
        axes.barh(labels, shares, left=starts, label=part, color=f"C{number}")
        starts = [start + share for start, share in zip(starts, shares, strict=True)]
    axes.set_xlabel("% of the step's CPU time, loader included")
    axes.set_xlim(0, 100 * max(1.0, *(start / 100 for start in starts)))
    axes.legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    _finish(figure, axes, "profile.png")


def _finish(figure: Any, axes: Any, name: str) -> None:
    from matplotlib import pyplot

    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(FOLDER / name, dpi=150)
    pyplot.close(figure)
