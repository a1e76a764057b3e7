"""`nn.LeakyReLU(negative_slope=0.2)` -> `leaky_relu(0.2)`."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from graphrec.errors import Problem, RecipeError
from graphrec.importers.tzrec.section import Section

__all__ = ["activation"]

_NAMES = ("dice", "gelu", "leaky_relu", "none", "prelu", "relu", "sigmoid", "silu", "tanh")
_OTHER_NAMES = {"": "none", "identity": "none", "linear": "none", "swish": "silu"}
_KNOWN = {name.replace("_", ""): name for name in _NAMES} | _OTHER_NAMES
_USUAL: Mapping[str, Mapping[str, object]] = {
    "gelu": {"approximate": "none"},
    "leaky_relu": {"negative_slope": 0.01},
    "prelu": {"num_parameters": 1, "init": 0.25},
}
"""Arguments that change nothing."""


def activation(section: Section, name: str) -> str:
    """The activation that a field such as `nn.ReLU` names.

    Another activation would be another model: one without counterpart raises RecipeError (GR131).
    """
    said = section.text(name)
    called, _, inside = said.strip().partition("(")
    word = called.rpartition(".")[2].replace("_", "").lower()
    known = _KNOWN.get(word)
    given = _arguments(f"f({inside}" if inside else "f()")
    if known is None or given is None:
        raise _refused(section, name, said)
    given.pop("inplace", None)
    rest = {k: v for k, v in given.items() if _USUAL.get(known, {}).get(k) != v}
    slope = rest.pop("negative_slope", None)
    if rest or (slope is not None and known != "leaky_relu"):
        raise _refused(section, name, said)
    return known if slope is None else f"{known}({slope:g})"


def _arguments(call: str) -> dict[str, object] | None:
    """The arguments of a call by name, positional ones by that of a leaky slope."""
    try:
        tree = ast.parse(call, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(tree, ast.Call) or len(tree.args) > 1:
        return None
    try:
        given = {word.arg or "": ast.literal_eval(word.value) for word in tree.keywords}
        if tree.args:
            given["negative_slope"] = ast.literal_eval(tree.args[0])
        return given
    except ValueError:
        return None


def _refused(section: Section, name: str, said: str) -> RecipeError:
    what = f"{section.path}.{name}: {said} has no counterpart"
    help = f"activations here: {', '.join(sorted(set(_KNOWN.values())))}"
    return RecipeError(Problem("GR131", what, section.place(name), help=help))
