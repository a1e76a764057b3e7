"""Compile every kernel for real GPUs on a machine that has none, as its launcher would launch it.

    python tests/kernels/ahead_of_time.py cuda:80 cuda:90

prints one line a kernel and exits 1 if one spills registers, wants more shared memory than a block
may have, or multiplies matrices without tensor cores where they are due; and if a kernel that was
planted to do so is not found. A stub driver answers the question which GPU is there, Triton's run
becomes "compile only", and the ordinary launchers run on meta tensors: so grid code, types,
specialisations and tiles are those of a real launch. Not to be mixed with TRITON_INTERPRET in one
process.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from graphrec.kernels.ops.linear_act import FROM_INPUT, FUSED
from graphrec.kernels.triton import linear_act, tiles
from graphrec.kernels.triton.tiles import Tile

SHARED = {80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10}
"""Bytes of shared memory that one block may have, by compute capability."""


class StubDriver(DriverBase):
    """Says that a GPU of that kind is there, and does nothing else."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("meta")

    def get_benchmarker(self) -> Any:
        return None


class Case(NamedTuple):
    """One launch to compile; `planted` ones are wrong on purpose and must be found."""

    name: str
    cores: bool
    launch: Callable[[], object]
    planted: bool = False


def forward(
    tile: Tile,
    act: str,
    dtype: torch.dtype,
    depth: int = 432,
    columns: int = 256,
    ieee: bool = False,
) -> Case:
    def launch() -> None:
        torch.set_float32_matmul_precision("highest" if ieee else "high")
        shapes = (4096, depth), (columns, depth), (columns,)
        x, weight, bias = (torch.empty(s, dtype=dtype, device="meta") for s in shapes)
        linear_act.forward(x, weight, bias, act, act in FROM_INPUT, tile)

    size = "x".join(str(n) for n in tile)
    name = f"forward {act} {depth}x{columns} {kind(dtype)}{' ieee' if ieee else ''} {size}"
    return Case(name, not ieee, launch)


def backward(act: str, dtype: torch.dtype, columns: int) -> Case:
    def launch() -> None:
        grad = torch.empty((4096, columns), dtype=dtype, device="meta")
        linear_act.backward(grad, grad, act, need_bias=True)

    return Case(f"backward {act} {columns} {kind(dtype)}", False, launch)


def kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def cases() -> Iterator[Case]:
    """Every tile with every activation; fp16 and exact fp32 with the longest epilogue only."""
    for dtype in (torch.bfloat16, torch.float32):
        table = {tile for *_, tile in tiles.FORWARD[dtype.itemsize]}
        for act in FUSED:
            yield from (forward(tile, act, dtype) for tile in sorted(table))
            yield from (backward(act, dtype, columns) for columns in (256, 100))
        yield from (forward(tile, "gelu", dtype, depth=37, columns=100) for tile in sorted(table))
    for tile in sorted({tile for *_, tile in tiles.FORWARD[2]}):
        yield forward(tile, "gelu", torch.float16)
    yield backward("gelu", torch.float16, 256)
    for tile in sorted({tile for *_, tile in tiles.FORWARD[4]}):
        yield forward(tile, "gelu", torch.float32, ieee=True)
    yield from planted()


def planted() -> Iterator[Case]:
    """Kernels that must be found wrong: too many registers, too much memory, no tensor cores."""
    for case in (
        forward(Tile(64, 128, 64, 2, 4), "gelu", torch.bfloat16),
        forward(Tile(16, 64, 64, 4, 28), "none", torch.bfloat16),
        forward(Tile(16, 64, 32, 4, 2), "none", torch.float32, ieee=True)._replace(cores=True),
    ):
        yield case._replace(name=f"planted: {case.name}", planted=True)


def compile_all(target: GPUTarget) -> Iterator[tuple[Case, Any]]:
    """Every case with its compiled kernel."""
    kernels: list[Any] = []
    run = JITFunction.run

    def only_compile(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        self.device_caches.clear()  # their key does not name the target
        kernels.append(run(self, *args, grid=grid, warmup=True, **options))
        return kernels[-1]

    driver.set_active(StubDriver(target))  # for good: there is no driver to go back to
    JITFunction.run = only_compile
    try:
        for case in cases():
            kernels.clear()
            case.launch()
            if len(kernels) != 1:
                raise RuntimeError(f"{case.name}: {len(kernels)} launches instead of one")
            yield case, kernels[0]
    finally:
        JITFunction.run = run


def spilled(kernel: Any, arch: int) -> tuple[int, int]:
    """Registers a thread has, and bytes it spills.

    A compiled kernel tells both only after a driver has loaded it, so they come from the binary;
    the bytes from the assembler, which is asked again only if there is a stack frame at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        binary, text = Path(folder, "k.cubin"), Path(folder, "k.ptx")
        binary.write_bytes(kernel.asm["cubin"])
        tools = triton.knobs.nvidia
        usage = subprocess.run(
            [tools.cuobjdump.path, "--dump-resource-usage", str(binary)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        registers, stack = (int(re.search(rf"{k}:(\d+)", usage)[1]) for k in ("REG", "STACK"))
        if not stack:
            return registers, 0
        text.write_text(kernel.asm["ptx"])
        name = f"--gpu-name=sm_{arch}{'a' if arch >= 90 else ''}"
        said = subprocess.run(
            [tools.ptxas.path, "-v", name, "--regAllocOptLevel=2", str(text), "-o", str(binary)],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        return registers, sum(int(n) for n in re.findall(r"(\d+) bytes spill", said))


def judge(kernel: Any, cores: bool, arch: int) -> tuple[str, list[str]]:
    """What the compiled kernel needs, in words, and what is wrong with that."""
    registers, spill = spilled(kernel, arch)
    shared, ptx = kernel.metadata.shared, kernel.asm["ptx"]
    words = [w for w in ("wgmma.mma_async", "mma.sync") if w in ptx]
    vectors = len(re.findall(r"(?:ld|st)\.global\S*\.v[248]|cp\.async\.cg", ptx))
    wrong = [f"spills {spill} bytes"] if spill else []
    if shared > SHARED[arch]:
        wrong.append(f"{shared} bytes of shared memory, there are {SHARED[arch]}")
    if cores and not words:
        wrong.append("no tensor-core instruction")
    used = words[0] if words else "-"
    return f"{registers:3d} registers {shared:6d} shared {vectors:3d} vectors {used}", wrong


def main(targets: list[str]) -> int:
    failed = 0
    for target in targets or ["cuda:80", "cuda:90"]:
        backend, arch = target.split(":")
        start, count = time.perf_counter(), 0
        for case, kernel in compile_all(GPUTarget(backend, int(arch), 32)):
            needs, wrong = judge(kernel, case.cores, int(arch))
            count, failed = count + 1, failed + (bool(wrong) != case.planted)
            print(f"{target} {case.name:60s} {needs} {'; '.join(wrong)}", flush=True)
        print(f"{target}: {count} kernels in {time.perf_counter() - start:.1f} s", flush=True)
    print("FAILED" if failed else "OK", failed)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
