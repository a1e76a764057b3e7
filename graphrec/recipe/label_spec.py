"""A label: a column, perhaps made binary or transformed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from graphrec.recipe.strict_model import Later, Model, Texts

__all__ = ["LabelSpec"]


def _class_texts(value: Any) -> Any:
    """Classes as texts, in their order; whole numbers as they are written."""
    whole = isinstance(value, list | tuple)
    return tuple(str(v) if type(v) is int else v for v in value) if whole else value


class LabelSpec(Model):
    """A label column, perhaps made binary or transformed."""

    column: str
    """Column of the data."""
    above: float | None = None
    """Binary label: value > above."""
    below: Annotated[float | None, Later()] = None
    """Binary label: value < below; with above, between both."""
    soft: Annotated[bool, Later()] = False
    """Binary label: any value from 0 to 1, a probability."""
    classes: Annotated[Texts, BeforeValidator(_class_texts), Later()] = ()
    """Texts of the classes 0, 1, ...; of a multiclass task they may stand as its classes."""
    transform: Literal["none", "log1p"] = "none"
    """Applied to the label."""
