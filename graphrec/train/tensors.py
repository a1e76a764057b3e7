"""Tensors in a safetensors file, written piece by piece, fsynced, and hashed on the way.

The format is that of the safetensors library, which reads it. Writing it here costs no second copy
of the tensors in memory, and gives the file's hash without reading it again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from graphrec.ground.text import open_regular

__all__ = ["FileFacts", "file_facts", "read_tensors", "unsaved", "write_bytes", "write_tensors"]

FileFacts = dict[str, int | str]
"""`bytes` and `sha256` of a file."""

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What the format can hold; the rest (complex128, quantised, sparse) is `unsaved`."""
_PIECE = 1 << 24
"""Bytes written at a time: a write is hashed on its way, and no copy of a table is made."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileFacts:
    """Write `tensors` by name to a new file; OSError when the disk does not take it."""
    header: dict[str, object] = {}
    place = 0
    for name, tensor in sorted(tensors.items()):
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return write_bytes(path, _stream(text, tensors))


def write_bytes(path: Path, pieces: Iterator[bytes | memoryview]) -> FileFacts:
    """Write the pieces to a new file and fsync it."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file whose hash was checked; ValueError where it is no such file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"it is no safetensors file ({' '.join(str(error).split())[:200]})"
        ) from None


def read_some(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning; none where none can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, RuntimeError):
        return {}


def file_facts(path: Path) -> FileFacts:
    """Size and hash of a file."""
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def unsaved(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The tensors that no file of this format can hold, by name, and why."""
    return {
        name: f"its layout is {tensor.layout}".replace("torch.", "")
        if tensor.layout != torch.strided
        else f"its type is {tensor.dtype}".replace("torch.", "")
        for name, tensor in sorted(tensors.items())
        if tensor.dtype not in _NAMES or tensor.layout != torch.strided
    }


def _stream(header: bytes, tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    yield len(header).to_bytes(8, "little")
    yield header
    for _, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        if flat.numel():
            raw = memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]
            for start in range(0, len(raw), _PIECE):
                yield raw[start : start + _PIECE]
