"""Several interests out of one history, by routing between capsules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphrec.nn.batch import Jagged
from graphrec.nn.dense import Linear
from graphrec.nn.segments import as_jagged, places, segment_sum

__all__ = ["Interests"]


class Interests(nn.Module):
    """K interests [B, K, width] of a history [T, D]: behaviour-to-interest dynamic routing.

    Every step gives a vote S s_t. Routing starts from logits drawn once for each place counted from
    the newest step (a buffer: the same in training and evaluation, `places` of them, older steps
    share the last), and repeats: weights = softmax of the logits over the interests, an interest =
    squash(sum of weighted votes), logits += interest . vote. Weights are constants to the gradient,
    as in the paper. Without steps interests are zeros. Li et al., Multi-Interest Network with
    Dynamic Routing, CIKM 2019; all K are used, whatever the history's length.
    """

    def __init__(
        self, in_features: int, width: int, number: int = 4, iterations: int = 3, places: int = 64
    ) -> None:
        super().__init__()
        self.number, self.iterations = number, iterations
        self.votes = Linear(in_features, width, bias=False)
        self.register_buffer("start", torch.empty(places, number))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the logits that routing starts from; the votes are drawn by their own layer."""
        nn.init.normal_(self.get_buffer("start"))

    def forward(self, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        rows = steps.rows()
        votes = self.votes(steps.values)
        start = self.get_buffer("start")
        newest = steps.lengths.index_select(0, rows) - 1 - places(steps, rows)
        logits = start.index_select(0, newest.clamp(max=start.shape[0] - 1)).to(votes.dtype)
        fixed = votes.detach()
        for _ in range(self.iterations - 1):
            interests = self._interests(fixed, logits, rows, steps.num_rows)
            logits = logits + torch.einsum("tkd,td->tk", interests.index_select(0, rows), fixed)
        return self._interests(votes, logits, rows, steps.num_rows)

    def _interests(self, votes: Tensor, logits: Tensor, rows: Tensor, num_rows: int) -> Tensor:
        weights = torch.softmax(logits, dim=-1).unsqueeze(-1)
        return squash(segment_sum(weights * votes.unsqueeze(1), rows, num_rows))

    def extra_repr(self) -> str:
        return f"number={self.number}, iterations={self.iterations}"


def squash(x: Tensor) -> Tensor:
    """x made shorter than 1, its direction kept: x |x| / (1 + |x|^2)."""
    square = (x * x).sum(-1, keepdim=True)
    return x * (square + 1e-9).sqrt() / (1 + square)
