"""Training with the Triton kernels takes the way of torch's: 25 steps, 200 with --soak."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from curves import losses


def test_the_losses_of_many_steps(tmp_path: Path, launches, soak: bool) -> None:
    steps = 200 if soak else 25
    wanted = losses(tmp_path, steps=steps)
    assert not launches
    found = losses(tmp_path, "kernels.default=triton", steps=steps)
    assert {"attention_kernel", "mix_kernel", "forward_kernel"} <= set(launches)
    assert wanted.unique().numel() == steps
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
