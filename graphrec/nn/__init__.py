"""What generated code imports: batches, tables, layers, and the functions of expressions.

Only torch is needed. Layers take their inputs in the order of their block's ports; a history is a
`Jagged`, several outputs are a tuple. To import it changes nothing of the process.
"""

from __future__ import annotations

from graphrec.nn import functions
from graphrec.nn.activations import BatchNorm, Dice, activation
from graphrec.nn.attention import SelfAttention
from graphrec.nn.batch import Batch, Jagged
from graphrec.nn.capsules import Interests
from graphrec.nn.contrast import InfoNCE
from graphrec.nn.dense import MLP, Linear
from graphrec.nn.discretize import AutoDiscretization
from graphrec.nn.distill import Hint, OrderCalibrated, Similarity
from graphrec.nn.embedding import Embeddings
from graphrec.nn.embedding_outputs import EmbeddingOutputs
from graphrec.nn.gating import EPNet, MaskBlock, MaskNet, PPNet
from graphrec.nn.hstu import HSTU
from graphrec.nn.interaction import (
    CIN,
    FM,
    Bilinear,
    Concat,
    Cross,
    CrossV2,
    DotInteraction,
    Regulation,
    SENet,
    WuKong,
)
from graphrec.nn.logarithmic import Logarithmic
from graphrec.nn.multitask import AITM, CGC, PLE, FusionTower, MMoE, RelationMLP
from graphrec.nn.normalize import BatchNormalization, DropoutLayer, LayerNormalization
from graphrec.nn.piecewise import pack, separate
from graphrec.nn.prepare import prepare
from graphrec.nn.recurrent import AUGRU, GRU
from graphrec.nn.regularize import VariationalDropout
from graphrec.nn.renames import renamed
from graphrec.nn.seeding import initialize
from graphrec.nn.sequence import (
    DIN,
    AttentionScores,
    DotAttention,
    Pooling,
    WeightedSum,
)
from graphrec.nn.split import Split
from graphrec.nn.tables import FIT, AutoDis, Dense, Lookup, Table, first_order
from graphrec.nn.windows import MultiWindowDIN

__all__ = [
    "AITM",
    "AUGRU",
    "AttentionScores",
    "AutoDis",
    "AutoDiscretization",
    "Batch",
    "BatchNorm",
    "BatchNormalization",
    "Bilinear",
    "CGC",
    "CIN",
    "Concat",
    "Cross",
    "CrossV2",
    "DIN",
    "Dense",
    "Dice",
    "DotAttention",
    "DotInteraction",
    "DropoutLayer",
    "EPNet",
    "EmbeddingOutputs",
    "Embeddings",
    "FIT",
    "FM",
    "FusionTower",
    "GRU",
    "HSTU",
    "Hint",
    "InfoNCE",
    "Jagged",
    "LayerNormalization",
    "Linear",
    "Logarithmic",
    "Lookup",
    "MLP",
    "MMoE",
    "MaskBlock",
    "MaskNet",
    "MultiWindowDIN",
    "OrderCalibrated",
    "PLE",
    "PPNet",
    "Interests",
    "Pooling",
    "RelationMLP",
    "Regulation",
    "SENet",
    "SelfAttention",
    "Similarity",
    "Split",
    "Table",
    "VariationalDropout",
    "WeightedSum",
    "WuKong",
    "activation",
    "first_order",
    "functions",
    "initialize",
    "pack",
    "prepare",
    "renamed",
    "separate",
]
