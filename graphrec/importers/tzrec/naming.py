"""Names of another system -> names a recipe may use."""

from __future__ import annotations

import re
from collections.abc import Iterable

from graphrec.recipe.names import feature_name, node_name

__all__ = ["Names", "legal_feature", "legal_node"]

_LONGEST = 90


def legal_feature(text: str) -> str:
    """The text as the name of a feature.

    >>> legal_feature("user-id"), legal_feature("7d_clicks")
    ('user_id', 'f_7d_clicks')
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text)[:_LONGEST] or "feature"
    name = f"f_{name}" if name[0].isdigit() else name
    return name if feature_name(name) is None else f"{name}_feature"


def legal_node(text: str) -> str:
    """The text as the name of a node, group, sequence or task.

    >>> legal_node("DeepTower"), legal_node("all")
    ('deeptower', 'all_group')
    """
    name = re.sub(r"[^a-z0-9_]+", "_", text.lower())[:_LONGEST].lstrip("_") or "node"
    name = f"n_{name}" if name[0].isdigit() else name
    return name if node_name(name) is None else f"{name}_group"


class Names:
    """Gives every name once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def give(self, *requests: str) -> str:
        """The first wish that is free; else the last one with a number."""
        for wish in requests:
            if wish not in self._taken:
                self._taken.add(wish)
                return wish
        number = 2
        while f"{requests[-1]}_{number}" in self._taken:
            number += 1
        return self.give(f"{requests[-1]}_{number}")
