"""Kernels: twins of `graphrec.nn` layers with the same constructor and the same state_dict keys.

    ops/<op>.py      the operator: shapes for meta tensors, autograd, the reference in plain torch
    triton/<op>.py   its Triton kernels and their launcher; imported when a tensor needs them
    triton/tiles.py  the tile sizes, as data
    <layer>.py       the layers that call the operator

A CUDA tensor runs the Triton kernel if triton can be imported; everything else runs the reference
through the same operator, so one module trains, compiles and exports on any machine. With
`TRITON_INTERPRET=1 GRAPHREC_KERNELS=triton` in the environment CPU tensors run the Triton kernel in
Triton's interpreter: for tests, never for speed.

What has been run where. No GPU was at hand: the kernels have never run on one, and no claim about
their speed is made. On a CPU, in the interpreter: outputs and gradients against float64 torch in
fp64, fp32, bf16 and fp16, gradcheck in fp64, odd and empty shapes, a check of every address, and
planted faults that these tests must find. Compiled ahead of time with the real compiler for sm_80
and sm_90: no register spills, shared memory within the limits, tensor-core instructions where they
are due. So `auto` does not choose them until they have been timed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphrec.kernels.attention import TritonSelfAttention
    from graphrec.kernels.cross import TritonCrossV2
    from graphrec.kernels.gating import TritonEPNet, TritonMaskBlock, TritonMaskNet, TritonPPNet
    from graphrec.kernels.hstu import TritonHSTU
    from graphrec.kernels.mlp import TritonMLP
    from graphrec.kernels.multitask import TritonMMoE, TritonPLE
    from graphrec.kernels.sequence import TritonDIN
    from graphrec.kernels.stacked import StackedMMoE, StackedPLE

__all__ = [
    "StackedMMoE",
    "StackedPLE",
    "TritonCrossV2",
    "TritonDIN",
    "TritonEPNet",
    "TritonHSTU",
    "TritonMLP",
    "TritonMMoE",
    "TritonMaskBlock",
    "TritonMaskNet",
    "TritonPLE",
    "TritonPPNet",
    "TritonSelfAttention",
]

_MODULES = {
    "TritonDIN": "sequence",
    "TritonHSTU": "hstu",
    "TritonSelfAttention": "attention",
    "TritonMLP": "mlp",
    "TritonCrossV2": "cross",
    "TritonEPNet": "gating",
    "TritonMaskBlock": "gating",
    "TritonMaskNet": "gating",
    "TritonPPNet": "gating",
    "TritonMMoE": "multitask",
    "TritonPLE": "multitask",
    "StackedMMoE": "stacked",
    "StackedPLE": "stacked",
}
"""Layer -> the module that has it: imported when asked for."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
