"""FBGEMM's exact row optimizers as a kernel of the tables, where fbgemm_gpu is installed.

Only its shared libraries are loaded, not its Python package (which imports for seconds). Its
backward operators take gradients that are given, so looking up and updating stay two steps; lookups
themselves run on torch's operators.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Fbgemm", "choose_fbgemm", "fbgemm"]

LIBRARIES = (
    "fbgemm_gpu_tbe_training_backward.so",
    "fbgemm_gpu_tbe_training_backward_split_host.so",
)
OPERATOR = "split_embedding_backward_codegen_{rule}_cpu"
# These operators are FBGEMM's own affair: another release may give them other arguments.
TABLE = (
    "grad_output host_weights weights_placements weights_offsets D_offsets max_D hash_size_cumsum"
    " total_hash_size_bits indices offsets pooling_mode indice_weights stochastic_rounding"
)
STATE = " momentum1_host momentum1_placements momentum1_offsets"
RULES: Mapping[str, str] = {
    "sgd": f"{TABLE} learning_rate_tensor output_dtype",
    "adagrad": f"{TABLE}{STATE} learning_rate_tensor eps output_dtype",
    "rowwise_adagrad": f"{TABLE}{STATE} learning_rate_tensor eps weight_decay weight_decay_mode"
    " max_norm output_dtype",
}


class Fbgemm:
    """Updates of rows of packed float32 tables [R, dim] by FBGEMM's CPU operators."""

    def __init__(self, operators: Mapping[str, Any]) -> None:
        self._operators = operators

    def update(
        self,
        rule: str,
        weight: Tensor,
        slots: Sequence[Tensor],
        rows: Tensor,
        grads: Tensor,
        *,
        lr: float,
        eps: float,
    ) -> None:
        """Sum `grads` [N, dim] of equal `rows` [N] and apply `rule` once to every distinct row."""
        count, dim = weight.shape
        zero = torch.zeros(1, dtype=torch.int64)
        host = torch.zeros(1, dtype=torch.int32)
        given: dict[str, Any] = {
            "grad_output": grads,
            "host_weights": weight.detach().view(-1),
            "weights_placements": host,
            "weights_offsets": zero,
            "D_offsets": torch.tensor([0, dim], dtype=torch.int32),
            "max_D": dim,
            "hash_size_cumsum": torch.tensor([0, count]),
            "total_hash_size_bits": count.bit_length(),
            "indices": rows,
            "offsets": torch.arange(rows.shape[0] + 1),
            "pooling_mode": 0,
            "indice_weights": torch.empty(0),
            "stochastic_rounding": False,
            "learning_rate_tensor": torch.tensor(lr, dtype=torch.float32),
        }
        if slots:
            given["momentum1_host"] = slots[0].view(-1)
            given |= {"momentum1_placements": host, "momentum1_offsets": zero, "eps": eps}
        self._operators[rule](**given)


def choose_fbgemm(wanted: str, weight: Tensor, rule: str, weight_decay: float) -> Fbgemm | None:
    """FBGEMM for updates of this table, or None where it is not asked for or can't be had.

    `wanted`: `auto` or `fbgemm`; the second is a RuntimeError where it can't be had.
    """
    if wanted not in ("auto", "fbgemm"):
        return None
    why = _refuses(weight, rule, weight_decay)
    if not why:
        fbgemm_or_why = fbgemm()
        if isinstance(fbgemm_or_why, Fbgemm):
            return fbgemm_or_why
        why = fbgemm_or_why
    if wanted == "fbgemm":
        raise RuntimeError(f"FBGEMM can't update this table: {why}")
    return None


def _refuses(weight: Tensor, rule: str, weight_decay: float) -> str:
    """Why FBGEMM can't do it, or nothing."""
    if weight.device.type != "cpu":
        return f"it is on {weight.device.type}"
    if weight.dtype != torch.float32:
        return f"it is stored as {str(weight.dtype).removeprefix('torch.')}, not float32"
    if weight.shape[1] % 4:
        return f"its width {weight.shape[1]} is not a multiple of 4"
    if rule not in RULES:
        return f"on the CPU it has no {rule} (it has {', '.join(RULES)})"
    if weight_decay:
        return f"{rule} has no weight decay there"
    if type(weight) not in (Tensor, torch.nn.Parameter) or not weight.is_contiguous():
        return "it is not a plain contiguous tensor"
    return ""


@cache
def fbgemm() -> Fbgemm | str:
    """FBGEMM's operators, loaded from the installed fbgemm_gpu, or why there are none."""
    try:
        spec = importlib.util.find_spec("fbgemm_gpu")
    except ValueError as error:  # a module of this name that says nothing of where it is from
        return f"fbgemm_gpu is not to be found: {error}"
    if spec is None or not spec.submodule_search_locations:
        return "fbgemm_gpu is not installed"
    try:
        for name in LIBRARIES:
            library = Path(spec.submodule_search_locations[0]) / name
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
        operators = {
            rule: getattr(torch.ops.fbgemm, OPERATOR.format(rule=rule)).default for rule in RULES
        }
    except (OSError, AttributeError) as error:
        return f"the installed fbgemm_gpu could not be loaded: {str(error).splitlines()[0]}"
    for rule, arguments in RULES.items():
        names = [argument.name for argument in operators[rule]._schema.arguments]
        if names != arguments.split():
            return f"the installed fbgemm_gpu has another `{OPERATOR.format(rule=rule)}`"
    return Fbgemm(operators)
