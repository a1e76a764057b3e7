"""Dense layers: `Linear`, `Dense` (one perceptron layer) and `MLP`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from graphrec.nn.activations import BatchNorm, activation, rectifies
from graphrec.nn.batch import Jagged
from graphrec.nn.packed_linear import PackedLinear
from graphrec.nn.split import Split, linear

__all__ = ["MLP", "Dense", "Linear", "dtype_of", "side_by_side"]

_NORMS = ("none", "batch", "layer")


class Linear(nn.Linear):
    """x W^T + b on [..., in_features] or on the values of a Jagged; returns the same kind.

    Weights start Glorot uniform, the bias at zero.
    """

    def __init__(self, in_features: int, out: int, bias: bool = True) -> None:
        super().__init__(in_features, out, bias)
        self.ready: PackedLinear | None = None

    def reset_parameters(self) -> None:
        """Draw new weights."""
        _draw(self.weight, self.bias, "none")

    def make_ready(self, dtype: torch.dtype | None) -> Sequence[nn.Module]:
        """Make the copy of the weights for inference, see `graphrec.nn.prepare`."""
        self.ready = _ready(self.weight, self.bias, dtype)
        return (self.ready,)

    def affine(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias; in a prepared module the copy's."""
        used = self if self.ready is None else self.ready
        return used.weight, used.bias

    def forward(self, x: Tensor | Jagged | Split) -> Tensor | Jagged:  # type: ignore[override]
        if isinstance(x, Jagged):
            return x.replace(self._product(x.values))
        return self._product(x)

    def _product(self, x: Tensor | Split) -> Tensor:
        if self.ready is None:
            return linear(x, self.weight, self.bias)
        y: Tensor = self.ready(x)
        return y.to(dtype_of(x))


class Dense(nn.Module):
    """One perceptron layer on [..., in_features]: Linear -> norm -> activation -> dropout.

    `norm` is `none`, `batch` (over the last axis; the Linear then has no bias, which the norm would
    take away again) or `layer`. Weights start He uniform before the rectifier-like activations and
    Glorot uniform before the others; biases start at zero.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "relu",
        norm: str = "none",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if norm not in _NORMS:
            raise ValueError(f"unknown norm `{norm}`; there are {', '.join(_NORMS)}")
        self.in_features, self.out_features, self.activation = in_features, out_features, activation
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        with_bias = bias and norm != "batch"
        self.bias = nn.Parameter(torch.empty(out_features)) if with_bias else None
        self.norm = _norm(norm, out_features)
        # In place: its input is made here and read by nobody else, not even by a gradient.
        self.act = _activation(activation, out_features)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.ready: PackedLinear | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights; the norm and the activation reset themselves."""
        _draw(self.weight, self.bias, self.activation)

    def make_ready(self, dtype: torch.dtype | None) -> Sequence[nn.Module]:
        """Make the copy of the weights for inference, with the batch norm in it; no dropout."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if isinstance(self.norm, BatchNorm):
            weight, bias = _folded(self.norm, weight, bias)
        self.ready, self.dropout = _ready(weight, bias, dtype), None
        return (self.ready,)

    def affine(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the Linear before `finish`; in a prepared module the copy's."""
        used = self if self.ready is None else self.ready
        return used.weight, used.bias

    def forward(self, x: Tensor | Split) -> Tensor:
        if self.ready is not None:
            return self.finish(self.ready(x))
        if self.activation == "relu" and self.norm is None:
            x = linear(x, self.weight, self.bias, rectified=True)
            return x if self.dropout is None else self.dropout(x)
        return self.finish(linear(x, self.weight, self.bias))

    def finish(self, x: Tensor) -> Tensor:
        """Everything after the Linear; may overwrite `x` [..., out_features]."""
        if self.ready is not None:
            return self._finish_ready(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.act is not None:
            x = self.act(x)
        return x if self.dropout is None else self.dropout(x)

    def _finish_ready(self, x: Tensor) -> Tensor:
        """`finish` without the norm that is folded; parameters of norm and activation are wide."""
        if self.norm is not None and not isinstance(self.norm, BatchNorm):
            x = self.norm(x.to(self.weight.dtype))
        if self.act is None:
            return x
        wide = any(True for _ in self.act.parameters())
        y: Tensor = self.act(x.to(self.weight.dtype) if wide else x)
        return y

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def side_by_side(layers: Sequence[Dense] | Sequence[Linear], x: Tensor | Split) -> Tensor:
    """The Linears of all `layers` over one x, one after another on the last axis: one product."""
    parts = [layer.affine() for layer in layers]
    weight = torch.cat([weight for weight, _ in parts])
    biases = [bias for _, bias in parts if bias is not None]
    if isinstance(x, Tensor) and layers[0].ready is not None:
        x = x.to(weight.dtype)
    return linear(x, weight, torch.cat(biases) if biases else None)


class MLP(nn.Module):
    """A stack of `Dense` layers of the widths `hidden`, on [..., in_features] or a Jagged.

    Returns the same kind as it gets: a Jagged keeps its lengths, and its statistics count real
    steps only. `dropout` is one probability or one per hidden layer. `out` adds a last Linear of
    that width without norm, activation and dropout. With `hidden_outputs` a tuple of every layer's
    output is returned (the Linear's last, if there is one). `bias=False` takes it from all layers.

    Keys: `layers.<i>.weight`, `layers.<i>.bias`, `layers.<i>.norm.*`, `layers.<i>.act.*`,
    `out.weight`, `out.bias`.

    >>> MLP(8, [4, 2], out=1)(torch.zeros(3, 8)).shape
    torch.Size([3, 1])
    """

    layer: ClassVar[type[Dense]] = Dense
    """What the stack is made of; a kernel with other layers is a subclass."""

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
        out: int | None = None,
        hidden_outputs: bool = False,
    ) -> None:
        super().__init__()
        if not hidden and out is None:
            raise ValueError("an MLP needs at least one width in `hidden`, or `out`")
        rates = [dropout] * len(hidden) if isinstance(dropout, int | float) else list(dropout)
        if len(rates) != len(hidden):
            raise ValueError(f"`dropout` has {len(rates)} numbers for {len(hidden)} hidden layers")
        widths = [in_features, *hidden]
        self.layers = nn.ModuleList(
            self.layer(*pair, activation=activation, norm=norm, dropout=rate, bias=bias)
            for pair, rate in zip(zip(widths, hidden, strict=False), rates, strict=True)
        )
        self.out: Linear | None = None if out is None else Linear(widths[-1], out, bias)
        self.in_features, self.out_features = in_features, widths[-1] if out is None else out
        self.hidden_outputs = hidden_outputs

    def reset_parameters(self) -> None:
        """Draw new weights and reset every norm and activation."""
        for part in list(self.modules())[1:]:
            reset = getattr(part, "reset_parameters", None)
            if reset is not None:
                reset()

    def forward(self, x: Tensor | Jagged | Split) -> Tensor | Jagged | tuple[Tensor | Jagged, ...]:
        values = x.values if isinstance(x, Jagged) else x
        outputs = self._run(values)
        if self._is_ready():
            outputs = [y.to(dtype_of(values)) for y in outputs]
        kept = [x.replace(y) for y in outputs] if isinstance(x, Jagged) else outputs
        return tuple(kept) if self.hidden_outputs else kept[-1]

    def _run(self, x: Tensor | Split) -> list[Tensor]:
        outputs: list[Tensor] = []
        for layer in self.layers:
            y: Tensor = layer(x)
            outputs.append(y)
            x = y
        if self.out is not None:
            outputs.append(self.out(x))
        return outputs

    def _is_ready(self) -> bool:
        return any(getattr(layer, "ready", None) is not None for layer in self.layers)


def dtype_of(x: Tensor | Split) -> torch.dtype:
    """The type of its numbers."""
    return x.candidates.dtype if isinstance(x, Split) else x.dtype


def _ready(weight: Tensor, bias: Tensor | None, dtype: torch.dtype | None) -> PackedLinear:
    narrow = None if bias is None else bias.to(dtype or bias.dtype)
    return PackedLinear(weight.to(dtype or weight.dtype), narrow)


def _folded(norm: BatchNorm, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of the Linear that computes Linear and batch norm in evaluation."""
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() if bias is None else bias.double() - norm.running_mean
    if norm.weight is not None and norm.bias is not None:
        scale = scale * norm.weight
        shift = shift * scale + norm.bias
    else:
        shift = shift * scale
    return (weight * scale.unsqueeze(1)).to(weight.dtype), shift.to(weight.dtype)


def _norm(name: str, width: int) -> nn.Module | None:
    if name == "batch":
        return BatchNorm(width)
    return nn.LayerNorm(width) if name == "layer" else None


def _activation(name: str, width: int) -> nn.Module | None:
    return None if name == "none" else activation(name, width, inplace=True)


def _draw(weight: Tensor, bias: Tensor | None, activation: str) -> None:
    if rectifies(activation):
        nn.init.kaiming_uniform_(weight, nonlinearity="relu")
    else:
        nn.init.xavier_uniform_(weight)
    if bias is not None:
        nn.init.zeros_(bias)
