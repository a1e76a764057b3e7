"""The rankings of a run folder: measured by permutation, learned by variational dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from graphrec.blocks.library import BUILTIN, Library
from graphrec.ground.text import aligned
from graphrec.nn.batch import Batch
from graphrec.recipe.calls import parse_call
from graphrec.recipe.model import Recipe
from graphrec.recipe.reader import read_yaml
from graphrec.recipe.training import Device
from graphrec.train.evaluate_run import Trained, load_run
from graphrec.train.importance.dropout import drop_probabilities
from graphrec.train.importance.permute import Effect, Importance, Scores, permutation_importance
from graphrec.train.importance.subjects import By, targets

__all__ = ["Rank", "Ranking", "importance"]

Rank = Literal["permutation", "dropout"]


@dataclass(frozen=True)
class Ranking:
    """What `graphrec importance` tells: the most important first.

    `baseline` are the scores by task as they are, on `rows` rows; `dropout` the learned drop
    probabilities by group, where the recipe has any.
    """

    by: By
    rows: int
    repeats: int
    baseline: Mapping[str, Scores]
    importances: tuple[Importance, ...]
    dropout: Mapping[str, Mapping[str, float]]
    recipe: Recipe

    def features(self, how: Rank) -> list[str]:
        """Features to choose from, best first; by drop probability those of the groups with it."""
        if how == "permutation":
            return [importance.name for importance in self.importances]
        # A feature in several groups counts where it matters most.
        lowest: dict[str, float] = {}
        for group in self.dropout.values():
            for name, p in group.items():
                lowest[name] = min(p, lowest.get(name, 1.0))
        return sorted(lowest, key=lambda name: (lowest[name], name))

    def as_json(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "rows": self.rows,
            "repeats": self.repeats,
            "baseline": {task: asdict(scores) for task, scores in self.baseline.items()},
            "importance": [
                {"name": i.name, "tasks": {task: asdict(e) for task, e in i.effects.items()}}
                for i in self.importances
            ],
            "dropout": {name: dict(group) for name, group in self.dropout.items()},
        }

    def as_text(self) -> str:
        """Aligned columns: per task the drop in AUC, if it has one, and the rise in loss."""
        told = [f"{task} {_told(scores)}" for task, scores in self.baseline.items()]
        head = f"{self.rows:,} rows, {self.repeats} permutations each; as it is: {'; '.join(told)}"
        parts = [f"{head}\n\n{self._table()}"]
        for name, group in self.dropout.items():
            rows = [[f"{name}: feature", "drop probability"]]
            rows += [[feature, f"{p:.4f}"] for feature, p in group.items()]
            parts.append(aligned(rows, right=frozenset({1})))
        return "\n\n".join(parts) + "\n"

    def _table(self) -> str:
        columns: list[tuple[str, Callable[[Effect], str]]] = []
        for task, scores in self.baseline.items():
            if scores.auc is not None:
                columns.append((f"{task}: AUC drop", lambda e: _pair(e.auc_drop, e.auc_spread)))
            columns.append((f"{task}: loss rise", lambda e: _pair(e.loss_rise, e.loss_spread)))
        owners = [title.rpartition(": ")[0] for title, _ in columns]
        rows = [[self.by, *(title for title, _ in columns)]]
        for subject in self.importances:
            cells = [
                show(subject.effects[task]) for task, (_, show) in zip(owners, columns, strict=True)
            ]
            rows.append([subject.name, *cells])
        return aligned(rows, right=frozenset(range(1, len(columns) + 1)))


def importance(
    run_dir: str | Path,
    data: str | Sequence[str] | None = None,
    wanted: str | int | None = None,
    *,
    by: By = "feature",
    rows: int = 50_000,
    repeats: int = 3,
    seed: int = 0,
    library: Library = BUILTIN,
    device: Device = "auto",
    progress: Callable[[str], None] = lambda name: None,
) -> Ranking:
    """Rank the features, groups or nodes of a run folder's model.

    `data` are globs of files (default: the run's evaluation data), of which about `rows` rows are
    read, mixed; `wanted` is `best`, `last` or a step. Raises CheckpointError and DataError.
    """
    run = load_run(run_dir, wanted, library=library, device=device)
    batches = _batches(run, data, rows)
    chosen = targets(by, run.compiled, run.module, library)
    baseline, ranked = permutation_importance(
        run, batches, chosen, repeats=repeats, seed=seed, progress=progress
    )
    total = sum(batch.num_rows for batch in batches)
    learned = drop_probabilities(run)
    recipe = _as_written(run.recipe, Path(run_dir) / "recipe.yaml")
    return Ranking(by, total, repeats, baseline, tuple(ranked), learned, recipe)


def _as_written(recipe: Recipe, path: Path) -> Recipe:
    """The recipe with the vocabulary files it names: a run replaces them by what it has learnt."""
    tree, _ = read_yaml(path.read_text(encoding="utf-8"), str(path))
    families = tree.at("features") if tree is not None else None
    features = dict(recipe.features)
    for family in families.value if families is not None else ():
        name, vocab = family.at("names"), family.at("vocab")
        if name is not None and vocab is not None and str(vocab.value).startswith("file("):
            written = parse_call(vocab.value)
            features[name.value] = features[name.value].model_copy(update={"vocab": written})
    return recipe.model_copy(update={"features": features})


def _batches(run: Trained, data: str | Sequence[str] | None, rows: int) -> list[Batch]:
    """Mixed batches of at least `rows` rows, or all there are."""
    loader = run.loader(data, min(run.recipe.train.batch, rows), shuffle=True)
    kept: list[Batch] = []
    total = 0
    with closing(loader.epoch(0)) as batches:
        for batch in batches:
            kept.append(batch.to(run.device))
            total += batch.num_rows
            if total >= rows:
                break
    return kept


def _told(scores: Scores) -> str:
    parts = [f"AUC {scores.auc:.4f}"] if scores.auc is not None else []
    parts += [f"loss {scores.loss:.4f}"] if scores.loss is not None else []
    return ", ".join(parts) or "without scores"


def _pair(mean: float | None, spread: float | None) -> str:
    return "not available" if mean is None or spread is None else f"{mean:+.4f} +-{spread:.4f}"
