"""Nodes of the graph, composites, and terms of the loss, as a recipe says them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from graphrec.recipe.strict_model import Later, Model, Texts

__all__ = [
    "NODE_WORDS",
    "TERM_WORDS",
    "Composite",
    "LossTerm",
    "NodeSpec",
    "Parameter",
    "Teacher",
]

Inputs = str | Texts | dict[str, str | Texts]

Repeated = Annotated[int, Field(gt=0, le=1000)]


class NodeSpec(Model):
    """One use of a block: reserved words, and the block's own parameters (still raw)."""

    block: str
    """Name of a block: `graphrec blocks` lists them."""
    inputs: Annotated[Inputs | None, Field(alias="in")] = None
    """A reference, a list of references, or a map port -> reference."""
    each: str | Texts | None = None
    """`tasks`, or names: one copy of the node for each."""
    parallel: Repeated | Texts | None = None
    """Several copies side by side, all reading the same input."""
    join: Literal["concat", "sum", "mean", "stack"] | None = None
    """How parallel copies become one tensor."""
    repeat: Repeated | None = None
    """Apply the block that many times."""
    carry: str | None = None
    """Port that the output feeds in the next step of repeat."""
    tied: bool = False
    """Steps of repeat share their weights."""
    share: str | None = None
    """Use the weights of another node."""
    residual: bool = False
    """Add the input to the output."""
    enabled: bool = True
    """false makes the node the identity."""
    kernel: str | None = None
    """Kernel asked for: auto, torch, triton, ..."""
    was: str | None = None
    """Former name: checkpoint keys are renamed on load."""
    note: str | None = None
    """A remark for the reader."""
    when: Annotated[Literal["always", "train"], Later()] = "always"
    """`train`: not computed in evaluation, inference and export, nor what reads it."""
    params: dict[str, Any] = {}
    """Parameters of the block."""


NODE_WORDS = tuple(f.alias or n for n, f in NodeSpec.model_fields.items() if n != "params")
"""Words of a node that are not parameters of its block."""


class Parameter(Model):
    """A parameter of a composite block."""

    type: Literal["int", "float", "bool", "str", "list[int]", "list[float]", "list[str]"]
    """Type of the value."""
    default: Any = None
    """Used when the parameter is not given; without a default it must be."""
    doc: str = ""
    """What it does."""


class Composite(Model):
    """A block made of blocks, written in YAML."""

    block: str
    """Its name."""
    doc: str = ""
    """One sentence and the source."""
    params: dict[str, Parameter] = {}
    """Parameters, used in the graph as $name."""
    inputs: Texts
    """Input ports."""
    graph: dict[str, dict[str, Any] | str]
    """Nodes, as in a recipe; still raw, since `$name` may stand for any value."""
    output: str
    """The node whose output is the block's."""


class Teacher(Model):
    """A trained run whose predictions a task is pulled towards (Hinton et al., 2015)."""

    run: str
    """Run folder; it must read rows as this recipe does: features, vocabularies, statistics."""
    task: str | None = None
    """The task that is taught; may be left out where there is one."""
    from_task: str | None = None
    """The teacher's task; by default the one of that name, or its only one."""
    kind: Literal["squared", "soft"] = "squared"
    """`squared` difference of logits or values, or cross entropy of `soft` outputs."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of soft outputs: what logits are divided by; the loss is multiplied by its square."""


class LossTerm(Model):
    """A further term of the loss: what the graph computes is minimised, without a label."""

    value: str | None = None
    """Expression, one number a row; also reads `<task>.logit` and `<task>.prob`."""
    block: Annotated[str | None, Later()] = None
    """Instead of `value`: a loss block, with its own parameters beside these words."""
    inputs: Annotated[Inputs | None, Field(alias="in"), Later()] = None
    """What the block reads; `<task>.logit` and `<task>.prob` too."""
    teacher: Annotated[Teacher | None, Later()] = None
    """Instead of `value`: a trained run, loaded when training starts; in training alone."""
    params: Annotated[dict[str, Any], Later()] = {}
    """Parameters of the block."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Factor of the mean over the rows."""
    from_step: Annotated[int, Field(ge=0)] = 0
    """The first step at which it counts."""

    @property
    def node(self) -> NodeSpec | str:
        """The expression, or the block as a node of the graph would say it; empty of a teacher."""
        if self.teacher is not None:
            return ""
        if self.value is not None:
            return self.value
        words = {"block": self.block or "", "in": self.inputs, "params": self.params}
        return NodeSpec.model_validate(words)


TERM_WORDS = tuple(f.alias or n for n, f in LossTerm.model_fields.items() if n != "params")
"""Words of a term that are not parameters of its block."""
