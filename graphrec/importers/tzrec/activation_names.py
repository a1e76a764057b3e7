"""`nn.LeakyReLU(negative_slope=0.2)` -> `leaky_relu(negative_slope=0.2)`."""

from __future__ import annotations

import re

from graphrec.ground.activation_table import ACTIVATIONS, canonical_activation
from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.tzrec.section import Section

__all__ = ["activation"]

_OTHER_NAMES = {"": "none", "identity": "none", "linear": "none", "swish": "silu"}
_KNOWN = {name.replace("_", ""): name for name in ACTIVATIONS} | _OTHER_NAMES
_NO_MATTER = re.compile(r"(?:,\s*)?\b(?:inplace\s*=\s*(?:True|False)|num_parameters\s*=\s*1)\b")
"""Arguments that change nothing that is computed."""


def activation(section: Section, name: str) -> str:
    """The activation that a field such as `nn.ReLU` names.

    Another activation would be another model: one without counterpart raises RecipeError (GR131).
    """
    written = section.text(name)
    called, _, inside = written.strip().removesuffix(")").partition("(")
    known = _KNOWN.get(called.rpartition(".")[2].replace("_", "").lower(), "")
    given = _NO_MATTER.sub("", inside.replace("'", "")).strip(", ")
    try:
        return canonical_activation(f"{known}({given})" if given else known)
    except KeyError:
        what = f"{section.path}.{name}: {written} has no counterpart"
    except ValueError as error:
        what = f"{section.path}.{name}: {written} has no counterpart: {error}"
    help = f"activations here: {', '.join(sorted(ACTIVATIONS))}"
    raise RecipeError(Problem("GR131", what, section.place(name), help=help))
