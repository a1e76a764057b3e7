"""The built-in blocks: declarations only, by family; `PRIMITIVES` is all of them, by name."""

from __future__ import annotations

from graphrec.blocks.base import Block
from graphrec.blocks.dense import MLP, Concat, Linear
from graphrec.blocks.discretize import Autodis
from graphrec.blocks.gating import Epnet, MaskBlock, Masknet, Ppnet
from graphrec.blocks.hstu import Hstu
from graphrec.blocks.interaction import (
    CIN,
    FM,
    Bilinear,
    Cross,
    CrossV2,
    DotInteraction,
    Logarithmic,
    Regulation,
    Senet,
    Wukong,
)
from graphrec.blocks.loss_blocks import Hint, InfoNCE, OrderCalibrated, Similarity
from graphrec.blocks.multitask import AITM, PLE, FusionTower, Mmoe, RelationMLP
from graphrec.blocks.normalize import BatchNorm, Dropout, LayerNorm
from graphrec.blocks.recurrent import Augru, Gru
from graphrec.blocks.sequence import (
    AttentionScores,
    Din,
    DotAttention,
    Interests,
    MultiWindowDin,
    Pooling,
    SelfAttention,
    WeightedSum,
)

__all__ = ["PRIMITIVES"]

PRIMITIVES: tuple[type[Block], ...] = (
    AITM,
    AttentionScores,
    Augru,
    Autodis,
    BatchNorm,
    Bilinear,
    CIN,
    Concat,
    Cross,
    CrossV2,
    Din,
    DotAttention,
    DotInteraction,
    Dropout,
    Epnet,
    FM,
    FusionTower,
    Gru,
    Hint,
    Hstu,
    InfoNCE,
    Interests,
    LayerNorm,
    Linear,
    Logarithmic,
    MaskBlock,
    Masknet,
    MLP,
    Mmoe,
    MultiWindowDin,
    OrderCalibrated,
    PLE,
    Pooling,
    Ppnet,
    Regulation,
    RelationMLP,
    SelfAttention,
    Senet,
    Similarity,
    WeightedSum,
    Wukong,
)
"""Every built-in block, by name."""
