"""Whether a loss or metric keeps its word: what `graphrec check-block module:Class` tries."""

from __future__ import annotations

from graphrec.verify.measures.measure_report import check_measure

__all__ = ["check_measure"]
