"""P12: HSTU's attention, forward and backward, against dense padding; P13: its memory.

Lengths are uniform up to 512, 64 rows, 4 heads of 64. `padded` is graphrec's own form without the
compiled kernel, padded to the longest row of the batch; `dense` is padded to the largest length
there may be, as peers have it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.options import Options
from bench.results import Row, ratio
from bench.timing import measure

__all__ = ["rows"]

BATCH, LONGEST, HEADS, WIDTH = 64, 512, 4, 64
ROOT = Path(__file__).resolve().parents[2]


def rows(options: Options) -> list[Row]:
    """Ratios of time, and memory beside what goes in and out."""
    import torch

    longest = 64 if options.quick else LONGEST
    torch.manual_seed(0)
    lengths = torch.randint(1, longest + 1, (BATCH,))
    steps = _steps(lengths, longest)
    times = measure(steps, options.windows, options.seconds)
    where = f"HSTU attention B {BATCH}, {HEADS}x{WIDTH}, lengths to {longest}"
    return [
        ratio("P12", f"{where}: ours / padded", times["ours"], times["padded"], 4.0),
        ratio("P12", f"{where}: ours / dense", times["ours"], times["dense"], 2.0),
        _memory(options),
    ]


def _steps(lengths: object, longest: int) -> dict[str, Callable[[], None]]:
    """A forward and a backward of each form; their results are compared first."""
    import torch

    from bench.models.hstu import dense_attention
    from graphrec.nn.hstu_attention import hstu_attention, padded_attention

    assert isinstance(lengths, torch.Tensor)
    q, k, v, grad = torch.randn(4, int(lengths.sum()), HEADS, WIDTH).unbind()
    leaves = [x.requires_grad_() for x in (q.clone(), k.clone(), v.clone())]
    forms: dict[str, Callable[[], torch.Tensor]] = {
        "ours": lambda: hstu_attention(*leaves, lengths, scale=float(longest)),
        "padded": lambda: padded_attention(*leaves, lengths, scale=float(longest)),
        "dense": lambda: dense_attention(*leaves, lengths, longest),
    }
    outputs = {}
    for name, form in forms.items():
        out = form()
        outputs[name] = [out, *torch.autograd.grad(out, leaves, grad)]
    for name in ("padded", "dense"):
        for ours, theirs in zip(outputs["ours"], outputs[name], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)

    def step(form: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            for leaf in leaves:
                leaf.grad = None
            form().backward(grad)

        return run

    return {name: step(form) for name, form in forms.items()}


def _memory(options: Options) -> Row:
    """Peak above the inputs for one row of 8,192 steps, and for one of twice as many."""
    grown = []
    for steps in (8192, 16384):
        command = [sys.executable, "-m", "bench.goals.hstu", str(steps), str(options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        grown.append(float(json.loads(done.stdout.splitlines()[-1])))
    work = "HSTU attention, one row: MiB at the peak, 16,384 steps / 8,192"
    how = f"{grown[1]:.0f} against {grown[0]:.0f} MiB; scores would be 4,096 and 1,024"
    return Row("P13", work, round(grown[1] / grown[0], 3), "x", 2.2, True, how)


def _main(steps: str, threads: str) -> None:
    """Print how many MiB the peak of a forward and backward is above what was there before."""
    from graphrec.train.process import prepare_process

    prepare_process()
    import torch

    from graphrec.nn.hstu_attention import hstu_attention

    torch.set_num_threads(int(threads))
    length, scale = torch.tensor([int(steps)]), float(steps)
    leaves = [torch.randn(int(steps), HEADS, WIDTH, requires_grad=True) for _ in range(3)]
    small = [x.detach()[:64].clone().requires_grad_() for x in leaves]
    hstu_attention(*small, torch.tensor([64]), scale=scale).sum().backward()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    hstu_attention(*leaves, length, scale=scale).square().sum().backward()
    print(json.dumps((_status("VmHWM") - before) / 1024))


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line for line in lines if line.startswith(key)).split()[1])


if __name__ == "__main__":
    _main(*sys.argv[1:])
