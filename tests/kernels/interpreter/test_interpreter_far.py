"""Rows that begin beyond 2^31 elements, in Triton's interpreter: no offset of a row is 32 bits wide.

The tensors are 4 GB of which a few pages are touched, never written as a whole. Kernels whose
matrix must be whole get a width of 2^30 and a tile that reads its first columns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
import torch
import triton.language as tl
from interpreter_watch import watch
from planting import plant
from torch import Tensor
from triton.runtime.errors import InterpreterError

PLACE = "graphrec.kernels.triton"
FAR = (1 << 30) + 16
WIDE = {"columns": FAR // 8, "UNIT": 8, "ACC": tl.float32, "BM": 4, "BN": 16}
M = ".to(tl.int64)"

FAULTS = [
    # (which check, module, the text whose cast is taken away)
    ("gemm", "gemm", f"(first + within % height){M}"),
    ("slope", "linear_act", f"tl.arange(0, BM){M}"),
    ("scale", "linear_scale", f"tl.arange(0, BM){M}"),
    ("rows", "layer_norm", f"tl.program_id(0){M}"),
    ("norm", "layer_norm", f"tl.arange(0, BM){M}"),
    ("fused norm", "linear_norm_act", f"tl.program_id(0){M}"),
    ("experts", "experts", f"(program // (tiles * experts)){M}"),
    ("slots", "experts", f"tl.minimum(expert // per, slots - 1){M}"),
    ("slope of experts", "experts", f"tl.arange(0, BM){M}"),
    ("mix", "mix", f"m = tl.program_id(0){M} * BM + tl.arange(0, BM)\n    d ="),
]


def kernels_of(name: str) -> ModuleType:
    """The module, or the changed one in its place."""
    return sys.modules[f"{PLACE}.{name}"]


@pytest.fixture(scope="module")
def far() -> Tensor:
    """[3, 16] with rows of 2^30 elements between them."""
    rows = torch.empty(2 * FAR + 16, dtype=torch.float16).as_strided((3, 16), (FAR, 1))
    torch.manual_seed(0)
    return rows.copy_(torch.randn(3, 16))


def products(far: Tensor) -> None:
    weight = torch.randn(16, 16).half()
    y = kernels_of("linear_act").forward(far, weight, None, "none", False)[0]
    exact = far.double() @ weight.double().t()
    assert (y - exact).norm() < 1e-3 * exact.norm()


def fused_norm(far: Tensor) -> None:
    ones = torch.ones(16).half()
    kernels_of("linear_norm_act").forward(
        far, torch.eye(16).half(), None, ones, ones, 1e-5, "none", True
    )


def slope(far: Tensor) -> None:
    options = {"dz_stride": FAR // 8, "ACT": "relu", "NEED_BIAS": False}
    kernels_of("linear_act").slope_kernel[(1, 1)](far, far, far, far, 3, **options, **WIDE)


def scale(far: Tensor) -> None:
    near = torch.randn(3, 16).half()
    kernels_of("linear_scale").backward(near, far, near, "none", 1.0, False, False)


def rows(far: Tensor) -> None:
    ones = torch.ones(16)
    kernel = kernels_of("layer_norm").norm_rows_kernel
    kernel[(1,)](far, ones, ones, far, 3, ACT="none", EPS=1.0, **WIDE)


def norm(far: Tensor) -> None:
    ones = torch.ones(16)
    options = {"ACT": "none", "EPS": 1.0, "NEED_BIAS": False, "NEED_NORM": False}
    kernel = kernels_of("layer_norm").norm_slope_kernel
    kernel[(1,)](far, far, ones, ones, far, far, 3, dz_stride=FAR // 8, **options, **WIDE)


def experts(far: Tensor, slots: bool) -> None:
    x = far[None] if slots else far[:, None]
    weight = torch.eye(16).half().expand(x.shape[1], 16, 16)
    y = kernels_of("experts").forward(x, weight, None, 1, "none", False)[0]
    assert torch.equal(y, x)


def slope_of_experts(far: Tensor) -> None:
    options = {"padded": FAR // 8, "experts": 1, "ACT": "none", "NEED_BIAS": False}
    kernels_of("experts").experts_slope_kernel[(1, 1, 1)](far, far, far, far, 3, **options, **WIDE)


def mixed(far: Tensor) -> None:
    names = "count", "columns", "gates", "width", "tasks", "private", "UNIT", "BM", "BD"
    options = dict(zip(names, (1, FAR // 8, 1, 1, 0, 1, 8, 4, 16), strict=True))
    options |= {"SOME": False, "ACC": tl.float32, "G": 1, "C": 1}
    kernels_of("mix").mix_kernel[(1, 1)](torch.zeros(3, 1).half(), far, far, 3, **options)


CHECKS: dict[str, Callable[[Tensor], None]] = {
    "gemm": products,
    "slope": slope,
    "scale": scale,
    "rows": rows,
    "norm": norm,
    "fused norm": fused_norm,
    "experts": partial(experts, slots=False),
    "slots": partial(experts, slots=True),
    "slope of experts": slope_of_experts,
    "mix": mixed,
}


@pytest.mark.parametrize("name", CHECKS)
def test_rows_far_away(name, far) -> None:
    with watch():
        CHECKS[name](far)


@pytest.mark.parametrize(("name", "module", "old"), FAULTS, ids=[f[0] for f in FAULTS])
def test_offsets_of_32_bits_are_found(
    name, module, old, far, tmp_path, monkeypatch, launches
) -> None:
    plant(f"{PLACE}.{module}", old, old.replace(M, ""), tmp_path, monkeypatch)
    launches.append("of the copies")  # the spy watches the real kernels
    with watch(), pytest.raises(InterpreterError):
        CHECKS[name](far)
