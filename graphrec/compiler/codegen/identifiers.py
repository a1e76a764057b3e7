"""Identifiers of generated code: from the recipe's names, unique, no keyword, no builtin."""

from __future__ import annotations

import builtins
import keyword
import re

__all__ = ["Names", "class_name"]

_TAKEN = frozenset(
    {
        *keyword.kwlist,
        *keyword.softkwlist,
        *dir(builtins),
        "self",
        "batch",
        "embedded",
        "first",
        "rows",
        "nn",
        "torch",
        "fn",
    }
)


class Names:
    """Hands out identifiers; the same wish always gets the same answer."""

    def __init__(self, *taken: str) -> None:
        self._taken = {*_TAKEN, *taken}
        self._given: dict[str, str] = {}

    def reserve(self, name: str) -> None:
        """Never give this identifier away."""
        self._taken.add(name)

    def take(self, wish: str) -> str:
        """An identifier like `wish`: dots become underscores, clashes get one behind.

        >>> names = Names()
        >>> names.take("all"), names.take("tower.ctr")
        ('all_', 'tower_ctr')
        """
        if wish not in self._given:
            name = re.sub(r"[^A-Za-z0-9_]", "_", wish)
            name = name if name.isidentifier() else f"_{name}"
            while name in self._taken:
                name += "_"
            self._taken.add(name)
            self._given[wish] = name
        return self._given[wish]


def class_name(name: str) -> str:
    """The generated class's name.

    >>> class_name("dbmtl_taobao")
    'DbmtlTaobao'
    """
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[0].upper() + word[1:] for word in words) or "Model"
    joined = joined if joined[0].isalpha() else f"Model{joined}"
    return f"{joined}Model" if keyword.iskeyword(joined) else joined  # True, False, None
