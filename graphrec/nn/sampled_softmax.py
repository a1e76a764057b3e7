"""Softmax over the items that a row is compared with, corrected for how they were drawn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.nn.batch import Compared

__all__ = ["attended", "sampled_softmax"]


def sampled_softmax(
    query: Tensor,
    item: Tensor,
    compared: Compared,
    temperature: float = 1.0,
    logq: bool = True,
    power: float = 1.0,
) -> Tensor:
    """-log softmax of each row's own item among those it is compared with; [B].

    query: [B, D], or [B, K, D] for several interests; item: [N, D], of `compared.batch`. A score is
    query . item / temperature, less `compared.log_q` with `logq` (Bengio and Senecal, 2008; Yi et
    al., Sampling-Bias-Corrected Neural Modeling, 2019). An item is there once however often it was
    drawn, so a row's own item is never its negative (no accidental hits). Holds B * N numbers.
    """
    own = compared.own
    if query.dim() == 3:
        query = attended(query, item[own], power)
    scores = (query @ item.t()).float() / temperature
    if logq:
        scores = scores - compared.log_q
    with torch.no_grad():
        rows = torch.arange(len(own), device=own.device)
        among = compared.shared.expand_as(scores).clone()
        among[compared.hard[:, 0], compared.hard[:, 1]] = True
        among[compared.hidden[:, 0], compared.hidden[:, 1]] = False
        among[rows, own] = True
    return F.cross_entropy(scores.masked_fill(~among, -torch.inf), own, reduction="none")


def attended(interests: Tensor, item: Tensor, power: float) -> Tensor:
    """Of K interests [B, K, D] the one [B, D] that an item [B, D] speaks to.

    Weights are softmax(power * interest . item): label-aware attention (Li et al., MIND, 2019; the
    product in place of the paper's power, which has no meaning for a score below 0).
    """
    scores = torch.einsum("bkd,bd->bk", interests, item)
    return torch.einsum("bk,bkd->bd", torch.softmax(power * scores, dim=-1), interests)
