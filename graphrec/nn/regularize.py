"""Variational dropout: a learned probability, for each feature, that it can be dropped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["VariationalDropout"]

_TEMPERATURE = 0.1


class VariationalDropout(nn.Module):
    """Drop whole features of x [B, sum(widths)] with learned probabilities p = sigmoid(logit).

    Training: a relaxed Bernoulli draw per row and feature; evaluation: x (1 - p). Also gives the
    penalty `weight` / B * sum(1 - p), which is 0 in evaluation unless `in_eval`. Low p: important.
    """

    def __init__(self, widths: Sequence[int], weight: float = 0.01, in_eval: bool = False) -> None:
        super().__init__()
        self.weight, self.in_eval = weight, in_eval
        self.logit = nn.Parameter(torch.empty(len(widths)))
        columns = [feature for feature, width in enumerate(widths) for _ in range(width)]
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new logits from N(0, 1)."""
        nn.init.normal_(self.logit)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        drop = torch.sigmoid(self.logit)  # [F]
        penalty = self.weight / max(x.shape[0], 1) * (1 - drop).sum()
        if self.training:
            kept = 1 - self._draw(drop, self.noise(x))
        else:
            kept = (1 - drop).unsqueeze(0)
            penalty = penalty if self.in_eval else penalty * 0
        spread = kept.index_select(1, self.get_buffer("columns"))
        return x * spread.to(x.dtype), penalty

    def noise(self, x: Tensor) -> Tensor:
        """The uniform numbers of a draw, [B, F]; a test may set its own in this place."""
        return torch.rand(x.shape[0], self.logit.shape[0], device=x.device)

    @staticmethod
    def _draw(drop: Tensor, uniform: Tensor) -> Tensor:
        """Relaxed Bernoulli of probability `drop`, from uniform numbers [B, F]."""
        tiny = torch.finfo(torch.float32).eps
        odds = torch.log(drop + tiny) - torch.log(1 - drop + tiny)
        noise = torch.log(uniform + tiny) - torch.log(1 - uniform + tiny)
        return torch.sigmoid((odds + noise) / _TEMPERATURE)
