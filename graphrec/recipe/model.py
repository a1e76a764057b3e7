"""The recipe as data: what was said, complete and typed, after merging and expansion.

`recipe.read_recipe` makes these objects; every other room reads them. Field docstrings are the
documentation of the language: the JSON schema and the editor's hover text come from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from graphrec.ground.errors import Span
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
from graphrec.recipe.label_spec import LabelSpec
from graphrec.recipe.measures import Measures
from graphrec.recipe.nodes import (
    NODE_WORDS,
    TERM_WORDS,
    Composite,
    LossTerm,
    NodeSpec,
    Parameter,
    Teacher,
)
from graphrec.recipe.retrieval import RETRIEVAL, Retrieval
from graphrec.recipe.search_space import Range
from graphrec.recipe.strict_model import (
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
    "Retrieval",
    "SequenceFeature",
    "Space",
    "TERM_WORDS",
    "Task",
    "Teacher",
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


# ---- tasks ------------------------------------------------------------------------------------


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
    tasks: dict[str, Task] = {}
    """Tasks by name; there may be none where there are losses or retrieval."""
    retrieval: Annotated[Retrieval | None, Later()] = None
    """Two nodes that meet in an inner product, and the items to search; instead of tasks."""
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

    def with_wanted(self) -> Recipe:
        """Where there is retrieval, the same recipe with its label as that of a task."""
        if self.retrieval is None or self.retrieval.label is None:
            return self
        task = Task(label=self.retrieval.label, logit="", loss={}, metrics=())
        return self.model_copy(update={"tasks": {RETRIEVAL: task}})

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
