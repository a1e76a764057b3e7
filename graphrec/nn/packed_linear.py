"""`PackedLinear`: the weights of one Linear as inference wants them, beside the saved ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphrec.nn.split import Split

__all__ = ["PackedLinear"]

_PACKED_FROM = 1 << 21
"""Multiplications of a call from which oneDNN wins; below, starting it costs more than it saves."""


class PackedLinear(nn.Module):
    """x W^T + b for x [..., in], [..., out] in the type of W, on weights made for inference.

    W and b are buffers that no checkpoint holds. On a CPU with oneDNN a second copy of W lies in
    its own layout, for calls that are large enough; exported programs do not see it. It is made
    once: to load or train other weights afterwards is a RuntimeError.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach(), persistent=False)
        self.register_buffer("bias", None if bias is None else bias.detach(), persistent=False)
        self._packed = _packed(weight.detach())

    def forward(self, x: Tensor | Split) -> Tensor:
        if isinstance(x, Split):
            request, candidates = (t.to(self.weight.dtype) for t in (x.request, x.candidates))
            return Split(request, candidates, x.layout).linear(self.weight, self.bias)
        x = x.to(self.weight.dtype)
        if (
            self._packed is None
            or torch.compiler.is_compiling()
            or x.device.type != "cpu"
            or x.numel() * self.weight.shape[0] < _PACKED_FROM
        ):
            return F.linear(x, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return out

    def unpack(self) -> None:
        """Forget oneDNN's copy: every call then sums in the order of exported programs."""
        self._packed = None

    def train(self, mode: bool = True) -> PackedLinear:
        """Refuse to train: gradients would not reach the weights that are saved."""
        if mode:
            raise RuntimeError("the module was prepared for inference: make a new one to train")
        return super().train(False)

    def extra_repr(self) -> str:
        layout = ", packed" if self._packed is not None else ""
        shape, dtype = [*self.weight.shape], str(self.weight.dtype).removeprefix("torch.")
        return f"{shape}, {dtype}{layout}"

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        whose = prefix.removesuffix(".").rpartition(".")[0]
        error_msgs.append(f"{whose}: load the weights first, then prepare the module for inference")

    def _apply(self, fn: Any, recurse: bool = True) -> PackedLinear:
        """Move or cast: oneDNN's copy is made anew from what comes out."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._packed = _packed(self.weight)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._packed = _packed(self.weight)


def _packed(weight: Tensor) -> Tensor | None:
    """W in oneDNN's layout, or None where that can't be had or can't win."""
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return None
    known = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not known or min(weight.shape) < 16:
        return None
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    return packed
