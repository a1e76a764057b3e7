"""One request beside its candidates: columns of 1 row and of N rows that are not yet one tensor.

x = [u, i] with a user part u [1, Du] and an item part i [N, Di] meets a Linear as u Wu^T (one row)
plus i Wi^T (N rows): exact, and without the N copies of u.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor

from graphrec.nn.batch import Batch, Jagged
from graphrec.nn.products import product

__all__ = ["Split", "beside", "linear", "one_row", "rows", "whole"]


@dataclass(frozen=True)
class Split:
    """Columns side by side: `request` [1, Du] and `candidates` [N, Di], in the order of `layout`.

    `layout` holds the widths of the pieces in turn, the first of the request (0 if it has none
    there): [16, 32, 64] is 16 columns of the request, 32 of the candidates, 64 of the request.
    """

    request: Tensor
    candidates: Tensor
    layout: Sequence[int]

    def linear(self, weight: Tensor, bias: Tensor | None, rectified: bool = False) -> Tensor:
        """x W^T + b or relu of it, [N, out]; the request's part is computed once."""
        pieces = torch.split(weight, list(self.layout), dim=1)
        # oneDNN takes a weight that is a part of another's rows 2000 times as long.
        ours, theirs = (_joined(pieces[start::2]).contiguous() for start in (0, 1))
        once = F.linear(self.request, ours, bias)
        return product(self.candidates, theirs, once.squeeze(0), rectified)

    def whole(self) -> Tensor:
        """All columns as one tensor, [N, Du + Di]."""
        given = self.request.expand(self.candidates.shape[0], -1)
        ours = torch.split(given, list(self.layout[0::2]), dim=1)
        theirs = torch.split(self.candidates, list(self.layout[1::2]), dim=1)
        pairs = zip_longest(ours, theirs)
        return torch.cat([piece for pair in pairs for piece in pair if piece is not None], dim=1)

    def detach(self) -> Split:
        """The same columns as constants."""
        return Split(self.request.detach(), self.candidates.detach(), self.layout)


def linear(
    x: Tensor | Split, weight: Tensor, bias: Tensor | None, rectified: bool = False
) -> Tensor:
    """x W^T + b or relu of it, for a tensor, or for a `Split` piece by piece."""
    multiplied = x.linear if isinstance(x, Split) else partial(product, x)
    return multiplied(weight, bias, rectified)


def beside(*xs: Tensor | Split) -> Tensor | Split:
    """One after another on the last axis; where some have 1 row and others N, a `Split`.

    >>> beside(torch.ones(1, 2), torch.zeros(3, 1)).layout
    [2, 1]
    """
    tensors = [x for x in xs if isinstance(x, Tensor)]
    if len(tensors) == len(xs) and all(x.shape[0] == tensors[0].shape[0] for x in tensors):
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=1)
    request: list[Tensor] = []
    candidates: list[Tensor] = []
    layout: list[int] = []
    for x in xs:
        if isinstance(x, Split):
            request.append(x.request)
            candidates.append(x.candidates)
            _extend(layout, x.layout)
        elif x.shape[0] == 1:
            request.append(x)
            _extend(layout, (x.shape[1],))
        else:
            candidates.append(x)
            _extend(layout, (0, x.shape[1]))
    return Split(_joined(request), _joined(candidates), layout)


def whole(x: Tensor | Split) -> Tensor:
    """A `Split` as one tensor; a tensor as it is."""
    return x.whole() if isinstance(x, Split) else x


def rows(x: Tensor | Jagged | Split, count: int) -> Tensor | Jagged:
    """x with `count` rows: one row is said again, a `Split` becomes one tensor."""
    if isinstance(x, Split):
        return x.whole()
    if isinstance(x, Jagged):
        return x if x.num_rows == count else _tiled(x, count)
    return x if x.shape[0] == count else x.expand(count, *x.shape[1:])


def one_row(request: Batch) -> Mapping[str, Tensor | Jagged]:
    """The features of a request; a ValueError unless they have exactly one row."""
    if request.num_rows != 1:
        raise ValueError(
            f"a request is one row of the request's columns, got {request.num_rows} rows;"
            " score the requests one by one"
        )
    return request.features


def _tiled(x: Jagged, count: int) -> Jagged:
    values = x.values.expand(count, *x.values.shape).flatten(0, 1)
    weights = None if x.weights is None else x.weights.repeat(count)
    return Jagged(values, x.lengths.expand(count), weights)


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    """Side by side, without copying a single piece."""
    wide = [piece for piece in pieces if piece.shape[1]]
    return wide[0] if len(wide) == 1 else torch.cat(list(pieces), dim=1)


def _extend(layout: list[int], widths: Sequence[int]) -> None:
    """Append pieces in turn; neighbours of one side become one piece."""
    for place, width in enumerate(widths):
        if not width:
            continue
        if len(layout) % 2 == place % 2:
            layout.append(width)
        elif layout:
            layout[-1] += width
        else:
            layout += [0, width]
