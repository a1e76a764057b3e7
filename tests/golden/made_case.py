"""Cases made here, in the form of the golden ones: plain formulas in double precision.

For kinds and options that a folder of golden cases may have no case of. Weights are drawn when a
formula first asks for them, under the key that it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from golden_case import Case
from torch import Tensor

__all__ = ["Made", "spec"]


def spec(*units: int, **other: Any) -> dict[str, Any]:
    """The description of an MLP."""
    plain = {"activation": "relu", "norm": "none", "bias": True, "dropout": 0.0}
    return {"units": list(units), **plain, **other}


class Made:
    """A case while its numbers are computed."""

    def __init__(self, name: str, level: str, mode: str = "train", **said: Any) -> None:
        self.said = {"format": 1, "case": name, "level": level, "mode": mode, **said}
        self.training = mode == "train"
        self.draw = torch.Generator().manual_seed(sum(map(ord, name)))
        self.inputs: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}
        self.out: dict[str, Tensor] = {}
        self.loss: dict[str, Tensor] = {}
        self.after: dict[str, Tensor] = {}

    # ---- what formulas ask for ------------------------------------------------------------------

    def x(self, name: str, *shape: int) -> Tensor:
        """An input of numbers, with a gradient."""
        values = torch.randn(shape, generator=self.draw)
        self.inputs[name] = values.double().requires_grad_()
        return self.inputs[name]

    def fixed(self, name: str, values: Tensor) -> Tensor:
        """An input without a gradient."""
        self.inputs[name] = values.double() if values.is_floating_point() else values
        return self.inputs[name]

    def ids(self, name: str, below: int, count: int) -> Tensor:
        return self.fixed(name, torch.randint(0, below, (count,), generator=self.draw))

    def numbers(self, name: str, *shape: int) -> Tensor:
        return self.fixed(name, torch.rand(shape, generator=self.draw))

    def w(self, key: str, *shape: int) -> Tensor:
        """A weight."""
        if key not in self.weights:
            values = torch.randn(shape, generator=self.draw) * 0.6
            self.weights[key] = values.double().requires_grad_()
        return self.weights[key]

    def linear(self, key: str, x: Tensor, out: int, bias: bool = True) -> Tensor:
        y = x @ self.w(f"{key}.weight", out, x.shape[-1]).T
        return y + self.w(f"{key}.bias", out) if bias else y

    def layer_norm(self, key: str, x: Tensor) -> Tensor:
        width = x.shape[-1]
        scale, shift = self.w(f"{key}.weight", width), self.w(f"{key}.bias", width)
        return F.layer_norm(x, (width,), scale, shift, 1e-5)

    def standardise(self, key: str, x: Tensor) -> Tensor:
        """Batch norm without scale and shift; statistics over all axes but the last."""
        width = x.shape[-1]
        for part in ("running_mean", "running_var"):
            if f"{key}.{part}" not in self.weights:
                values = torch.rand(width, generator=self.draw) + 0.5
                self.weights[f"{key}.{part}"] = values.double()
        mean, var = (self.weights[f"{key}.{part}"] for part in ("running_mean", "running_var"))
        if self.training:
            rows = x.reshape(-1, width)
            used, spread = rows.mean(0), rows.var(0, unbiased=False)
            self.after[f"{key}.running_mean"] = 0.9 * mean + 0.1 * used.detach()
            unbiased = rows.var(0, unbiased=True).detach()
            self.after[f"{key}.running_var"] = 0.9 * var + 0.1 * unbiased
            mean, var = used, spread
        return (x - mean) / torch.sqrt(var + 1e-5)

    def mlp(self, key: str, given: Mapping[str, Any], x: Tensor) -> Tensor:
        for i, width in enumerate(given["units"]):
            layer, batch = f"{key}.{i}", given["norm"] == "batch"
            x = self.linear(layer, x, width, given["bias"] and not batch)
            if batch:
                scale = self.w(f"{layer}.norm.weight", width)
                x = self.standardise(f"{layer}.norm", x) * scale + self.w(
                    f"{layer}.norm.bias", width
                )
            elif given["norm"] == "layer":
                x = self.layer_norm(f"{layer}.norm", x)
            x = self._activated(f"{layer}.act", given, x)
        return x

    def _activated(self, key: str, given: Mapping[str, Any], x: Tensor) -> Tensor:
        name = given["activation"]
        if name == "prelu":
            return torch.where(x > 0, x, self.w(f"{key}.weight", 1) * x)
        if name == "dice":
            p = torch.sigmoid(self.standardise(key, x))
            return self.w(f"{key}.alpha", x.shape[-1]) * (1 - p) * x + p * x
        if name == "leaky_relu":
            return F.leaky_relu(x, given["slope"])
        return {"relu": torch.relu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh}[name](x)

    # ---- the end --------------------------------------------------------------------------------

    def case(self, **more: Any) -> Case:
        """The case: arrays in single precision, gradients of `loss/total`."""
        if self.said["level"] == "block":
            for key, value in self.out.items():
                self.fixed(f"cot.{key}", torch.randn(value.shape, generator=self.draw))
            terms = [(v * self.inputs[f"cot.{k}"]).sum() for k, v in self.out.items()]
            self.loss["total"] = torch.stack(terms).sum()
        leaves = {k: v for k, v in self.weights.items() if v.requires_grad}
        leaves |= {f"in.{k}": v for k, v in self.inputs.items() if v.requires_grad}
        arrays = {f"in/{k}": v for k, v in self.inputs.items()}
        arrays |= {f"w/{k}": v for k, v in self.weights.items()}
        for part in ("out", "loss", "after"):
            arrays |= {f"{part}/{k}": v for k, v in getattr(self, part).items()}
        if "total" in self.loss:
            grads = torch.autograd.grad(self.loss["total"], [*leaves.values()], allow_unused=True)
            found = zip(leaves, grads, strict=True)
            arrays |= {f"grad/{key}": grad for key, grad in found if grad is not None}
        plain = {k: v.detach() for k, v in arrays.items()}
        single = {k: v.float() if v.is_floating_point() else v for k, v in plain.items()}
        return Case({**self.said, **more}, single)
