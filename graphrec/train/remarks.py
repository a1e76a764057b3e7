"""What a careful person should hear at the end of a training or an evaluation.

What the data held comes from `graphrec.data.remarks`; here is what training made of it. Thresholds:
a loss `ROSE` by that factor, predictions are off beyond `CALIBRATED` from `POSITIVES` positive rows
on, an AUC above `LEAK` is too good, evaluation rows are `SHARED` with training from that share on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphrec.data import Counts, Remark, data_remarks
from graphrec.recipe.model import Recipe
from graphrec.train.evaluation import Calibration

if TYPE_CHECKING:
    from graphrec.train.trainer import Trainer

__all__ = [
    "as_json",
    "evaluation_remarks",
    "of_losses",
    "remarks_text",
    "training_counts",
    "training_remarks",
]

ROSE = 1.02
"""Last over best: a loss that rose by 2 % and more."""
CALIBRATED = (0.8, 1.25)
"""Sum of predictions over positive rows."""
POSITIVES = 30
"""Positive rows below which the ratio is chance."""
LEAK = 0.999
"""AUC that a feature which gives the label away reaches, and little else."""
SHARED = 0.01
"""Share of evaluation rows that are training rows."""

Record = Mapping[str, Any]


def training_counts(trainer: Trainer) -> Counts:
    """Counts of the rows of all epochs, with those of one that was cut short."""
    counts = Counts.of(trainer.position.counts)
    if trainer.position.row:
        counts.add(trainer.loader.counts)
    return counts


def training_remarks(trainer: Trainer) -> list[Remark]:
    """All there is to say of a finished run."""
    evaluated = trainer.eval_loader.counts if trainer.eval_loader is not None else None
    return [
        *data_remarks(trainer.recipe, training_counts(trainer), evaluated),
        *_schedule(trainer),
        *of_losses(trainer.run_folder.records),
        *_shared(trainer),
        *_scores(trainer.position.scores, trainer.evaluator.calibration),
    ]


def evaluation_remarks(
    recipe: Recipe, counts: Counts, record: Record, calibration: Mapping[str, Calibration]
) -> list[Remark]:
    """All there is to say of one evaluation."""
    return [*data_remarks(recipe, None, counts), *_scores(record, calibration)]


def remarks_text(remarks: Sequence[Remark]) -> str:
    """The remarks as a block of text; empty where there are none."""
    return "\n".join(["remarks:", *(f"  - {remark.text}" for remark in remarks)] if remarks else [])


def as_json(remarks: Sequence[Remark]) -> list[dict[str, str]]:
    """The remarks as JSON."""
    return [{"kind": r.kind, "subject": r.subject, "part": r.part, "text": r.text} for r in remarks]


def _schedule(trainer: Trainer) -> Iterator[Remark]:
    schedule, step = trainer.recipe.train.schedule, trainer.position.step
    if 0 < step < schedule.warmup:
        text = (
            f"the warm-up of {schedule.warmup:,} updates never ended: the run had {step:,}, and "
            f"its rate came to {trainer.optimizers.factor:.1%} of train.lr (train.schedule.warmup)"
        )
        yield Remark("schedule", "train.schedule", text)


def of_losses(records: Sequence[Record]) -> Iterator[Remark]:
    """What the lines of metrics.jsonl say of losses that rose."""
    trained = [r["loss"] for r in records if r["kind"] == "train" and r.get("loss") is not None]
    if len(trained) >= 4:
        part = max(len(trained) // 4, 1)
        first, last = sum(trained[:part]) / part, sum(trained[-part:]) / part
        if last > ROSE * first > 0:
            text = f"the training loss rose, from {first:.4f} to {last:.4f}: a smaller train.lr?"
            yield Remark("loss", "training", text)
    evaluated = [r for r in records if r["kind"] == "eval" and r.get("loss") is not None]
    if len(evaluated) >= 2:
        best, last = min(evaluated, key=lambda r: r["loss"]), evaluated[-1]
        if last["loss"] > ROSE * best["loss"] > 0:
            text = (
                f"overfitting: the evaluation loss was {best['loss']:.4f} at step {best['step']}, "
                f"and is {last['loss']:.4f} at the end: train.early_stop, or fewer epochs"
            )
            yield Remark("loss", "evaluation", text, "evaluation")


def _shared(trainer: Trainer) -> Iterator[Remark]:
    rows = trainer.shared_rows
    if rows is None or not rows.rows:
        return
    if rows.shared >= max(SHARED * rows.rows, 2 * rows.by_chance, 1):
        text = (
            f"{rows.shared:,} of the first {rows.rows:,} evaluation rows are training rows too "
            "(the same features and labels): the scores are better than they will be"
        )
        yield Remark("shared", "evaluation", text, "evaluation")


def _scores(record: Record, calibration: Mapping[str, Calibration]) -> Iterator[Remark]:
    for name, value in record.items():
        if name.endswith(".auc") and isinstance(value, float) and value > LEAK:
            text = f"{name} is {value:.5f}: does a feature give the label away?"
            yield Remark("leak", name.removesuffix(".auc"), text, "evaluation")
    for name, table in calibration.items():
        _, predicted, positive = (float(total) for total in table.sums.sum(axis=1))
        if positive >= POSITIVES and not CALIBRATED[0] <= predicted / positive <= CALIBRATED[1]:
            text = (
                f"task `{name}`: predictions sum to {predicted:,.0f}, and {positive:,.0f} rows are "
                f"positive: {predicted / positive:.2f} times too many for probabilities"
            )
            yield Remark("calibration", name, text, "evaluation")
