"""How to read data, train and choose kernels: the parts of a recipe beside the model itself."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic import NonNegativeFloat as NonNegative
from pydantic import PositiveFloat as Rate

from graphrec.recipe.optimizer_table import OPTIMIZERS
from graphrec.recipe.strict_model import Later, Model, Positive, Unhashed, expect_one_of

__all__ = [
    "Balance",
    "Data",
    "Device",
    "EarlyStop",
    "Export",
    "Kernels",
    "LearningRate",
    "Limits",
    "Optim",
    "Optimizer",
    "ParameterGroup",
    "Save",
    "Schedule",
    "Split",
    "Train",
]


def _paths(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_paths)]


def _last(value: Any) -> Any:
    """The text, or what a share of the rows should have been."""
    if isinstance(value, int | float):
        share = value if 0 < value < 1 else 0.1
        raise ValueError(f"expected last(N), got {value}; a share of the rows is random: {share}")
    return value


class Split(Model):
    """Cut evaluation rows out of the training files."""

    by: str | None = None
    """Column whose values decide."""
    eval: Annotated[str | None, BeforeValidator(_last)] = None
    """last(N): the rows with the N largest values of the column."""
    random: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, Later()] = None
    """Share of the rows, drawn by chance; with `by`: of its values, each with all its rows."""


class Limits(Model):
    """Shares beyond which data is an error (GR713) instead of a remark."""

    unseen: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of a feature's values: those not in its vocabulary, or (hash) never trained."""
    quarantined: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the rows: those left out by bad_rows: quarantine."""


class Data(Model):
    """Where rows come from."""

    train: Paths = ()
    """Globs of training files (Parquet or CSV)."""
    eval: Paths = ()
    """Globs of evaluation files."""
    format: Literal["auto", "parquet", "csv"] = "auto"
    """Guessed from the suffix unless said."""
    sep: str = ","
    """Separator of CSV columns."""
    quote: Annotated[Literal["double", "none"], Later()] = "double"
    """CSV cells may stand in double quotes; none: a quote is a character like any other."""
    columns: Annotated[Paths, Later()] = ()
    """Names of the columns of CSV files without a header line."""
    nulls: Annotated[Paths, Later()] = ("\\N", "NULL")
    """Texts that mean null wherever they are a whole cell; an empty text always does."""
    split: Split | None = None
    """Cut evaluation rows out of the training files."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Background readers; 0 reads in the training loop."""
    shuffle: Annotated[int, Field(ge=0)] = 262_144
    """Rows mixed in memory at a time; 0 keeps the order of the files."""
    bad_rows: Literal["error", "quarantine"] = "error"
    """What happens to rows that can't be read."""
    limits: Annotated[Limits, Later()] = Limits()
    """Shares of unseen values and of rows left out beyond which a run ends with an error."""
    overlap: Annotated[Literal["refuse", "allow"], Later()] = "refuse"
    """Whether globs may take the same files for training and for evaluation."""
    synthetic: Positive | None = None
    """Generate this many rows for the recipe's own features and tasks instead of reading files."""


class LearningRate(Model):
    """Learning rates of dense parameters and of tables."""

    dense: Rate = 1e-3
    """Rate of dense parameters."""
    sparse: Rate | None = None
    """Rate of tables; unless given 0.02 for the adagrads, the dense rate for adam and sgd."""


class Optimizer(Model):
    """An optimizer with its settings."""

    name: Annotated[
        str,
        AfterValidator(partial(expect_one_of, OPTIMIZERS)),
        WithJsonSchema({"enum": [*OPTIMIZERS]}),
    ]
    """Which one."""
    betas: Annotated[tuple[float, float], BeforeValidator(_paths)] = (0.9, 0.999)
    """Adam: decay of the moments."""
    eps: Rate = 1e-10
    """Added to the denominator."""
    momentum: NonNegative = 0.0
    """SGD: momentum (dense parameters only)."""
    weight_decay: NonNegative = 0.0
    """L2 penalty (adam, sgd, adagrad) or decoupled decay (adamw)."""


class Optim(Model):
    """One optimizer for dense parameters, one for tables."""

    dense: Optimizer = Optimizer(name="adam")
    """Dense parameters: adam, adamw, adagrad, sgd."""
    sparse: Optimizer = Optimizer(name="adagrad")
    """Tables: adam, adagrad, rowwise_adagrad, sgd; only the batch's rows are touched."""


class Schedule(Model):
    """The learning rate over updates; a factor on both rates."""

    kind: Literal["constant", "exponential", "steps", "cosine", "restarts", "linear"] = "constant"
    """Shape of the curve after warm-up."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Updates of linear warm-up."""
    warmup_from: NonNegative = 0.0
    """Factor at the first warm-up update."""
    gamma: Rate = 0.9
    """exponential and steps: factor of each decay."""
    every: Positive = 1000
    """exponential and restarts: updates between decays or restarts."""
    staircase: bool = False
    """exponential: decay in steps."""
    at: Annotated[tuple[Positive, ...], BeforeValidator(_paths)] = ()
    """steps: updates at which the rate decays."""
    minimum: NonNegative = 0.0
    """Smallest factor."""


class EarlyStop(Model):
    """Stop when a metric has not improved."""

    metric: str
    """<task>.<metric>."""
    patience: Positive = 2
    """Evaluations without improvement."""


class Save(Model):
    """Which checkpoints are kept."""

    best: str | None = None
    """<task>.<metric> by which the best checkpoint is chosen."""
    keep: Positive = 3
    """Number of latest checkpoints kept, besides the best."""
    every: Positive | None = None
    """Updates between checkpoints; one is always written at the end."""
    minutes: Annotated[NonNegative, Later()] = 5.0
    """Minutes between checkpoints written while training goes on; 0: none by the clock."""


class ParameterGroup(Model):
    """Settings for the parameters of some nodes."""

    lr: Rate | None = None
    """Learning rate."""
    weight_decay: NonNegative | None = None
    """Weight decay."""


class Balance(Model):
    """How the losses of several tasks become one."""

    kind: Literal["none", "pareto", "uncertainty"] = "none"
    """Their sum, Pareto-efficient weights of each step, or weights by learned uncertainty."""
    min: dict[str, NonNegative] = {}
    """pareto: least weight of each loss of a task; together below 1."""
    over: Literal["shared", "all"] = "shared"
    """pareto: gradients of the dense parameters that several tasks reach, or of all with tables."""


Device = Literal["auto", "cpu", "cuda"]
"""Where a model runs: `auto` is CUDA where there is some, else the CPU."""

Sharding = Literal[
    "auto", "table_wise", "row_wise", "column_wise", "table_row_wise", "data_parallel"
]
"""torchrec's ways to divide a table; `auto` lets its planner choose."""


class Train(Model):
    """How to train."""

    epochs: Positive | None = None
    """Passes over the data (default 1)."""
    steps: Positive | None = None
    """Updates, instead of epochs."""
    batch: Positive = 4096
    """Rows per step."""
    accumulate: Positive = 1
    """Steps per update."""
    lr: LearningRate = LearningRate()
    """Learning rates."""
    optim: Optim = Optim()
    """Optimizers."""
    schedule: Schedule = Schedule()
    """Learning rate over time."""
    table_schedule: Annotated[Schedule | None, Later()] = None
    """Learning rate of the tables over time; by default that of `schedule`."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the dense part; tables, optimizer state and metrics stay fp32."""
    clip: Rate | None = None
    """Largest global norm of the dense gradient."""
    balance: Balance = Balance()
    """none, uncertainty, or {pareto: {min: {ctr: 0.2}}}: how the tasks' losses become one."""
    early_stop: EarlyStop | None = None
    """Stop when a metric has not improved."""
    save: Save = Save()
    """Which checkpoints are kept."""
    eval_every: Positive | None = None
    """Updates between evaluations; always at the end of an epoch too."""
    log_every: Positive = 50
    """Updates between lines of metrics.jsonl."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of weights, shuffling and dropout."""
    compile: bool = False
    """Run the module through torch.compile."""
    memory: Annotated[Literal["normal", "low"], Unhashed()] = "normal"
    """low: nodes keep only inputs and are computed again in the backward pass; equal numbers."""
    device: Annotated[Device, Unhashed()] = "auto"
    """auto (CUDA where there is some), cpu or cuda: where to train, what kernels are chosen for."""
    dir: str | None = None
    """Run folder; default runs/<name>."""
    groups: dict[str, ParameterGroup] = {}
    """Settings by glob of node names."""
    shard: Annotated[dict[str, Sharding], Later()] = {}
    """On many processes: how a table is divided among them, by its name; `*` is every other one."""

    @property
    def of_tables(self) -> Schedule:
        """The schedule of the tables."""
        return self.table_schedule or self.schedule

    @property
    def sparse_rate(self) -> float:
        """Learning rate of tables: Adagrad's shrinks with use, so it starts higher than Adam's."""
        if self.lr.sparse is not None:
            return self.lr.sparse
        rate = OPTIMIZERS[self.optim.sparse.name].rate
        return self.lr.dense if rate is None else rate


class Kernels(Model):
    """Which kernels are asked for."""

    default: str = "auto"
    """auto: the measured fastest that is eligible, else torch."""
    by_block: dict[str, str] = {}
    """Kernel per block."""
    by_node: dict[str, str] = {}
    """Kernel per glob of node names; the most specific wins."""
    policy: Literal["fallback", "strict"] = "fallback"
    """An ineligible kernel is a warning and torch, or an error."""


class Export(Model):
    """How to export."""

    nodes: Annotated[tuple[str, ...], BeforeValidator(_paths)] = ()
    """Further nodes whose outputs are returned."""
