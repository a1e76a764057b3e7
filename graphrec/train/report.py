"""The report of a run: how good the tasks are, what happened to the rows, and how to repeat it.

The same sections twice: report.md to read anywhere, report.html with the curves as pictures.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphrec.data import Remark
from graphrec.ground.text import write_text
from graphrec.recipe.retrieval import RETRIEVAL
from graphrec.recipe.tasks import key
from graphrec.train.checkpoint import Checkpoint
from graphrec.train.curves import run_curves
from graphrec.train.progress import clock, number, score_rows
from graphrec.train.remarks import training_counts
from graphrec.train.report_text import Code, Items, Part, Section, Table, as_markdown, as_page
from graphrec.train.run import command_line, read_info
from graphrec.views.pictures import Lines

if TYPE_CHECKING:
    from graphrec.train.trainer import Trainer

__all__ = ["write_report"]


def write_report(
    trainer: Trainer, best: Checkpoint | None, command: Sequence[str], remarks: Sequence[Remark]
) -> None:
    """Write report.md and report.html into the trainer's run folder."""
    folder = trainer.run_folder.folder
    sections = [
        Section(trainer.recipe.name, [trainer.recipe.description, _summary(trainer, best)]),
        Section("Remarks", [Items([remark.text for remark in remarks])] if remarks else []),
        Section("Evaluation", list(_metrics(trainer, best))),
        Section("Training", list(run_curves(trainer.run_folder.records))),
        Section("Calibration (last evaluation)", list(_calibration(trainer))),
        Section("Rows", list(_rows(trainer))),
        Section("Unseen values", list(_unseen(trainer))),
        Section("Kernels", list(_kernels(trainer))),
        Section("Again", list(_repeat(read_info(folder), command))),
    ]
    told = [section for section in sections if section.parts]
    text = [section for section in told if section.title != "Training"]  # of pictures alone
    write_text(folder / "report.md", as_markdown(text))
    write_text(folder / "report.html", as_page(told))


def _summary(trainer: Trainer, best: Checkpoint | None) -> str:
    position = trainer.position
    speed = position.trained / position.seconds if position.seconds else 0.0
    text = (
        f"Trained {position.trained:,} rows in {position.step:,} updates "
        f"({position.epoch} epochs), {clock(position.seconds)} ({speed:,.0f} rows/s with "
        f"evaluations), on {trainer.device.type} in {trainer.recipe.train.precision}. "
        f"The graph is in [graph.svg](graph.svg), the model in [model.py](model.py), "
        f"its recipe in [recipe.yaml](recipe.yaml)."
    )
    if best is not None:
        rule = trainer.recipe.train.save.best
        text += f" The best checkpoint by {rule} is that of step {best.position.step}."
    return text


def _metrics(trainer: Trainer, best: Checkpoint | None) -> Iterator[Part]:
    records = {"last": trainer.position.scores}
    if best is not None:
        records = {"best": best.position.scores, **records}
    if not trainer.position.scores:
        return
    head = ["task", "metric", *(f"{name} (step {r['step']})" for name, r in records.items())]
    reachable = trainer.reachable
    rows = []
    for task, label, ending in score_rows(trainer.recipe):
        for metric in map(str, trainer.recipe.tasks[task].metrics):
            cells = [number(r.get(key(task, metric) + ending)) for r in records.values()]
            limit = [number(reachable.get(task + ending, {}).get(metric))] if reachable else []
            rows.append([label, metric, *cells, *limit])
    for call in trainer.recipe.retrieval.metrics if trainer.recipe.retrieval else ():
        cells = [number(r.get(key(RETRIEVAL, call))) for r in records.values()]
        rows.append([RETRIEVAL, str(call), *cells])
    yield Table([*head, *(["best reachable"] if reachable else [])], rows)
    evals = [r for r in trainer.run_folder.records if r.get("kind") == "eval"]
    if len(evals) > 1:
        names = [
            "loss",
            *(
                n
                for n in evals[-1]
                if n.endswith((".auc", ".logloss")) or n.startswith(f"{RETRIEVAL}.")
            ),
        ]
        yield "Course of the evaluations:"
        lines = [
            [str(r["step"]), str(r["epoch"]), *(number(r.get(n)) for n in names)] for r in evals
        ]
        yield Table(["step", "epoch", *names], lines)


def _calibration(trainer: Trainer) -> Iterator[Part]:
    tables = {n: parts for n, c in trainer.evaluator.calibration.items() if (parts := c.parts())}
    if not tables:
        return
    yield "Rows in ten parts by prediction: what was predicted, and what happened."
    for name, parts in tables.items():
        highest = max(max(p, y) for _, p, y in parts)
        series = {"rate": [(p, y) for _, p, y in parts], "ideal": [(0.0, 0.0), (highest, highest)]}
        yield Lines(name, series, "mean prediction", frozenset({"rate"}))
    for name, parts in tables.items():
        rows = [
            [f"{n:,}", f"{p:.4f}", f"{y:.4f}", number(y / p if p else None)] for n, p, y in parts
        ]
        yield f"**{name}**"
        yield Table(["rows", "mean prediction", "rate", "rate / prediction"], rows)


def _rows(trainer: Trainer) -> Iterator[Part]:
    counts = training_counts(trainer)
    yield Table(
        ["read", "trained", "skipped", "quarantined"],
        [[f"{n:,}" for n in (counts.read, counts.trained, counts.skipped, counts.quarantined)]],
    )
    if counts.reasons:
        rows = [[reason, f"{n:,}"] for reason, n in counts.reasons.most_common()]
        yield Table(["why rows were quarantined", "rows"], rows)
    missing = [[task, f"{n:,}"] for task, n in sorted(counts.unlabelled.items()) if n]
    if missing:
        yield Table(["task", "rows without its label"], missing)


def _unseen(trainer: Trainer) -> Iterator[Part]:
    loaders = {"training": training_counts(trainer)}
    if trainer.eval_loader is not None:
        loaders["evaluation"] = trainer.eval_loader.counts
    rates = {name: counts.unseen_rates() for name, counts in loaders.items()}
    features = sorted({feature for known in rates.values() for feature in known})
    if features:
        yield "Shares of values outside the vocabulary; of `hash(N)`, of values never trained."
        cells = [[f, *(_share(known.get(f)) for known in rates.values())] for f in features]
        yield Table(["feature", *rates], cells)


def _kernels(trainer: Trainer) -> Iterator[Part]:
    """Where another kernel than torch was asked for, or runs."""
    rows = [
        [node.name, node.kernel.asked, node.kernel.chosen, node.kernel.why]
        for node in trainer.graph.nodes
        if node.kernel is not None and (node.kernel.chosen != "torch" or node.kernel.why)
    ]
    rows += [
        [f"tables: {name}", choice.asked, choice.chosen, choice.why]
        for name, choice in trainer.graph.table_kernels.items()
    ]
    if rows:
        yield Table(["node", "asked", "runs", "why"], rows)


def _repeat(info: Mapping[str, Any], command: Sequence[str]) -> Iterator[Part]:
    if command:
        yield Code(command_line(command))
    rows = [[name, str(value)] for name, value in sorted(info["versions"].items())]
    rows += [["seed", str(info["seed"])], ["threads", str(info["threads"])]]
    rows += [["machine", platform.machine()], ["recipe", info["recipe"][:16]]]
    rows += [["data", info["fingerprint"][:16]]]
    rows += [["plugins", ", ".join(info["plugins"])]] if info["plugins"] else []
    yield Table(["what", "which"], rows)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
