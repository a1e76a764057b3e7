"""Whether a loss, metric or activation keeps its word: what `graphrec check-block` tries."""

from __future__ import annotations

from graphrec.verify.measures.activation_checks import check_activation
from graphrec.verify.measures.measure_report import check_measure

__all__ = ["check_activation", "check_measure"]
