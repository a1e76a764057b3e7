"""Training and evaluation: `train` and `evaluate` are what the command line calls."""

from graphrec.train.evaluate import evaluate
from graphrec.train.loop import train
from graphrec.train.run import Run

__all__ = ["Run", "evaluate", "train"]
