"""Every diagnostic code with its one-line title; `graphrec explain CODE` has a page for each.

GR1 YAML, GR2 schema, GR3 names, GR4 graph, GR5 shapes, GR6 kernels, GR7 data, GR8 checkpoint.
A code keeps its meaning for ever; a code that is no longer used is not given away again.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CODES"]

CODES: Mapping[str, str] = {
    # YAML and files
    "GR101": "the text is not YAML",
    "GR102": "a key is written twice",
    "GR103": "YAML tags are not used",
    "GR104": "YAML anchors and aliases are not used",
    "GR105": "YAML merge keys are not used",
    "GR106": "the recipe is too large",
    "GR107": "the bytes are not plain UTF-8 text",
    "GR108": "a recipe is one map",
    "GR109": "a number is not finite, or too large",
    "GR110": "a key is not a plain text",
    "GR111": "a value is cut in two by a comma and needs quotes",
    "GR120": "a file can't be read",
    "GR121": "a file outside the recipe's folder",
    "GR122": "recipes extend each other in a circle",
    # schema
    "GR201": "unknown key",
    "GR202": "a value of the wrong kind",
    "GR203": "an override can't be applied",
    "GR204": "a value in a form that is not known",
    "GR205": "settings that don't go together",
    "GR206": "something required is missing",
    "GR207": "an expression can't be read",
    "GR208": "nothing to append to, or to delete",
    "GR209": "an environment variable is not set",
    "GR210": "declared twice",
    "GR211": "a patch of a feature that is not declared",
    "GR212": "an unused or unknown parameter of a composite",
    # names
    "GR301": "nothing has this name",
    "GR302": "no such port or output",
    "GR303": "a feature where a node or group is meant",
    "GR304": "a bundle where one tensor is meant",
    "GR305": "no such block",
    "GR306": "a port without an input",
    "GR307": "two nodes with one name",
    "GR320": "a name that can't be used",
    "GR321": "a name that is taken",
}
"""Code -> title."""
