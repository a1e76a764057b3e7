"""Compile every kernel for real GPUs on a machine that has none, as its launcher would launch it.

    python tests/kernels/ahead_of_time.py cuda:80 cuda:90 [--of linear_act]

compiles what tests/kernels/cases lists, prints one line a kernel and exits 1 if one spills registers, wants more shared memory than a block
may have, or multiplies matrices without tensor cores where they are due; and if a kernel that was
planted to do so is not found. A stub driver answers the question which GPU is there, Triton's run
becomes "compile only", and the ordinary launchers run on meta tensors: so grid code, types,
specialisations and tiles are those of a real launch. Not to be mixed with TRITON_INTERPRET in one
process.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime import driver
from triton.runtime.jit import JITFunction

sys.path.insert(0, str(Path(__file__).resolve().parent))
from case import Case

FOLDER = Path(__file__).parent / "cases"
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


def compile_all(target: GPUTarget, cases: list[Case]) -> Iterator[tuple[Case, Any]]:
    """Every case with each kernel that its launch compiles."""
    kernels: list[Any] = []
    run = JITFunction.run

    def only_compile(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        self.device_caches.clear()  # their key does not name the target
        kernels.append(run(self, *args, grid=grid, warmup=True, **options))
        return kernels[-1]

    driver.set_active(StubDriver(target))  # for good: there is no driver to go back to
    JITFunction.run = only_compile
    try:
        for case in cases:
            kernels.clear()
            case.launch()
            if len(kernels) != case.launches:
                raise RuntimeError(f"{case.name}: {len(kernels)} launches, not {case.launches}")
            for kernel in kernels:
                yield case, kernel
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


def main(targets: list[str], of: list[str]) -> int:
    failed = 0
    names = of or sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    cases = [case for name in names for case in importlib.import_module(f"cases.{name}").cases()]
    for target in targets:
        backend, arch = target.split(":")
        start, count = time.perf_counter(), 0
        wrong_of: dict[str, bool] = {}
        for case, kernel in compile_all(GPUTarget(backend, int(arch), 32), cases):
            needs, wrong = judge(kernel, case.cores, int(arch))
            count, wrong_of[case.name] = count + 1, wrong_of.get(case.name, False) or bool(wrong)
            print(f"{target} {case.name:60s} {needs} {'; '.join(wrong)}", flush=True)
        failed += sum(wrong_of[case.name] != case.planted for case in cases)
        print(f"{target}: {count} kernels in {time.perf_counter() - start:.1f} s", flush=True)
    print("FAILED" if failed else "OK", failed)
    return int(failed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=["cuda:80", "cuda:90"])
    parser.add_argument("--of", action="append", default=[], help="a file of tests/kernels/cases")
    arguments = parser.parse_args()
    sys.exit(main(arguments.targets, arguments.of))
