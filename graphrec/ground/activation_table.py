"""The one table of activations: names, parameters, layers, and which kernels know them.

A recipe writes `relu`, `leaky_relu(0.2)` or `hardtanh(min_val=-2, max_val=2)`; `read_activation`
gives the row and the parameters. Layers are named by path, so that nothing here needs torch.
To add one: a row here; only if the kernels are to know it, its formula in kernels/ops/reference.py
and kernels/triton/activations.py. A plugin has rows of its own, as constants of its module:

    SQUARED = Activation("my_layers:Squared", "max(x, 0) ** power.", {"power": Number(2.0)})

which recipes write `squared(3)` and generated code `my_activations:SQUARED(power=3)`: what runs
without the compiler finds the row by that path. Only rows of plugins that the user named get there.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "ACTIVATIONS",
    "FUSED",
    "Activation",
    "Number",
    "Word",
    "canonical_activation",
    "read_activation",
    "row_of",
]

Value = float | str


@dataclass(frozen=True)
class Number:
    """A parameter: its default, and the smallest and largest value it may have."""

    default: float
    low: float = -1e30
    high: float = 1e30
    positive: bool = False

    def check(self, value: object) -> float:
        """The number; ValueError if it is none, or outside."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"expected a number, got `{value}`")
        if not self.low <= value <= self.high or (self.positive and value <= 0):
            below = "above 0" if self.positive else f"from {self.low:g}"
            above = f" to {self.high:g}" if self.high < 1e30 else ""
            raise ValueError(f"expected a number {below}{above}, got {value:g}")
        return float(value)


@dataclass(frozen=True)
class Word:
    """A parameter that is one of some words, the first by default."""

    options: tuple[str, ...]

    @property
    def default(self) -> str:
        return self.options[0]

    def check(self, value: object) -> str:
        """The word; ValueError if it is none of them."""
        if value not in self.options:
            raise ValueError(f"expected one of {', '.join(self.options)}, got `{value}`")
        return str(value)


@dataclass(frozen=True)
class Activation:
    """One activation; `layer` is made from its parameters.

    `width`: the layer takes the width of its input first. `inplace`: it can overwrite its input,
    and takes `inplace=True`. `rectifies`: weights before it start He uniform, not Glorot uniform.
    `lives`: in training each application draws numbers or moves statistics. `learns`: one weight,
    or one for each column, or none. `slope`: what the kernels, which know this activation with its
    default parameters, compute its slope from; "" where they do not know it. `path` is where the
    row of a plugin stands.
    """

    layer: str
    doc: str
    parameters: Mapping[str, Number | Word] = field(default_factory=dict)
    width: bool = False
    inplace: bool = False
    rectifies: bool = False
    lives: bool = False
    learns: Literal["", "one", "each"] = ""
    slope: Literal["", "none", "input", "output"] = ""
    path: str = ""


_ALPHA = {"alpha": Number(1.0, positive=True)}
_LAMBDA = {"lambd": Number(0.5, low=0)}

ACTIVATIONS: Mapping[str, Activation] = {
    "relu": Activation("torch.nn:ReLU", "max(x, 0).", inplace=True, rectifies=True, slope="output"),
    "none": Activation("torch.nn:Identity", "x.", slope="none"),
    "celu": Activation(
        "torch.nn:CELU", "x, below 0 alpha (exp(x / alpha) - 1).", _ALPHA, rectifies=True
    ),
    "dice": Activation(
        "graphrec.nn.activations:Dice",
        "a (1 - p) x + p x with p = sigmoid(batch norm of x), a learnt (Zhou et al., 2018).",
        width=True,
        rectifies=True,
        lives=True,
        learns="each",
    ),
    "elu": Activation("torch.nn:ELU", "x, below 0 alpha (exp(x) - 1).", _ALPHA, rectifies=True),
    "gelu": Activation(
        "torch.nn:GELU",
        "x times the normal distribution's share below x; approximate=tanh is cheaper.",
        {"approximate": Word(("none", "tanh"))},
        rectifies=True,
        slope="input",
    ),
    "hardshrink": Activation("torch.nn:Hardshrink", "x, between -lambd and lambd 0.", _LAMBDA),
    "hardsigmoid": Activation("torch.nn:Hardsigmoid", "x / 6 + 1 / 2, cut at 0 and 1."),
    "hardswish": Activation("torch.nn:Hardswish", "x hardsigmoid(x).", rectifies=True),
    "hardtanh": Activation(
        "torch.nn:Hardtanh",
        "x, cut at min_val and max_val.",
        {"min_val": Number(-1.0), "max_val": Number(1.0)},
    ),
    "leaky_relu": Activation(
        "torch.nn:LeakyReLU",
        "x, below 0 negative_slope x.",
        {"negative_slope": Number(0.01, low=0, high=1)},
        inplace=True,
        rectifies=True,
        slope="output",
    ),
    "logsigmoid": Activation("torch.nn:LogSigmoid", "log sigmoid(x)."),
    "mish": Activation("torch.nn:Mish", "x tanh(softplus(x)) (Misra, 2019).", rectifies=True),
    "prelu": Activation(
        "torch.nn:PReLU",
        "x, below 0 a x, with one learnt a.",
        {"init": Number(0.25)},
        rectifies=True,
        learns="one",
    ),
    "relu6": Activation("torch.nn:ReLU6", "max(x, 0), at most 6.", rectifies=True),
    "rrelu": Activation(
        "torch.nn:RReLU",
        "x, below 0 a x, with a drawn between lower and upper in training.",
        {"lower": Number(1 / 8, low=0, high=1), "upper": Number(1 / 3, low=0, high=1)},
        rectifies=True,
        lives=True,
    ),
    "selu": Activation("torch.nn:SELU", "A scaled elu (Klambauer et al., 2017).", rectifies=True),
    "sigmoid": Activation(
        "graphrec.nn.activations:Sigmoid", "1 / (1 + exp(-x)).", inplace=True, slope="output"
    ),
    "silu": Activation("torch.nn:SiLU", "x sigmoid(x).", rectifies=True, slope="input"),
    "softplus": Activation(
        "torch.nn:Softplus",
        "log(1 + exp(beta x)) / beta, and x where beta x is above threshold.",
        {"beta": Number(1.0, positive=True), "threshold": Number(20.0, positive=True)},
        rectifies=True,
    ),
    "softshrink": Activation("torch.nn:Softshrink", "x, nearer to 0 by lambd.", _LAMBDA),
    "softsign": Activation("torch.nn:Softsign", "x / (1 + |x|)."),
    "tanh": Activation(
        "graphrec.nn.activations:Tanh", "Hyperbolic tangent.", inplace=True, slope="output"
    ),
    "tanhshrink": Activation("torch.nn:Tanhshrink", "x - tanh(x)."),
    "threshold": Activation(
        "torch.nn:Threshold",
        "x where it is above threshold, else value.",
        {"threshold": Number(0.0), "value": Number(0.0)},
        rectifies=True,
    ),
}
"""By the name in recipes; the default of every block is `relu`."""

FUSED: tuple[str, ...] = tuple(sorted(name for name, row in ACTIVATIONS.items() if row.slope))
"""The activations that Triton's and the native operators know."""


def row_of(name: str) -> Activation | None:
    """The row of the table, or of a plugin by its path, if there is one."""
    if ":" not in name:
        return ACTIVATIONS.get(name)
    module, _, constant = name.partition(":")
    row = getattr(importlib.import_module(module), constant, None)
    return row if isinstance(row, Activation) else None


def read_activation(
    text: str, table: Mapping[str, Activation] | None = None
) -> tuple[str, Mapping[str, Value]]:
    """The name of an activation, and its parameters where they differ from the defaults.

    `table` are the rows by name, by default those of `row_of`. Raises KeyError (with the name) for
    an unknown one, ValueError for wrong parameters.

    >>> read_activation("leaky_relu(0.2)")
    ('leaky_relu', {'negative_slope': 0.2})
    """
    name, _, inside = text.strip().partition("(")
    row = row_of(name.strip()) if table is None else table.get(name.strip())
    if row is None:
        raise KeyError(name.strip())
    if "(" in text and (not inside.endswith(")") or not inside[:-1].strip()):
        raise ValueError(f"expected {name} or {name}(parameters), got `{text}`")
    given: dict[str, Value] = {}
    for key, value in _arguments(text, row) if inside else ():
        if key not in row.parameters:
            known = ", ".join(row.parameters) or "no parameters"
            raise ValueError(f"{name} has no `{key}`; it has {known}")
        if key in given:
            raise ValueError(f"`{key}` of {name} is given twice")
        try:
            given[key] = row.parameters[key].check(value)
        except ValueError as error:
            raise ValueError(f"{key} of {name}: {error}") from None
    _check_together(name, {key: p.default for key, p in row.parameters.items()} | given)
    return name.strip(), {
        key: given[key]
        for key, parameter in row.parameters.items()
        if key in given and given[key] != parameter.default
    }


def canonical_activation(text: str, table: Mapping[str, Activation] = ACTIVATIONS) -> str:
    """The text with named parameters, without those that are the defaults; a plugin's by its path.

    >>> canonical_activation("leaky_relu(0.2)"), canonical_activation("elu(alpha=1)")
    ('leaky_relu(negative_slope=0.2)', 'elu')
    """
    name, given = read_activation(text, table)
    name = table[name].path or name
    inside = ", ".join(f"{key}={_shown(value)}" for key, value in given.items())
    return f"{name}({inside})" if inside else name


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def _arguments(text: str, row: Activation) -> list[tuple[str, object]]:
    """(parameter, value) as written; those without a name in the order of the table."""
    try:
        call = ast.parse(f"f({text.partition('(')[2].strip()}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"can't read the parameters of `{text}`") from None
    if not isinstance(call, ast.Call) or any(keyword.arg is None for keyword in call.keywords):
        raise ValueError(f"can't read the parameters of `{text}`")
    if len(call.args) > len(row.parameters):
        raise ValueError(f"takes {len(row.parameters)} parameters, got {len(call.args)}: `{text}`")
    named = list(zip(row.parameters, map(_literal, call.args), strict=False))
    return [*named, *((str(keyword.arg), _literal(keyword.value)) for keyword in call.keywords)]


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        return -value if isinstance(value, int | float) else None
    if isinstance(node, ast.Name):
        return node.id
    return node.value if isinstance(node, ast.Constant) else ast.unparse(node)


def _check_together(name: str, values: Mapping[str, Value]) -> None:
    """What two parameters have to fulfil together."""
    pairs = {"hardtanh": ("min_val", "max_val"), "rrelu": ("lower", "upper")}
    if name in pairs:
        low, high = (float(values[key]) for key in pairs[name])
        if low > high or (name == "hardtanh" and low == high):
            raise ValueError(f"{pairs[name][0]} of {name} is below {pairs[name][1]}")
