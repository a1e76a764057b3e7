"""Compile every kernel for real GPUs on a machine that has none, as its launcher would launch it.

    python tests/kernels/ahead_of_time.py cuda:80 cuda:90 [--of linear_act]

compiles what tests/kernels/cases lists, prints one line a kernel and exits 1 if one spills
registers, wants more shared memory than a block may have, or lacks what its case says is due
(tensor cores, vectors, asynchronous copies); if another number of rows compiles another kernel; and
if a kernel that was planted to be wrong is not found. A stub driver answers the question which GPU
is there, Triton's run becomes "compile only", and the ordinary launchers run on meta tensors: so
grid code, types, specialisations and tiles are those of a real launch. Not to be mixed with
TRITON_INTERPRET in one process.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
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


def compile_all(
    target: GPUTarget, cases: list[Case], forget: bool = False
) -> Iterator[tuple[Case, Any]]:
    """Every case with each kernel that its launch compiles; `forget`: all numbers specialised."""
    kernels: list[Any] = []
    run = JITFunction.run

    def only_compile(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        self.device_caches.clear()  # their key does not name the target
        for parameter in self.params:
            parameter.do_not_specialize = not forget and parameter.name in self.do_not_specialize
        kernels.append(run(self, *args, grid=grid, warmup=True, **options))
        return kernels[-1]

    driver.set_active(StubDriver(target))  # for good: there is no driver to go back to
    JITFunction.run = only_compile
    try:
        for case in cases:
            kernels.clear()
            case.launch()
            if len(kernels) != case.launches and case.launches >= 0:
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


MEMORY = re.compile(r"(?:ld|st)\.global[\w.]*|cp\.async\.c[ag]\.\S+ \[[^]]*\], \[[^]]*\], \w+")
"""An access to global memory; of an asynchronous copy the last word is its bytes."""


def judge(kernel: Any, case: Case, arch: int) -> tuple[str, list[str]]:
    """What the compiled kernel needs, in words, and what is wrong with that."""
    registers, spill = spilled(kernel, arch)
    shared, ptx = kernel.metadata.shared, kernel.asm["ptx"]
    words = [w for w in ("wgmma.mma_async", "mma.sync") if w in ptx]
    accesses = MEMORY.findall(ptx)
    vectors = sum(bool(re.search(r"\.v[248]\.|0x10$", access)) for access in accesses)
    wrong = [f"spills {spill} bytes"] if spill else []
    if shared > SHARED[arch]:
        wrong.append(f"{shared} bytes of shared memory, there are {SHARED[arch]}")
    if case.cores and not words:
        wrong.append("no tensor-core instruction")
    if words and not case.cores:
        wrong.append("tensor cores, where exact products are due")
    if "wgmma" in case.due and arch >= 90 and "wgmma.mma_async" not in words:
        wrong.append("no wgmma")
    if "aligned" in case.due:
        wrong += unaligned(accesses)
    if "vectors" in case.due and not vectors:
        wrong.append("no vector")
    if "copies" in case.due and "cp.async" not in ptx:
        wrong.append("no asynchronous copy")
    if "nan" in case.due and re.search(r"\b(?:max|min)\.(?:ftz\.)?f\d", ptx):
        wrong.append("a maximum that drops NaN")
    used = words[0] if words else "-"
    return f"{registers:3d} registers {shared:6d} shared {vectors:3d} vectors {used}", wrong


def unaligned(accesses: list[str]) -> list[str]:
    """What is wrong with accesses that should be vectors; a few may be the ends of sums."""
    short = [a for a in accesses if a.startswith("cp.async") and not a.endswith("0x10")]
    single = [a for a in accesses if re.search(r"global\.(?:b8|b16)$|st\.global\.b32$", a)]
    few = max(len(accesses) // 4, 6)
    wrong = bool(short) or len(single) > few
    return [f"{len(short)} short copies, {len(single)} single numbers"] if wrong else []


def of_rows(target: GPUTarget, launch: Callable[[int], object], forget: bool) -> int:
    """How many more kernels a launcher compiles for three numbers of rows than for one.

    With `forget` the kernels forget that they don't specialise: more must be found then.
    """
    every = []
    for rows in (4096, 4097, 4111):
        case = Case(f"{rows} rows", False, partial(launch, rows), launches=-1)
        every.append({kernel.hash for _, kernel in compile_all(target, [case], forget)})
    return len(set.union(*every)) - len(every[0])


def judge_all(target: str, cases: list[Case]) -> int:
    """Prints a line for each kernel; how many cases are not as they should be."""
    backend, arch = target.split(":")
    start, count = time.perf_counter(), 0
    wrong_of = {case.name: False for case in cases}
    for case, kernel in compile_all(GPUTarget(backend, int(arch), 32), cases):
        needs, wrong = judge(kernel, case, int(arch))
        count, wrong_of[case.name] = count + 1, wrong_of[case.name] or bool(wrong)
        print(f"{target} {case.name:60s} {needs} {'; '.join(wrong)}", flush=True)
    print(f"{target}: {count} kernels in {time.perf_counter() - start:.1f} s", flush=True)
    return sum(wrong_of[case.name] != case.planted for case in cases)


def main(targets: list[str], of: list[str]) -> int:
    failed = 0
    names = of or sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    modules = [importlib.import_module(f"cases.{name}") for name in names]
    for target in targets:
        backend, arch = target.split(":")
        failed += judge_all(target, [case for module in modules for case in module.cases()])
        for module in modules:
            for forget in (False, True):
                more = of_rows(GPUTarget(backend, int(arch), 32), module.of_rows, forget)
                failed += bool(more) != forget
                print(f"{target} {module.__name__}: {more} more for other rows", flush=True)
    print("FAILED" if failed else "OK", failed)
    return int(failed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=["cuda:80", "cuda:90"])
    parser.add_argument("--of", action="append", default=[], help="a file of tests/kernels/cases")
    arguments = parser.parse_args()
    sys.exit(main(arguments.targets, arguments.of))
