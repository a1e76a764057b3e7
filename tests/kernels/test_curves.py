"""Training with other CPU kernels takes the same way as with torch's, for 200 steps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from graphrec.nn import native

sys.path.insert(0, str(Path(__file__).resolve().parent))
from curves import losses

ASKED = {
    "stacked": ("kernels.default=stacked", "kernels.by_block.tables=torch"),
    "native": ("kernels.by_block.tables=native",),
    "triton, on its reference": ("kernels.default=triton", "kernels.by_block.tables=torch"),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_losses_of_200_steps(name: str, tmp_path: Path) -> None:
    if name == "native" and isinstance(native.kernel(), str):
        pytest.skip(f"no native kernel: {native.kernel()}")
    wanted = losses(tmp_path, "kernels.by_block.tables=torch")
    found = losses(tmp_path, *ASKED[name])
    assert wanted[-20:].mean() < 0.8 * wanted[:20].mean()  # it learns
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
