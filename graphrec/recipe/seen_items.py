"""Histories that hold the items of retrieval: `seen`."""

from __future__ import annotations

from graphrec.recipe.model import IdFeature, Recipe, SequenceFeature

__all__ = ["key_feature"]


def key_feature(recipe: Recipe, history: str) -> str | None:
    """The feature of a history that reads the key of items, in a table that both share."""
    feature, retrieval = recipe.features[history], recipe.retrieval
    assert isinstance(feature, SequenceFeature) and retrieval is not None
    for name in feature.of if feature.share else ():
        base = recipe.features.get(name)
        single = isinstance(base, IdFeature) and base.pool is None and base.side == "item"
        if base is not None and single and (base.column or name) == retrieval.candidates.key:
            return name
    return None
