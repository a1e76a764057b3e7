"""The recipe as data: what was said, complete and typed, after merging and expansion.

`recipe.read_recipe` makes these objects; every other room reads them. Field docstrings are the
documentation of the language: the JSON schema and the editor's hover text come from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from graphrec.ground.errors import Span
from graphrec.recipe.base import (
    CallText,
    Integers,
    Later,
    Model,
    Positive,
    Texts,
    Unhashed,
    Vocab,
    as_tuple,
)
from graphrec.recipe.features import (
    FEATURES,
    AutoDis,
    BucketFeature,
    CrossFeature,
    DenseFeature,
    Feature,
    IdFeature,
    SequenceFeature,
)
from graphrec.recipe.measures import Measures
from graphrec.recipe.search import Range
from graphrec.recipe.training import Data, Export, Kernels, Train

__all__ = [
    "FEATURES",
    "NODE_WORDS",
    "AutoDis",
    "BucketFeature",
    "Composite",
    "CrossFeature",
    "DenseFeature",
    "Feature",
    "FeatureGroup",
    "Group",
    "IdFeature",
    "LabelSpec",
    "Model",
    "LossTerm",
    "NodeSpec",
    "Origin",
    "PairedGroup",
    "Parameter",
    "Recipe",
    "Regularize",
    "Relation",
    "SequenceFeature",
    "Space",
    "Task",
    "VariationalDropout",
    "Vocab",
]


# ---- groups -----------------------------------------------------------------------------------


class VariationalDropout(Model):
    """Learned drop probability per feature (SEMANTICS: penalty in training)."""

    weight: Annotated[float, Field(ge=0, alias="lambda")] = 0.01
    """Factor of the penalty."""
    in_eval: bool = False
    """Also report the penalty in evaluation."""


class Regularize(Model):
    """Regularisation of a whole group."""

    variational_dropout: VariationalDropout | None = None
    """Learn which features can be dropped."""


class FeatureGroup(Model):
    """A list of features and groups, in the order written."""

    of: Texts
    """Features and groups."""
    exclude: Annotated[Texts, Field(alias="except")] = ()
    """Features left out."""
    regularize: Regularize | None = None
    """Regularisation of the group."""


class PairedGroup(Model):
    """A query and a sequence with the same features: the input of attention over a history."""

    query: Texts = ()
    """Features of the target, paired with the sequence's by name; none: the history alone."""
    keys: str
    """The sequence."""
    of: Annotated[Texts, Later()] = ()
    """Those of the sequence's features that are keys; by default all."""


Group = FeatureGroup | PairedGroup


# ---- graph ------------------------------------------------------------------------------------

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


# ---- tasks ------------------------------------------------------------------------------------


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


class Space(Model):
    """Where a task's loss counts: rows weighted by an indicator."""

    label: str
    """A task's label or any column; a row is inside where it is > 0."""
    inside: Annotated[float, Field(ge=0)] = 1.0
    """Weight of rows inside."""
    outside: Annotated[float, Field(ge=0)] = 0.0
    """Weight of rows outside."""


class Task(Model):
    """A prediction with its label, loss and metrics."""

    label: LabelSpec | None = None
    """The label; absent only with loss: none."""
    inputs: Annotated[str | None, Field(alias="in")] = None
    """Node (or bundle) a linear head is put on."""
    logit: str | None = None
    """Expression used as the logit as it is."""
    prob: str | None = None
    """Expression over other tasks' .prob."""
    kind: Literal["binary", "regression", "multiclass"] = "binary"
    """What is predicted."""
    classes: Positive | None = None
    """Number of classes of a multiclass (or two-class softmax) task."""
    loss: dict[str, dict[str, Any]]
    """Losses by name with their parameters, summed; empty for a task only read by others."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Factor of the task's loss."""
    sample_weight: str | None = None
    """Column of row weights."""
    space: Space | None = None
    """Rows on which the loss counts."""
    metrics: Annotated[tuple[CallText, ...], BeforeValidator(as_tuple)]
    """Evaluation metrics."""
    train_metrics: Annotated[tuple[CallText, ...], BeforeValidator(as_tuple)] = ()
    """Decayed metrics shown while training."""
    when: Annotated[Literal["always", "train"], Later()] = "always"
    """`train`: only learned from, not computed for inference and export."""


_Drop = Annotated[float, Field(ge=0, lt=1)]


class Relation(Model):
    """An edge between tasks: the child's tower also reads its parents'."""

    parents: Texts
    """Tasks read."""
    child: str
    """Task that reads them."""
    via: Literal["mlp", "aitm", "product"] = "mlp"
    """How: concatenate and MLP (DBMTL), attention (AITM), or product of probabilities."""
    hidden: Integers = (32,)
    """Layers of the relation MLP."""
    activation: str = "relu"
    """Activation of the relation MLP."""
    norm: Annotated[Literal["none", "batch", "layer"], Later()] = "none"
    """Norm of the relation MLP."""
    dropout: Annotated[_Drop | tuple[_Drop, ...], BeforeValidator(as_tuple), Later()] = 0.0
    """Drop probability of the relation MLP: one number, or one per layer."""
    bias: Annotated[bool, Later()] = True
    """Whether the relation MLP's Linears have a bias."""
    detach: bool = False
    """true stops the gradient into the parents."""


class LossTerm(Model):
    """A further term of the loss: what the graph computes is minimised, without a label."""

    value: str
    """Expression, one number a row; also reads `<task>.logit` and `<task>.prob`."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Factor of the mean over the rows."""
    from_step: Annotated[int, Field(ge=0)] = 0
    """The first step at which it counts."""


class Recipe(Model):
    """A whole recipe in canonical form."""

    graphrec: Literal[1]
    """Version of the language."""
    name: str
    """Name of the model; the generated class is named after it."""
    description: str = ""
    """One sentence about it."""
    data: Data = Data()
    """Where rows come from."""
    features: dict[str, Feature]
    """Features by name."""
    groups: dict[str, Group] = {}
    """Explicit groups by name."""
    blocks: dict[str, Composite] = {}
    """Composite blocks of this recipe."""
    graph: dict[str, NodeSpec | str] = {}
    """Nodes: a mapping is a block, a text an expression."""
    tasks: dict[str, Task]
    """Tasks by name."""
    losses: Annotated[dict[str, LossTerm], Later()] = {}
    """Further terms of the loss by name, logged under it."""
    relations: Annotated[tuple[Relation, ...], BeforeValidator(as_tuple)] = ()
    """Edges between tasks."""
    kernels: Kernels = Kernels()
    """Which kernels are asked for."""
    train: Train = Train()
    """How to train."""
    export: Export = Export()
    """How to export."""
    search: Annotated[dict[str, Range], Later(), Unhashed()] = {}
    """What `graphrec tune` may change: path -> range of values."""
    meta: Any = None
    """Free-form notes; ignored."""

    origin: Annotated[Origin | None, Field(exclude=True)] = None
    """Where every value came from; not part of the recipe."""

    _measures: Measures = PrivateAttr(default_factory=Measures)

    @property
    def measures(self) -> Measures:
        """What names of losses and metrics mean here."""
        return self._measures

    def with_measures(self, measures: Measures) -> Recipe:
        """The same recipe, its names of losses and metrics read so."""
        recipe = self.model_copy()
        recipe._measures = measures
        return recipe


class Origin(BaseModel):
    """Spans of a recipe's values by path (`features.price.dim`), and the files it was read from."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    keys: Mapping[str, Span]
    """Span of each key or list element."""
    values: Mapping[str, Span]
    """Span of each value."""
    root: str = "."
    """Folder of the first recipe."""
    title: str = ""
    """The recipe's file name, as shown in generated code."""
    sources: Mapping[str, str] = {}
    """Text of every file read, for diagnostics."""

    def key(self, path: str) -> Span | None:
        """Where the key at `path` stands, or the nearest enclosing one."""
        return self._find(self.keys, path)

    def value(self, path: str) -> Span | None:
        """Where the value at `path` stands, or the nearest enclosing one."""
        return self._find(self.values, path)

    @staticmethod
    def _find(spans: Mapping[str, Span], path: str) -> Span | None:
        while path:
            if path in spans:
                return spans[path]
            path = path.rpartition(".")[0]
        return spans.get("")


Recipe.model_rebuild()
