"""What the declarations share: parameter types, the perceptron's settings, checks of shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from graphrec.blocks.base import Block
from graphrec.blocks.weight_counts import perceptron
from graphrec.ground.activation_table import ACTIVATIONS, canonical_activation, row_of
from graphrec.ground.activation_table import Activation as Row
from graphrec.ground.shapes import B, Shape, ShapeError
from graphrec.recipe.strict_model import expect_one_of

__all__ = [
    "Activation",
    "Norm",
    "Perceptron",
    "Rate",
    "Rates",
    "Settings",
    "activation_schema",
    "as_tuple",
    "expect_fields",
    "expect_keys",
    "expect_same",
    "expect_vector",
]


def _activation(text: str, info: ValidationInfo) -> str:
    # The library of the build has the rows of plugins too.
    table = (info.context or {}).get("activations", ACTIVATIONS)
    expect_one_of(table, text.partition("(")[0].strip())
    return canonical_activation(text, table)


def activation_schema(table: Mapping[str, Row]) -> dict[str, Any]:
    """The JSON Schema of an activation of this table."""
    with_parameters = "|".join(name for name, row in table.items() if row.parameters)
    call = {"pattern": f"^({with_parameters})\\(.+\\)$", "type": "string"}
    return {"anyOf": [{"enum": list(table)}, call]}


Activation = Annotated[
    str,
    AfterValidator(_activation),
    WithJsonSchema(activation_schema(ACTIVATIONS)),
]
"""An activation by name, with parameters where it has some: `leaky_relu(0.2)`."""
Norm = Literal["none", "batch", "layer"]
Rate = Annotated[float, Field(ge=0, lt=1)]


def as_tuple(value: Any) -> Any:
    """YAML gives lists; blocks are values, so they keep tuples, nested ones too."""
    return tuple(as_tuple(item) for item in value) if isinstance(value, list) else value


Rates = Annotated[
    Rate | tuple[Rate, ...],
    BeforeValidator(as_tuple),
]
"""One drop probability, or one per hidden layer."""


def plain(value: Any) -> Any:
    """The value as generated code writes it: lists, not tuples."""
    return [plain(item) for item in value] if isinstance(value, tuple) else value


class Settings(Block):
    """A block whose layer takes parameters by the same name and with the same defaults."""

    def repeats(self, training: bool) -> bool:
        """Unless it is training with dropout, batch statistics or an activation that draws."""
        return self.is_pure or not (training and self._has_own_life())

    def _has_own_life(self) -> bool:
        values = [getattr(self, name) for name in type(self).model_fields]
        words = [value.partition("(")[0] for value in values if isinstance(value, str)]
        rows = [ACTIVATIONS.get(word) for word in words if ":" not in word]
        rows += [row_of(word) for word in words if ":" in word]
        if "batch" in words or any(row is not None and row.lives for row in rows):
            return True
        rates = [value for name, value in self if name.endswith("dropout")]
        return any(any(rate) if isinstance(rate, tuple) else bool(rate) for rate in rates)

    def chosen(self, *names: str) -> dict[str, Any]:
        """Those of these parameters that differ from their defaults, as constructor arguments."""
        fields = type(self).model_fields
        return {
            name: plain(getattr(self, name))
            for name in names
            if fields[name].is_required() or getattr(self, name) != fields[name].default
        }


class Perceptron(Settings):
    """Settings of the perceptrons inside a block."""

    activation: Activation = "relu"
    """Activation of the hidden layers."""
    norm: Norm = "none"
    """Norm between a layer's Linear and its activation; batch takes the Linear's bias."""
    dropout: Rates = 0.0
    """Drop probability behind a hidden layer: one number, or one per layer."""

    def perceptron(self, width: int, hidden: Sequence[int], out: int | None = None) -> int:
        """Weights of a perceptron with these settings."""
        bias = bool(getattr(self, "bias", True))
        return perceptron(width, hidden, self.activation, self.norm, bias, out)


def expect_vector(x: Shape, what: str = "x") -> Shape:
    """[B, D] of known width."""
    if x.rank != 2 or x.dims[0] != B or x.is_jagged:
        raise ShapeError(f"needs {what} [B, D], one vector per row, got {x}{_mend(x)}")
    x.width  # noqa: B018 - raises where the width is not a number
    return x


def expect_fields(x: Shape, what: str = "fields") -> tuple[int, int]:
    """[B, N, D] with a fixed number of fields: (N, D)."""
    if x.rank != 3 or not isinstance(x.steps, int):
        mend = "; take `.fields` of a group" if x.rank == 2 else ""
        if x.is_jagged:
            mend = "; a history has no fixed number of fields: pool it, or use attention"
        raise ShapeError(f"needs {what} [B, N, D], got {x}{mend}")
    return x.steps, x.width


def expect_keys(keys: Shape, mask: Shape | None, query: Shape | None = None) -> int:
    """Keys [B, L, D] with a mask of the same steps and a query not wider than D: D."""
    if keys.rank != 3:
        raise ShapeError(
            f"needs keys [B, L, D], a sequence or fields, got {keys}"
            "; name a sequence, the `.keys` of a paired group, or `.fields`"
        )
    if mask is not None and (mask.dims != keys.dims[:2] or mask.dtype != "bool"):
        shown = f"the keys' {Shape(keys.dims[:2])}"
        raise ShapeError(
            f"needs a mask of the same sequence as {shown}, got {mask} of {_steps(mask)}"
            f" for keys of {_steps(keys)}; take `.keys` and `.mask` of one group"
        )
    if query is not None:
        expect_vector(query, "a query")
        if query.width > keys.width:
            raise ShapeError(
                f"needs a query at most as wide as the keys, got query {query} and keys {keys}"
                "; pair the features of both, or put a linear block before the query"
            )
    return keys.width


def expect_same(first: Shape, other: Shape, names: str) -> None:
    """Two equal shapes."""
    if first.dims != other.dims:
        raise ShapeError(f"needs {names} of equal shapes, got {first} and {other}")


def _steps(shape: Shape) -> str:
    steps = shape.dims[1] if shape.rank > 1 else ""
    return f"`{steps[2:]}`" if isinstance(steps, str) and steps.startswith("L.") else "fixed size"


def _mend(x: Shape) -> str:
    if x.rank == 3 and x.is_jagged:
        return "; make one vector of the history first, with pooling, din or dot_attention"
    return "; the group itself, without `.fields`, is the concatenation" if x.rank == 3 else ""
