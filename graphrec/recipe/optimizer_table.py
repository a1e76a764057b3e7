"""The one table of optimizers: what each reads, what computes it, what it keeps, its kernels.

To add one for tables: a row here, its rule in graphrec/train/table_optimizers.py, its test. The
recipe's checks, the schema, sizes, kernel choice and the importer read this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DENSE", "OPTIMIZERS", "SPARSE", "OptimizerRow"]


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer; `doc` is a sentence, `settings` the keys it reads.

    `dense` and `sparse` name the functions that update dense parameters and rows of tables, ""
    where there is none; `dense_slots` and `sparse_slots` what they keep of every parameter, shaped
    like its weights (`step` is a number; with `by_row` it is one number for a row). `rate` is the
    usual learning rate of tables, None for that of the dense side. `native` and `fbgemm` say which
    kernels of tables know its rule.
    """

    doc: str
    settings: tuple[str, ...]
    dense: str = ""
    dense_slots: tuple[str, ...] = ()
    sparse: str = ""
    sparse_slots: tuple[str, ...] = ()
    by_row: bool = False
    rate: float | None = None
    native: bool = False
    fbgemm: bool = False

    @property
    def numbers_per_weight(self) -> float:
        """How many numbers are kept for each weight of a table."""
        return 0.0 if self.by_row else float(len(self.sparse_slots))


_MOMENTS = ("exp_avg", "exp_avg_sq")

OPTIMIZERS: Mapping[str, OptimizerRow] = {
    "adam": OptimizerRow(
        "Adam (Kingma & Ba, 2015); weight_decay is an L2 penalty.",
        ("betas", "eps", "weight_decay"),
        dense="graphrec.train.dense_optimizers:update_adam",
        dense_slots=("step", *_MOMENTS),
        sparse="graphrec.train.table_optimizers:adam_rows",
        sparse_slots=_MOMENTS,
        native=True,
    ),
    "adamw": OptimizerRow(
        "Adam with decoupled weight decay (Loshchilov & Hutter, 2019).",
        ("betas", "eps", "weight_decay"),
        dense="graphrec.train.dense_optimizers:update_adamw",
        dense_slots=("step", *_MOMENTS),
    ),
    "adagrad": OptimizerRow(
        "Adagrad (Duchi et al., 2011), one sum of squares for every weight.",
        ("eps", "weight_decay"),
        dense="graphrec.train.dense_optimizers:update_adagrad",
        dense_slots=("step", "sum"),
        sparse="graphrec.train.table_optimizers:adagrad_rows",
        sparse_slots=("sum",),
        rate=0.02,
        native=True,
        fbgemm=True,
    ),
    "rowwise_adagrad": OptimizerRow(
        "Adagrad with one sum of squares for every row of a table.",
        ("eps", "weight_decay"),
        sparse="graphrec.train.table_optimizers:rowwise_adagrad_rows",
        sparse_slots=("sum",),
        by_row=True,
        rate=0.02,
        native=True,
        fbgemm=True,
    ),
    "sgd": OptimizerRow(
        "Plain gradient descent; momentum for dense parameters.",
        ("momentum", "weight_decay"),
        dense="graphrec.train.dense_optimizers:update_sgd",
        dense_slots=("momentum_buffer",),
        sparse="graphrec.train.table_optimizers:sgd_rows",
        native=True,
        fbgemm=True,
    ),
}
"""By the name in recipes."""

DENSE = tuple(name for name, row in OPTIMIZERS.items() if row.dense)
"""Those of dense parameters."""
SPARSE = tuple(name for name, row in OPTIMIZERS.items() if row.sparse)
"""Those of tables."""
