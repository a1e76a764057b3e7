"""Make bf16 right in Triton's interpreter, or loud; `route` installs it where that runs kernels.

The interpreter keeps bf16 as raw 16-bit integers: loads and stores work, but an addition or a dot
computes on the bits and says nothing, and a cast from fp32 cuts instead of rounding. Here casts
round to nearest even, a dot computes in fp32, moving values around stays as it is, and everything
else on bf16 raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton
import triton.language as tl
import triton.runtime.interpreter as interpreter

__all__ = ["install"]

_MOVES = frozenset(
    {
        "addptr",
        "bitcast",
        "broadcast",
        "cat",
        "dot",
        "expand_dims",
        "fp_ext",
        "fp_to_fp",
        "fp_trunc",
        "gather",
        "join",
        "load",
        "masked_load",
        "masked_store",
        "print",
        "reshape",
        "select",
        "splat",
        "split",
        "store",
        "trans",
        "unsplat",
    }
)
"""Operations that take bf16 and do not compute with it, or are replaced below."""


def install() -> None:
    """Change the interpreter of this process; once is enough, again does nothing.

    RuntimeError where this version of Triton has another interpreter: bf16 can't be trusted then.
    """
    builder = interpreter.InterpreterBuilder
    if getattr(builder, "rounds_bf16", False):
        return
    known = ("cast_impl", "create_fp_to_fp", "create_dot")
    missing = [name for name in known if not hasattr(builder, name)]
    if missing:
        what = f"the interpreter of triton {triton.__version__} has no {', '.join(missing)}"
        raise RuntimeError(f"{what}, and would compute with the raw bits of bf16")
    builder.rounds_bf16 = True
    builder.cast_impl = _cast(builder.cast_impl)
    builder.create_fp_to_fp = _fp_to_fp(builder.create_fp_to_fp)
    builder.create_dot = _dot(builder.create_dot)
    for name in dir(builder):
        if name.startswith("create_") and name.removeprefix("create_") not in _MOVES:
            setattr(builder, name, _loud(name, getattr(builder, name)))


def _widen(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _round(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    even = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), even)


def _is_bf16(handle: Any) -> bool:
    return bool(getattr(getattr(handle, "dtype", None), "scalar", None) == tl.bfloat16)


def _cast(original: Callable[..., Any]) -> Callable[..., Any]:
    def cast(self: Any, source: Any, target: Any) -> Any:
        kind = target.scalar
        if _is_bf16(source) and kind != tl.bfloat16:
            wide = _widen(source.data).astype(interpreter._get_np_dtype(target))
            return interpreter.TensorHandle(wide, kind)
        if kind == tl.bfloat16 and not _is_bf16(source):
            return interpreter.TensorHandle(_round(source.data.astype(np.float32)), kind)
        return original(self, source, target)

    return cast


def _fp_to_fp(original: Callable[..., Any]) -> Callable[..., Any]:
    def convert(self: Any, source: Any, target: Any, rounding: Any) -> Any:
        if _is_bf16(source) != (target.scalar == tl.bfloat16):
            return self.cast_impl(source, target)
        return original(self, source, target, rounding)

    return convert


def _dot(original: Callable[..., Any]) -> Callable[..., Any]:
    def dot(self: Any, a: Any, b: Any, d: Any, *rest: Any) -> Any:
        if not (_is_bf16(a) and _is_bf16(b)):
            return original(self, a, b, d, *rest)
        product = np.matmul(_widen(a.data), _widen(b.data), dtype=d.data.dtype)
        return interpreter.TensorHandle(product + d.data, d.dtype.scalar)

    return dot


def _loud(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def checked(self: Any, *args: Any, **options: Any) -> Any:
        if any(_is_bf16(arg) for arg in args):
            raise NotImplementedError(f"{name} on bf16: cast to the accumulator first")
        return original(self, *args, **options)

    return checked
