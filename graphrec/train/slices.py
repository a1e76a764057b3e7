"""Parts of tables in a checkpoint that many processes wrote, named by what they are a part of.

`embeddings.item.weight@5000:10000,0:16/10000,16` holds rows 5,000 up to 10,000 and all 16 columns
of a table of 10,000 rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Slice", "is_part", "joined", "part_name"]

_NAME = re.compile(r"(.+)@(\d+):(\d+),(\d+):(\d+)/(\d+),(\d+)", re.S)


@dataclass(frozen=True)
class Slice:
    """Rows `start` to `stop` and columns `first` to `last` of the tensor `key` of that shape."""

    key: str
    start: int
    stop: int
    first: int
    last: int
    shape: tuple[int, int]

    def __str__(self) -> str:
        rows, columns = self.shape
        place = f"{self.start}:{self.stop},{self.first}:{self.last}"
        return f"{self.key}@{place}/{rows},{columns}"

    @classmethod
    def of(cls, name: str) -> Slice | None:
        """The slice of that name; None for the name of a whole tensor.

        >>> Slice.of("t.weight@0:2,0:4/3,4")
        Slice(key='t.weight', start=0, stop=2, first=0, last=4, shape=(3, 4))
        """
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        start, stop, first, last, rows, columns = map(int, match.groups()[1:])
        return cls(match[1], start, stop, first, last, (rows, columns))


def part_name(file: str, number: int, count: int) -> str:
    """What the part of process `number` (from 0) is called.

    >>> part_name("model.safetensors", 0, 4)
    'model-00001-of-00004.safetensors'
    """
    stem, _, suffix = file.partition(".")
    return f"{stem}-{number + 1:05}-of-{count:05}.{suffix}"


def is_part(file: str, of: str) -> bool:
    """Whether a file has parts of what belongs to another."""
    stem, _, suffix = of.partition(".")
    return re.fullmatch(rf"{stem}-\d{{5}}-of-\d{{5}}\.{suffix}", file) is not None


def joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with all slices put together; ValueError where one lacks a part."""
    wholes: dict[str, Tensor] = {}
    filled: dict[str, int] = {}
    for name, tensor in tensors.items():
        part = Slice.of(name)
        if part is None:
            wholes[name] = tensor
            continue
        if part.key not in wholes:
            wholes[part.key] = torch.empty(part.shape, dtype=tensor.dtype)
        whole = wholes[part.key]
        if whole.shape != part.shape or tensor.shape != (
            part.stop - part.start,
            part.last - part.first,
        ):
            raise ValueError(f"`{name}` does not fit the other parts of its table")
        whole[part.start : part.stop, part.first : part.last] = tensor
        filled[part.key] = filled.get(part.key, 0) + tensor.numel()
    for key, count in filled.items():
        if count != wholes[key].numel():
            raise ValueError(f"parts of `{key}` are missing")
    return wholes
