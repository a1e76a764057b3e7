"""The attention block alone (P1, P2, P5): DIN over histories of 0 to 100 steps.

`plain` is the encoder as its paper's code has it, over padded steps; `split` the best by hand.
Forward and backward, gradients of inputs and weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.models.din import PlainDIN, SplitDIN
from bench.models.pieces import copy_dense
from bench.options import Options
from bench.results import Row, ratio
from bench.steps import precision
from bench.timing import measure
from graphrec.nn import DIN, Jagged

__all__ = ["rows"]

BATCH, LONGEST, WIDTH, HIDDEN = 1024, 100, 48, [256, 64]


def rows(options: Options) -> list[Row]:
    """Figures of the block."""
    batch = options.batch(BATCH)
    torch.manual_seed(0)
    lengths = torch.randint(1, LONGEST + 1, (batch,))
    query = torch.randn(batch, WIDTH, requires_grad=True)
    values = torch.randn(int(lengths.sum()), WIDTH, requires_grad=True)
    padded = torch.zeros(batch, int(lengths.max()), WIDTH)
    padded[torch.arange(padded.shape[1]) < lengths.unsqueeze(1)] = values.detach()
    padded.requires_grad_()
    ours = DIN(query_features=WIDTH, key_features=WIDTH, hidden=HIDDEN)
    plain, split = PlainDIN(WIDTH, HIDDEN), SplitDIN(WIDTH, HIDDEN)
    state = {_plain_name(name): values for name, values in ours.state_dict().items()}
    for module in (plain, split):
        copy_dense(module, state)
    forwards: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        "ours": (ours, lambda: ours(query, Jagged(values, lengths))),
        "plain": (plain, lambda: plain(query, padded, lengths)),
        "split": (split, lambda: split(query, values, lengths)),
    }
    outputs = [forward() for _, forward in forwards.values()]
    for found in outputs[1:]:
        torch.testing.assert_close(found, outputs[0], atol=1e-5, rtol=1e-4)
    leaves, grad = [query, values, padded], torch.randn(batch, WIDTH)
    steps = {
        f"{name}{' bf16' if bf16 else ''}": _step(module, forward, leaves, grad, bf16)
        for name, (module, forward) in forwards.items()
        for bf16 in (False, True)
    }
    times = measure(steps, options.windows, options.seconds)
    where = f"DIN block B {batch}"
    return [
        ratio("P1", f"{where}: ours / plain", times["ours"], times["plain"], 2.3),
        ratio("P2", f"{where}: ours bf16 / plain", times["ours bf16"], times["plain"], 5.0),
        ratio("P2", f"{where}: ours bf16 / plain bf16", times["ours bf16"], times["plain bf16"]),
        ratio("P5", f"{where}: ours / split", times["ours"], times["split"], 1.0),
        ratio(
            "P5", f"{where}: ours bf16 / split bf16", times["ours bf16"], times["split bf16"], 1.0
        ),
    ]


def _plain_name(name: str) -> str:
    """`scorer.mlp.layers.0.weight` -> `mlp.layers.0.weight`, `...mlp.out.bias` -> `out.bias`."""
    rest = name[name.index("mlp.") :]
    return rest.removeprefix("mlp.") if rest.startswith("mlp.out") else rest


def _step(
    module: nn.Module,
    forward: Callable[[], Tensor],
    leaves: list[Tensor],
    grad: Tensor,
    bf16: bool,
) -> Callable[[], None]:
    def step() -> None:
        for leaf in (*leaves, *module.parameters()):
            leaf.grad = None
        with precision(bf16):
            found = forward()
        found.float().backward(grad)

    return step
