"""Scores of the steps of a history by a perceptron, without the concatenation of the textbook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP, Dense, Linear
from graphrec.nn.products import goes_to_onednn, product
from graphrec.nn.segments import padded
from graphrec.nn.shared_history import scores as scores_of_one

__all__ = ["Scorer", "first_weight", "score", "scoring"]


def score(
    mlp: MLP,
    query: Tensor,
    steps: Jagged,
    rows: Tensor,
    parts: tuple[Tensor, Tensor, Tensor],
    norm_padding: str,
) -> Tensor:
    """The MLP over query, keys and their product, [T, 1], without the textbook's four parts.

    `parts` are the first layer's weights [H, D] that meet the query, the keys and the product.
    What the query gives is computed once per row.
    """
    keys, count = steps.values, steps.values.shape[0]
    if norm_padding == "include" and mlp.training:
        keys, rows = padded(steps, rows)
    first, *rest = (cast(Dense, layer) for layer in mlp.layers)
    width = query.shape[1]
    of_query, of_keys, of_product = parts
    z = F.linear(query.to(of_query.dtype), of_query[:, :width], first.affine()[1])
    z = z.index_select(0, rows)
    # Autocast leaves in-place operations alone, so they get its type from the first product.
    keys, query = keys.to(z.dtype), query.to(z.dtype)
    met = query.index_select(0, rows) * keys[:, :width]
    of_met = of_product[:, :width]
    if goes_to_onednn(keys, of_keys):
        # It can't add to what is there at a good price: one product over both halves instead.
        z = product(torch.cat([keys, met], 1), torch.cat([of_keys, of_met], 1)).add_(z)
    else:
        z.addmm_(keys, of_keys.to(z.dtype).t())
        z.addmm_(met, of_met.to(z.dtype).t())
    z = first.finish(z)
    for layer in rest:
        z = layer(z)
    assert mlp.out is not None
    scores: Tensor = mlp.out(z[:count])
    return scores if first.ready is None else scores.to(steps.values.dtype)


def scoring(
    in_features: int,
    hidden: Sequence[int],
    activation: str,
    norm: str,
    dropout: float | Sequence[float],
    bias: bool,
    kind: type[MLP] = MLP,
) -> MLP:
    """An MLP to one number; `bias` is that of its hidden layers."""
    mlp = kind(in_features, hidden, activation, norm, dropout, bias, out=1)
    if not bias:
        mlp.out = Linear(hidden[-1], 1)
    return mlp


def first_weight(mlp: MLP) -> Tensor:
    return cast(Dense, mlp.layers[0]).affine()[0]


class Scorer(nn.Module):
    """a_t = MLP([q, s_t, q - s_t, q * s_t]), one number per step.

    With W = [Wq, Ws, Wd, Wp], the first layer is q (Wq + Wd) + s (Ws - Wd) + (q * s) Wp: no
    concatenation, and the query's part once per row. Its weight is kept in the plain form
    [H, 4 D], so a checkpoint is that of the textbook layer. Batch statistics count real steps, and
    with norm_padding `include` also the padding up to the longest history of the batch.
    """

    perceptron: ClassVar[type[MLP]] = MLP
    """What scores; a kernel with other layers is a subclass."""

    def __init__(
        self,
        query_features: int,
        key_features: int,
        hidden: Sequence[int],
        activation: str = "relu",
        norm: str = "none",
        dropout: float | Sequence[float] = 0.0,
        bias: bool = True,
        norm_padding: str = "exclude",
    ) -> None:
        super().__init__()
        if query_features > key_features:
            raise ValueError(f"a query of width {query_features} for keys of {key_features}")
        common = (activation, norm, dropout, bias)
        self.mlp = scoring(4 * key_features, hidden, *common, self.perceptron)
        self.norm_padding = norm_padding

    def scores(self, query: Tensor, steps: Jagged, rows: Tensor) -> Tensor:
        """The scores of all steps, [T]."""
        parts = self._parts()
        return score(self.mlp, query, steps, rows, parts, self.norm_padding).squeeze(-1)

    def scores_of_one(self, query: Tensor, steps: Tensor) -> Tensor:
        """The scores of one history's steps [L, D] for every query, [B, L]."""
        return scores_of_one(self.mlp, query, steps, self._parts())

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        query_part, key_part, difference, product = first_weight(self.mlp).chunk(4, dim=1)
        return query_part + difference, key_part - difference, product
