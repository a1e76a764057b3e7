"""Whether a block keeps its word: the checks behind `graphrec check-block`, and those of our tests.

example.py   a configured block, shapes for its inputs, and tensors of these shapes
example_search.py  a class and a few parameters -> examples that its infer accepts
block_checks.py    what holds for every block: shapes, gradients, rows, keys, kernels
conformance_report.py  all checks of a block, for people and as data
"""

from __future__ import annotations

from graphrec.verify.block.block_checks import CHECKS, Skipped, Unfit
from graphrec.verify.block.conformance_report import Report, check_block
from graphrec.verify.block.example import LENGTHS, Example, layer_class, tensors
from graphrec.verify.block.example_search import find_examples, guessed_parameters, parse_shape
from graphrec.verify.layer_calls import call

__all__ = [
    "CHECKS",
    "LENGTHS",
    "Example",
    "Report",
    "Skipped",
    "Unfit",
    "call",
    "check_block",
    "find_examples",
    "guessed_parameters",
    "layer_class",
    "parse_shape",
    "tensors",
]
