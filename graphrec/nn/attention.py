"""Self attention over histories; the one layer that pads inside, because the matrices need it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.dense import Linear
from graphrec.nn.packed_linear import PackedLinear
from graphrec.nn.products import product
from graphrec.nn.segments import as_jagged, longest, places, segment_sum

__all__ = ["SelfAttention"]


class SelfAttention(nn.Module):
    """Multi-head attention among the steps of a row, then the mean over them, [B, width].

    With pool `none` every step instead, as the keys came: [T, width] or [B, N, width].

    Q, K, V are three Linears to `width`, followed by the attention's own projections `in_proj`
    (rows of q, k, v) and `out_proj`, scaled by 1/sqrt(width / heads). `positions` adds learnt
    vectors counted from the newest step; steps further back share the last one. `skip` adds the
    step itself (needs in_features == width), `norm` is a layer norm behind it, `dropout` drops
    weights of the attention. Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(
        self,
        in_features: int,
        width: int = 512,
        heads: int = 8,
        positions: int | None = None,
        skip: bool = False,
        norm: bool = False,
        pool: str = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        if skip and in_features != width:
            raise ValueError(f"skip needs width {in_features}, got {width}")
        if pool not in ("mean", "none"):
            raise ValueError(f"unknown pool `{pool}`; there are mean, none")
        self.heads, self.skip, self.pool, self.dropout = heads, skip, pool, dropout
        self.q = Linear(in_features, width)
        self.k = Linear(in_features, width)
        self.v = Linear(in_features, width)
        self.in_proj = Linear(width, 3 * width)
        self.out_proj = Linear(width, width)
        self.norm = nn.LayerNorm(width) if norm else None
        self.positions = (
            nn.Parameter(torch.empty(positions, in_features)) if positions is not None else None
        )
        self.ready: nn.ModuleList | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new position vectors; the Linears and the norm reset themselves."""
        if self.positions is not None:
            nn.init.normal_(self.positions, std=0.02)

    def forward(self, keys: Tensor | Jagged) -> Tensor | Jagged:
        steps = as_jagged(keys)
        rows = steps.rows()
        place = places(steps, rows)
        x = steps.values
        if self.positions is not None:
            age = steps.lengths.index_select(0, rows) - 1 - place
            x = x + self.positions.index_select(0, age.clamp(max=self.positions.shape[0] - 1))
        mixed = self._attend(x, steps, rows, place)
        count = steps.lengths.clamp(min=1).unsqueeze(-1)
        if self.pool == "mean" and not self.skip and self.norm is None:
            # The mean and the last Linear commute: one row instead of one step each.
            mean = segment_sum(mixed, rows, steps.num_rows) / count
            return torch.where(steps.lengths.unsqueeze(-1) > 0, self.out_proj(mean), 0.0)
        y: Tensor = self.out_proj(mixed)
        y = y + x if self.skip else y
        y = y if self.norm is None else self.norm(y)
        if self.pool == "none":
            if isinstance(keys, Jagged):
                return keys.replace(y)
            return y.reshape(*keys.shape[:2], y.shape[-1])
        return segment_sum(y, rows, steps.num_rows) / count

    def _attend(self, x: Tensor, steps: Jagged, rows: Tensor, place: Tensor) -> Tensor:
        """Multi-head attention of [T, D] within rows, [T, width]; padded here and nowhere else."""
        length, num_rows = longest(steps), steps.num_rows
        at = rows * length + place
        q, k, v = (self._heads(part, at, num_rows, length) for part in self._project(x))
        real = torch.arange(length, device=x.device) < steps.lengths.clamp(min=1).unsqueeze(-1)
        mask, rate = real[:, None, None, :], self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)
        return mixed.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, at)

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Q, K, V [T, width]. Two Linears in a row are one: their product costs no steps."""
        if self.ready is not None:
            return tuple(part(x).to(x.dtype) for part in self.ready)
        return tuple(product(x, weight, bias) for weight, bias in self._products())

    def _products(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of Q, K and V."""
        weights = self.in_proj.weight.chunk(3)
        biases = self.in_proj.bias.chunk(3)
        return [
            (weight @ first.weight, weight @ first.bias + bias)
            for weight, bias, first in zip(weights, biases, (self.q, self.k, self.v), strict=True)
        ]

    def make_ready(self, dtype: torch.dtype | None) -> Sequence[nn.Module]:
        """Multiply the Linears that follow each other once, see `graphrec.nn.prepare`."""
        products = [(w.to(dtype or w.dtype), b.to(dtype or b.dtype)) for w, b in self._products()]
        self.ready = nn.ModuleList(PackedLinear(weight, bias) for weight, bias in products)
        return (self.ready, self.q, self.k, self.v, self.in_proj)

    def _heads(self, x: Tensor, at: Tensor, num_rows: int, length: int) -> Tensor:
        padded = x.new_zeros(num_rows * length, x.shape[1]).index_copy_(0, at, x)
        sizes = (num_rows, length, self.heads, x.shape[1] // self.heads)
        return padded.reshape(sizes).transpose(1, 2)
