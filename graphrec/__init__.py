"""graphrec: a declarative model-graph compiler for recommender ranking and multi-task models."""

__version__ = "0.1.0"
