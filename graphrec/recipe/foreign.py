"""Files of other tools, named as what they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["foreign_tool", "importable"]

_RECIPE = re.compile(r"^graphrec\+? *:", re.MULTILINE)
_MARKS: Mapping[str, tuple[str, ...]] = {
    # What must all stand in the text; the first tool that fits is named.
    "EasyRec": (r"\bmodel_config\s*:?\s*\{", r"\bmodel_class\s*:"),
    "TorchEasyRec": (r"\bmodel_config\s*:?\s*\{", r"\bfeature_configs\s*:?\s*\{"),
    "FuxiCTR (a dataset)": (r"^\s*feature_cols *:", r"^\s*label_col *:"),
    "FuxiCTR": (r"^\s+model *:", r"^\s+dataset_id *:"),
    "RecBole": (r"^(?:USER_ID_FIELD|ITEM_ID_FIELD|load_col|eval_args|RATING_FIELD) *:",),
    "PaddleRec": (r"^hyper_parameters *:", r"^runner *:"),
    "Ludwig": (r"^input_features *:", r"^output_features *:"),
    "HugeCTR": (r'"solver"\s*:', r'"layers"\s*:'),
}
_OWN_KEYS = re.compile(r"^(?:features\+?|graph|tasks|extends) *:", re.MULTILINE)
_IMPORTED = ("TorchEasyRec", "EasyRec")


def foreign_tool(text: str) -> str:
    """The tool whose config a text looks like, `graphrec` for a recipe of ours, or "".

    >>> foreign_tool("USER_ID_FIELD: user_id")
    'RecBole'
    """
    head = text[: 1 << 20]
    if _RECIPE.search(head):
        return "graphrec"
    for tool, marks in _MARKS.items():
        known = importable(tool) or not _OWN_KEYS.search(head)
        if known and all(re.search(mark, head, re.MULTILINE) for mark in marks):
            return tool
    return "graphrec" if _OWN_KEYS.search(head) else ""


def importable(tool: str) -> bool:
    """Whether `graphrec import` reads configs of that tool."""
    return tool in _IMPORTED
