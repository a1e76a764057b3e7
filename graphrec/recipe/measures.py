"""What names of losses and metrics mean in a recipe: those of the tables, and those of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from graphrec.recipe.loss_table import LOSSES, Loss
from graphrec.recipe.metric_table import METRICS, Metric

__all__ = ["Measures"]


@dataclass(frozen=True)
class Measures:
    """Losses and metrics by name."""

    losses: Mapping[str, type[Loss]] = field(default_factory=lambda: LOSSES)
    metrics: Mapping[str, type[Metric]] = field(default_factory=lambda: METRICS)

    def with_measures(self, *added: type[Loss] | type[Metric]) -> Measures:
        """These and others; a ValueError if a name is taken by another one."""
        losses, metrics = dict(self.losses), dict(self.metrics)
        for term in added:
            if issubclass(term, Loss):
                if losses.setdefault(term.name, term) is not term:
                    raise ValueError(
                        f"there already is a loss `{term.name}`: give yours another name"
                    )
            elif metrics.setdefault(term.name, term) is not term:
                raise ValueError(
                    f"there already is a metric `{term.name}`: give yours another name"
                )
        return replace(self, losses=losses, metrics=metrics)
