"""What passes save: common subexpressions, stacked towers, inference passes; a line each.

    python -m bench.passes [--threads 1] [--windows 7]

A toy model is compiled with all passes and with all but one; with equal weights both take turns in
one process. Medians, and how many times as fast it is with the pass. Outputs are compared first.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.timing import measure
from graphrec.compiler.codegen import lower
from graphrec.compiler.loader import load
from graphrec.compiler.passes import PASSES, Seen
from graphrec.compiler.pipeline import check_recipe
from graphrec.compiler.target import Target
from graphrec.nn import Batch, prepare

HEAD = """\
graphrec: 1
name: toy
defaults: {feature: {dim: 16}}
features:
  - {type: id, names: C1..C8, vocab: 1000}
"""
TASKS = ", ".join(f"t{i}: {{label: y{i}, in: tower}}" for i in range(8))
COMMON = HEAD + (
    "graph:\n  bottom: {block: mlp, in: all, hidden: [64]}\n"
    "  tower: 'tanh(all) * sigmoid(all) + dot(all, all)'\n"
    "  other: 'tanh(all) * sigmoid(all) + dot(all, all)'\n"
    "  a: {block: mlp, in: [tower, bottom], hidden: [32]}\n"
    "  b: {block: mlp, in: [other, bottom], hidden: [32]}\n"
    "tasks: {t: {label: y, in: a}, u: {label: z, in: b}}\n"
)
SIBLINGS = HEAD + (
    "graph:\n  bottom: {block: mlp, in: all, hidden: [64]}\n"
    "  tower: {block: mlp, in: bottom, each: tasks, hidden: [32, 16], kernel: stacked}\n"
    f"tasks: {{{TASKS}}}\n"
)
NORMS = HEAD + (
    "graph:\n"
    "  deep: {block: mlp, in: all, hidden: [128, 64, 32], norm: batch, dropout: 0.1}\n"
    "tasks: {t: {label: y, in: deep}}\n"
)
Call = Callable[[Batch], object]


def pair(text: str, without: str, target: Target | None = None) -> tuple[nn.Module, nn.Module]:
    """The module with and without a pass, of equal weights."""
    seen, target = Seen(), target or Target()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.yaml"
        path.write_text(text)
        checked = check_recipe(path, target=target, trace=seen.add)
    assert not checked.errors, checked.errors
    modules = []
    for left_out in ("", without):
        graph = seen.after("build")
        for step in PASSES:
            graph = graph if step.__name__ == left_out else step(graph, target)
        modules.append(load(lower(graph, recipe_hash=without, version="bench"))())
    modules[1].load_state_dict(modules[0].state_dict())
    return modules[0], modules[1]


def trained(module: nn.Module) -> Call:
    """Forward and backward."""

    def step(batch: Batch) -> Tensor:
        module.zero_grad()
        total = torch.stack([v.sum() for k, v in module(batch).items() if k.startswith("logits")])
        total.sum().backward()
        return total.detach()

    return step


def line(
    what: str, with_pass: Call, without: Call, batch: Batch, options: argparse.Namespace
) -> None:
    """Compare outputs, time both, print."""
    torch.testing.assert_close(with_pass(batch), without(batch), rtol=1e-3, atol=1e-3)
    steps = {"with": lambda: with_pass(batch), "without": lambda: without(batch)}
    times = measure(steps, options.windows, options.seconds)
    wall, cpu = times["with"].over(times["without"])
    shown = f"{times['without'].wall:9.3f} {times['with'].wall:9.3f} {wall:6.2f} {cpu:6.2f}"
    print(f"{what:44} {shown}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a window")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{'':44} {'without':>9} {'with ms':>9} {'wall x':>6} {'cpu x':>6}")
    for size in (1, 256, 4096):
        batch = Batch({f"C{i}": torch.randint(0, 1000, (size,)) for i in range(1, 9)})
        for what, text in (("common", COMMON), ("siblings", SIBLINGS)):
            ours, plain = pair(text, what)
            line(f"{what}, training, B {size}", trained(ours), trained(plain), batch, options)
            with torch.no_grad():
                line(f"{what}, inference, B {size}", ours.eval(), plain.eval(), batch, options)
        plain = pair(NORMS, "inference", Target(purpose="inference"))[1].eval()
        with torch.no_grad():
            ready = prepare(copy.deepcopy(plain))
            line(f"batch norm folded and prepared, B {size}", ready, plain, batch, options)
    print(f"torch {torch.__version__}, {options.threads} threads, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
