#!/usr/bin/env bash
# torch.optim with fused=True on a CPU pairs weights with the wrong gradients, or leaves them, in two
# valid situations, without an error. Seen with torch 2.13.0 (CPU build), Linux x86-64. It
# installs torch into a temporary folder.
#
# 1. A parameter that is not row-major (here a transposed view) and a row-major gradient assigned to
#    it: the fused kernels walk both by memory, not by index. Expected: the update without fused.
#    Seen: SGD, Adam, AdamW and Adagrad all differ, by tenths after three steps of .05.
# 2. bfloat16 and float16 weights under fused SGD: whole vectors (8, 16 or 32 elements) are not
#    updated at all, only the remainder is (torch issue 191763). Expected: every weight moves.
# Exit status 0 as long as both are so.
set -euo pipefail
# pip must be set up so that it takes the CPU build of torch; the script stops at another.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy
PYTHON="$work/venv/bin/python"
"$PYTHON" -c 'import torch; assert torch.version.cuda is None, "not the CPU build"'
"$PYTHON" - <<'PY'
import torch

print("torch", torch.__version__)
differs = {}
for name in ("SGD", "Adam", "AdamW", "Adagrad"):
    ends = []
    for fused in (True, False):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(5, 7).t())
        optimizer = getattr(torch.optim, name)([weight], lr=0.05, fused=fused)
        for _ in range(3):
            weight.grad = torch.randn(7, 5)
            optimizer.step()
        ends.append(weight.detach().clone())
    differs[name] = float((ends[0] - ends[1]).abs().max())
    print(f"{name}: transposed weight, fused against unfused, largest difference {differs[name]:.3f}")
left = {}
for dtype in (torch.bfloat16, torch.float16, torch.float32):
    weight = torch.nn.Parameter(torch.ones(67, dtype=dtype))
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.5, fused=True).step()
    left[dtype] = int((weight == 1).sum())
    print(f"fused SGD, {dtype}: {left[dtype]} of 67 weights were not updated")
assert all(value > 0.1 for value in differs.values()), "the fused kernels heed strides now"
assert left[torch.float32] == 0 and left[torch.bfloat16] >= 32 and left[torch.float16] >= 32
PY
