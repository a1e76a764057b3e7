"""Former names of nodes: the keys of an older checkpoint find their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["renamed"]


def renamed(module: nn.Module, former: Mapping[str, str]) -> None:
    """Let `module.load_state_dict` accept keys of children by former names (new -> former).

    A key that already has its new name is left alone.
    """

    def rename(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for new, old in former.items():
            for key in [k for k in state if k.startswith(f"{prefix}{old}.")]:
                state.setdefault(prefix + new + key[len(prefix) + len(old) :], state.pop(key))

    module.register_load_state_dict_pre_hook(rename)  # type: ignore[no-untyped-call]
