#!/usr/bin/env bash
# torch 2.13.0 (CPU build), processors with AMX: a bf16 matrix product reads the gap between the rows of
# its left factor. For a view whose rows are further apart than they are long, and an odd depth, oneDNN
# takes the number behind each row too and multiplies it by a zero of its padding: harmless for finite
# numbers, but a NaN or infinity in memory that does not belong to the matrix makes results NaN.
# The same view copied with .contiguous() is right, and so is a processor without AMX, or
# ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16. Expected: finite results. Seen: NaN in whole blocks of the result.
# Exit status 0 as long as that is so; where there is no AMX nothing is to be seen, and it says so.
set -euo pipefail
if ! grep -q amx_bf16 /proc/cpuinfo; then echo "no AMX here: nothing to see"; exit 0; fi
# pip must be set up so that it takes the CPU build of torch; the script stops at another.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy
cat > "$work/seen.py" <<'PY'
import torch

assert torch.version.cuda is None, "not the CPU build"
torch.manual_seed(0)
room = torch.full((64, 24), float("nan"), dtype=torch.bfloat16)
left = room[:, :17]
left.copy_(torch.randn(64, 17))
right = torch.randn(17, 16, dtype=torch.bfloat16)
view = int(torch.mm(left, right).isnan().sum())
copy = int(torch.mm(left.contiguous(), right).isnan().sum())
print(f"torch {torch.__version__}: NaN in {view} of 1024 results of the view, {copy} of the copy")
raise SystemExit(0 if view and not copy else 1)
PY
"$work/venv/bin/python" "$work/seen.py"
echo "the same without AMX:"
! ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 "$work/venv/bin/python" "$work/seen.py"
