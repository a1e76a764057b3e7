"""Layers that join and cross features: FM, dot products, cross networks, CIN, WuKong, ..."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP, Linear
from graphrec.nn.functions import concat
from graphrec.nn.pair_sum import PairSum, pairs
from graphrec.nn.split import Split, whole

__all__ = [
    "CIN",
    "FM",
    "Bilinear",
    "Concat",
    "Cross",
    "CrossV2",
    "DotInteraction",
    "Regulation",
    "SENet",
    "WuKong",
]


class Concat(nn.Module):
    """The inputs side by side, on the last axis."""

    def forward(self, *xs: Tensor | Jagged) -> Tensor | Jagged:
        return concat(*xs)


class FM(nn.Module):
    """Sum of the products of all pairs of fields: [B, N, D] -> ((sum x)^2 - sum x^2) / 2, [B, D].

    >>> FM()(torch.tensor([[[1.0], [2.0], [3.0]]])).tolist()
    [[11.0]]
    """

    def forward(self, fields: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return pairs(fields, fields.sum(1))
        pair_sum: Tensor = PairSum.apply(fields)  # type: ignore[no-untyped-call]
        return pair_sum


class DotInteraction(nn.Module):
    """Inner products of all pairs of fields i < j, row by row: [B, N, D] -> [B, N (N - 1) / 2].

    Naumov et al., Deep Learning Recommendation Model, 2019.
    """

    pairs: Tensor

    def __init__(self, num_fields: int) -> None:
        super().__init__()
        first, second = torch.triu_indices(num_fields, num_fields, offset=1)
        self.register_buffer("pairs", first * num_fields + second, persistent=False)

    def forward(self, fields: Tensor) -> Tensor:
        products = torch.bmm(fields, fields.transpose(1, 2))
        return products.flatten(1).index_select(1, self.pairs)


class Cross(nn.Module):
    """One layer of a cross network: (w . x) x0 + b + x, [B, D].

    Wang et al., Deep & Cross Network for Ad Click Predictions, 2017.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, in_features))
        self.bias = nn.Parameter(torch.empty(in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        return torch.addcmul(x + self.bias, F.linear(x, self.weight), x0)


class CrossV2(nn.Module):
    """One layer of a cross network with a full matrix: x0 * (W x + b) + x, [B, D].

    With `rank` W = V U, of keys `u.weight` [rank, D], `v.weight` [D, rank] and `v.bias`; without it
    `w.weight` [D, D] and `w.bias`. Wang et al., DCN V2, WWW 2021.
    """

    def __init__(self, in_features: int, rank: int | None = None) -> None:
        super().__init__()
        if rank is None:
            self.w = Linear(in_features, in_features)
        else:
            self.u = Linear(in_features, rank, bias=False)
            self.v = Linear(rank, in_features)
        self.rank = rank

    def forward(self, x0: Tensor | Split, x: Tensor | Split) -> Tensor:
        mixed = self.w(x) if self.rank is None else self.v(self.u(x))
        return torch.addcmul(whole(x), whole(x0), mixed)


class CIN(nn.Module):
    """Compressed interactions: fields [B, N, D] -> [B, sum(layers)].

    H_{l+1}[o] = sum over h, n of W_l[o, h N + n] H_l[h] * x[n], plus a bias; every layer is summed
    over D. Keys `layers.<l>.weight` [layers[l], H_l N], `layers.<l>.bias`. Lian et al., xDeepFM,
    KDD 2018.
    """

    def __init__(self, num_fields: int, layers: Sequence[int]) -> None:
        super().__init__()
        widths = [num_fields, *layers]
        self.layers = nn.ModuleList(
            Linear(width * num_fields, out) for width, out in zip(widths, layers, strict=False)
        )

    def forward(self, fields: Tensor) -> Tensor:
        base = fields.transpose(1, 2)
        x, sums = base, []
        for layer in self.layers:
            # [B, D, H, 1] * [B, D, 1, N]: the products lie as the Linear reads them.
            x = layer((x.unsqueeze(3) * base.unsqueeze(2)).flatten(2))
            sums.append(x.sum(1))
        return torch.cat(sums, dim=1)


class SENet(nn.Module):
    """Fields scaled by their importance: [B, N, D], each times gate(W2 ReLU(W1 means)).

    `reduction` is how much narrower than N the middle is, the gate `sigmoid` or `relu` (as in the
    paper: it can shut a field out). Huang et al., FiBiNET, RecSys 2019.
    """

    def __init__(
        self, num_fields: int, reduction: int = 3, bias: bool = True, gate: str = "sigmoid"
    ) -> None:
        super().__init__()
        if gate not in ("relu", "sigmoid"):
            raise ValueError(f"unknown gate `{gate}`; there are relu, sigmoid")
        self.gate = gate
        middle = max(1, num_fields // reduction)
        self.squeeze = Linear(num_fields, middle, bias)
        self.excite = Linear(middle, num_fields, bias)

    def forward(self, fields: Tensor) -> Tensor:
        means = fields.mean(-1)
        scale = self.excite(torch.relu(self.squeeze(means)))
        scale = torch.sigmoid(scale) if self.gate == "sigmoid" else torch.relu(scale)
        return fields * scale.unsqueeze(-1)


class Regulation(nn.Module):
    """Fields weighed by learnt shares: [B, N, D], field n times softmax(g / temperature)_n.

    `gate` [N] begins at 1: all fields alike. With `keep_scale` shares are multiplied by N. The
    regulation module of EDCN (Chen et al., Enhancing Explicit and Implicit Feature Interactions
    via Information Sharing, KDD 2021), where each of the two networks has its own.
    """

    def __init__(self, num_fields: int, temperature: float = 1.0, keep_scale: bool = False) -> None:
        super().__init__()
        self.temperature, self.scale = temperature, num_fields if keep_scale else 1
        self.gate = nn.Parameter(torch.empty(num_fields))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All fields alike."""
        nn.init.ones_(self.gate)

    def forward(self, fields: Tensor) -> Tensor:
        share = torch.softmax(self.gate / self.temperature, 0) * self.scale
        return fields * share.to(fields.dtype).unsqueeze(-1)


class Bilinear(nn.Module):
    """(x_i W) * x_j for all pairs of fields i < j: [B, N, D] -> [B, N (N - 1) / 2 D].

    `kind`: one W for `all` pairs, one for `each` left field, or one per pair (`interaction`).
    `weight` [1, N - 1 or pairs, D, D]. Huang et al., FiBiNET, RecSys 2019.
    """

    first: Tensor
    second: Tensor

    def __init__(self, num_fields: int, dim: int, kind: str = "interaction") -> None:
        super().__init__()
        pairs = num_fields * (num_fields - 1) // 2
        counts = {"all": 1, "each": num_fields - 1, "interaction": pairs}
        if kind not in counts:
            raise ValueError(f"unknown kind `{kind}`; there are {', '.join(counts)}")
        first, second = torch.triu_indices(num_fields, num_fields, offset=1)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)
        self.kind = kind
        self.weight = nn.Parameter(torch.empty(counts[kind], dim, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights, each matrix by itself."""
        for matrix in self.weight:
            nn.init.xavier_uniform_(matrix)

    def forward(self, fields: Tensor) -> Tensor:
        left = fields if self.kind == "all" else fields[:, :-1]
        if self.kind == "interaction":
            left = fields.index_select(1, self.first)
        left = torch.einsum("bnd,nde->bne", left, self.weight.expand(left.shape[1], -1, -1))
        if self.kind != "interaction":
            left = left.index_select(1, self.first)
        return (left * fields.index_select(1, self.second)).flatten(1)


class WuKong(nn.Module):
    """One WuKong layer: LayerNorm([FM block, linear compression] + residual), [B, M, D].

    M = fm_fields + linear_fields. The FM block is an MLP over LayerNorm(x x^T y), y [N, rank]
    learnt; the residual is the input, or a linear compression of it where N != M. Zhang et al.,
    Wukong: Towards a Scaling Law for Large-Scale Recommendation, ICML 2024.
    """

    def __init__(
        self,
        num_fields: int,
        dim: int,
        fm_fields: int,
        linear_fields: int,
        rank: int,
        hidden: Sequence[int],
        activation: str = "relu",
        norm: str = "none",
    ) -> None:
        super().__init__()
        out = fm_fields + linear_fields
        self.rank_proj = Linear(num_fields, rank, bias=False)
        self.fm_norm = nn.LayerNorm(num_fields * rank)
        self.fm = MLP(num_fields * rank, hidden, activation, norm, out=fm_fields * dim)
        self.compress = Linear(num_fields, linear_fields, bias=False)
        same = num_fields == out
        self.residual = None if same else Linear(num_fields, out, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.fm_fields, self.dim = fm_fields, dim

    def forward(self, fields: Tensor) -> Tensor:
        across = fields.transpose(1, 2)
        crossed = torch.bmm(fields, self.rank_proj(across)).flatten(1)
        fm = self.fm(self.fm_norm(crossed)).reshape(-1, self.fm_fields, self.dim)
        linear = self.compress(across).transpose(1, 2)
        rest = fields if self.residual is None else self.residual(across).transpose(1, 2)
        mixed: Tensor = self.norm(torch.cat([fm, linear], dim=1) + rest)
        return mixed
