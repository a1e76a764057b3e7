"""Whether a loss or metric keeps its word: what `graphrec check-block module:Class` tries."""

from __future__ import annotations

from graphrec.verify.terms.term_report import check_term

__all__ = ["check_term"]
