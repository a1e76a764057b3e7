"""The graph in the making: nodes under names of their own, and perceptrons from `MLP` messages.

A group is written `@0`, `@1`, ... until it is known which features the model reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphrec.importers.tzrec.activation_names import activation
from graphrec.importers.tzrec.naming import Names, legal_node
from graphrec.importers.tzrec.section import Notes, Section

__all__ = ["Builder", "Refs", "perceptron"]

Refs = list[str]

_EVERYTHING = ("activation", "norm", "dropout", "bias")


class Builder:
    """Nodes, relations and what else the graph of a recipe is made of."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.names = Names()
        self.nodes: dict[str, dict[str, Any] | str] = {}
        self.relations: list[tuple[list[str], str, dict[str, Any]]] = []

    def node(self, wish: str, block: str, inputs: Any, **settings: Any) -> str:
        """A node with a name of its own, as near to the wish as can be."""
        name = self.names.give(legal_node(wish), legal_node(f"{wish}_{block}"))
        self.nodes[name] = {"block": block, "in": _inputs(inputs), **settings}
        return name

    def expression(self, wish: str, text: str) -> str:
        """A node without weights."""
        name = self.names.give(legal_node(wish), legal_node(f"{wish}_of"))
        self.nodes[name] = text
        return name

    def mlp(self, section: Section | None, wish: str, inputs: Refs, **more: Any) -> Refs:
        """A perceptron on top of `inputs`; without layers it is nothing at all."""
        settings = perceptron(section) if section is not None else {}
        each = {key: more.pop(key) for key in ("each",) if key in more}
        settings |= more
        if not settings.get("hidden"):
            settings = {key: value for key, value in settings.items() if key in ("out", "bias")}
            if "out" not in settings:
                return inputs
        return [self.node(wish, "mlp", inputs, **each, **settings)]

    def one(self, refs: Refs, wish: str) -> str:
        """One reference for all of them."""
        return refs[0] if len(refs) == 1 else self.node(wish, "concat", refs)


def _inputs(inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return {port: _inputs(value) for port, value in inputs.items()}
    return inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs


def perceptron(
    section: Section, allowed: Sequence[str] = _EVERYTHING, hidden: str = "hidden"
) -> dict[str, Any]:
    """Settings of an `MLP` message; what the block has no setting for is noted."""
    layers = section.integers("hidden_units")
    settings: dict[str, Any] = {hidden: layers}
    given: dict[str, Any] = {}
    if "activation" in section:
        given["activation"] = activation(section, "activation")
    if section.flag("use_bn"):
        given["norm"] = "batch"
    if section.flag("use_ln"):
        if "norm" in given:
            section.remark("use_ln", "use_bn and use_ln together: batch norm")
        given.setdefault("norm", "layer")
    rates = section.numbers("dropout_ratio")
    if any(rates):
        same = len(set(rates)) == 1 or len(rates) != len(layers)
        given["dropout"] = float(rates[0]) if same else [float(rate) for rate in rates]
    if not section.flag("bias", True) and given.get("norm") != "batch":
        given["bias"] = False
    defaults = {"activation": "relu", "norm": "none"}
    for name, value in given.items():
        if name in allowed and value != defaults.get(name):
            settings[name] = value
        elif value != defaults.get(name):
            section.notes.add(section.span, f"{section.path}: {name} {value} has no counterpart")
    return settings
