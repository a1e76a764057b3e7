"""What changes while a model trains, beside the model: its tensors in a checkpoint, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphrec.data import SeenValues
from graphrec.train.balance import Balance
from graphrec.train.manifest import SEEN
from graphrec.train.optimizers import Optimizers
from graphrec.train.window import Window

__all__ = ["Changing", "part_of"]


@dataclass(frozen=True)
class Changing:
    """Optimizers, decayed metrics, balance, trained values, and random numbers of the device."""

    optimizers: Optimizers
    window: Window
    balance: Balance | None
    seen: SeenValues | None
    device: torch.device

    def state(self) -> dict[str, Tensor]:
        """All of it by name; it shares memory with what is trained."""
        state = {f"optim/{k}": v for k, v in self.optimizers.state_dict().items()}
        state.update({f"window/{k}": v for k, v in self.window.state().items()})
        if self.balance is not None:
            state.update({f"balance/{k}": v for k, v in self.balance.state_dict().items()})
        if self.seen is not None:
            state.update({SEEN + k: torch.from_numpy(v) for k, v in self.seen.state().items()})
        state["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            state["random/cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        self.optimizers.load_state_dict(part_of(state, "optim/"))
        self.window.load(part_of(state, "window/"))
        if self.balance is not None:
            self.balance.load_state_dict(part_of(state, "balance/"))
        if self.seen is not None:
            self.seen.load({k: v.numpy() for k, v in part_of(state, SEEN).items()})
        torch.set_rng_state(state["random/cpu"])
        if "random/cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random/cuda"], self.device)


def part_of(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
