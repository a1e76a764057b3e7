"""From the columns of a batch to rows of packed tables, and from numbers to vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from graphrec.nn.batch import Jagged
from graphrec.nn.discretize import soft_buckets
from graphrec.nn.embedding_layout import width_of
from graphrec.nn.gather import Part
from graphrec.nn.native import RowKernel
from graphrec.nn.table_group import DenseGroup
from graphrec.nn.tables import AutoDis, Dense, Lookup

__all__ = ["Features", "bag", "embed_numbers", "jagged", "numbers_of", "plain", "rows_of"]

Features = Mapping[str, Tensor | Jagged]


def plain(features: Features, column: str) -> Tensor:
    """The column as a tensor, one entry a row."""
    value = _column(features, column)
    if isinstance(value, Jagged):
        raise ValueError(f"column `{column}` has lists of values: give the feature `pool:`")
    return value


def jagged(features: Features, column: str) -> Jagged:
    """The column as a jagged one; a plain tensor is one value a row."""
    value = _column(features, column)
    if isinstance(value, Jagged):
        whole = value.lengths.dtype == torch.int64
        return value if whole else Jagged(value.values, value.lengths.long(), value.weights)
    return Jagged(value, torch.ones(value.shape[0], dtype=torch.int64, device=value.device))


def _column(features: Features, column: str) -> Tensor | Jagged:
    if column not in features:
        raise KeyError(f"the batch has no column `{column}`")
    return features[column]


def numbers_of(features: Features, columns: Sequence[Dense | AutoDis]) -> Tensor:
    """The numbers of several columns side by side, [B, sum of widths]."""
    parts = []
    for column in columns:
        part, width = plain(features, column.column), width_of(column)
        whole = part.dim() == 2 and part.shape[1] == width
        parts.append(part if whole else part.reshape(-1, width))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def rows_of(
    ids: Sequence[Tensor],
    bounds: Tensor,
    lookups: Sequence[Lookup],
    kernel: RowKernel | None = None,
) -> Tensor:
    """Packed rows of several columns side by side, [N * columns]; `bounds` [2, columns].

    An id outside its table is an IndexError: in a packed table it would be another table's row.
    """
    first, end = bounds[0], bounds[1]
    ids = [_as_int64(column, lookup) for column, lookup in zip(ids, lookups, strict=True)]
    if kernel is not None:
        rows, wrong = kernel.rows(ids, first, end)
    else:
        rows, wrong = torch.stack(list(ids), dim=1) + first, -1
        # On a GPU the check would wait for the device; the data side keeps ids in their range.
        if rows.device.type == "cpu" and rows.shape[0] and not torch.compiler.is_compiling():
            low, high = torch.aminmax(rows, dim=0)
            outside = (low < first) | (high >= end)
            wrong = int(outside.nonzero()[0]) if bool(outside.any()) else -1
    if wrong >= 0:
        lookup, size = lookups[wrong], int(end[wrong] - first[wrong])
        low, high = torch.aminmax(ids[wrong])
        at = int(low if low < 0 else high)
        raise IndexError(
            f"column `{lookup.column}`: id {at}, table `{lookup.table}` has {size} rows"
        )
    return rows.view(-1)


def _as_int64(ids: Tensor, lookup: Lookup) -> Tensor:
    if ids.dtype == torch.int64:
        return ids
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"column `{lookup.column}`: ids are whole numbers, got {ids.dtype}")
    return ids.long()


def bag(values: Jagged, bounds: Tensor, lookup: Lookup, kernel: RowKernel | None = None) -> Part:
    """The reading of a multi-valued column: one pooled vector for each of its rows.

    `mean` divides by the number of values, or by the sum of the weights; empty rows give zeros.
    """
    rows = rows_of([values.values], bounds, [lookup], kernel)
    scale = None if values.weights is None else values.weights.float()
    if lookup.pool == "mean":
        bags = values.rows()
        if scale is None:
            total = values.lengths.float()
            scale = 1.0 / total.index_select(0, bags)
        else:
            total = torch.zeros(values.num_rows, device=scale.device).index_add(0, bags, scale)
            total = torch.where(total == 0, 1.0, total)
            scale = scale / total.index_select(0, bags)
    return Part(rows, values.lengths, scale)


def embed_numbers(vectors: DenseGroup, weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """The learned part of dense columns: x [B, sum of widths] to [B, columns * dim]."""
    first = vectors.columns[0]
    if isinstance(first, AutoDis):
        w, m, meta = weights
        return soft_buckets(x, w, m, meta, first.skip, first.temperature).flatten(1)
    (weight,) = weights
    if all(piece.shape[0] == 1 for piece in vectors.pieces):
        return (x[:, :, None] * weight).flatten(1)
    parts = [x[:, p.start : p.stop] @ weight[p.start : p.stop] for p in vectors.pieces]
    return torch.cat(parts, dim=1)
