"""`rocket_launching`: a light net that serves, and a booster that teaches it in training alone."""

from __future__ import annotations

from typing import Any

from graphrec.importers.tzrec.rank_models import Parts
from graphrec.importers.tzrec.section import Section
from graphrec.importers.tzrec.task_towers import task_body

__all__ = ["DISTILLED", "rocket_launching"]

DISTILLED = "rocket_launching"
"""The model's message."""
_CLOSE = 0.1
"""What the other system multiplies cosines by."""


def rocket_launching(
    parts: Parts, model_config: Section, label: str, weight: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tasks, terms of the loss) of the model; its nets become nodes.

    The light net reads what both share without passing a gradient back, as the other system has it.
    """
    builder, model = parts.builder, parts.model
    shared = builder.one(
        builder.mlp(parts.sub("share_mlp"), "shared", parts.source().refs), "shared"
    )
    hidden = {"hidden_outputs": True} if model.flag("feature_based_distillation") else {}
    light_input = builder.expression("light_input", f"stop({shared})")
    light = builder.mlp(parts.sub("light_mlp"), "light_net", [light_input], **hidden)
    booster = builder.mlp(parts.sub("booster_mlp"), "booster_net", [shared], **hidden, when="train")
    layers = {
        name: section.integers("hidden_units") if section is not None else []
        for name, section in ((n, parts.sub(f"{n}_mlp")) for n in ("light", "booster"))
    }
    body = task_body(model_config, label)
    if weight is not None:
        body["sample_weight"] = weight
        what = "hint and similarity count every row alike, whatever its sample weight"
        builder.notes.add(model.span, what)
    tasks = {
        name: _task(
            body, refs, f".hidden{len(layers[name]) - 1}" if hidden and layers[name] else ""
        )
        for name, refs in (("light", light), ("booster", booster))
    }
    tasks["booster"]["when"] = "train"
    terms: dict[str, Any] = {
        "hint": {
            "block": "hint",
            "in": {"student": "light.logit", "teacher": "booster.logit"},
        }
    }
    euclid = model.text("feature_distillation_function", "COSINE") == "EUCLID"
    for unit, width in enumerate(layers["light"] if hidden else ()):
        if width in layers["booster"]:
            other = layers["booster"].index(width)
            pair = f"{light[0]}.hidden{unit}", f"{booster[0]}.hidden{other}"
            terms[f"similarity_{len(terms) - 1}"] = _similarity(*pair, euclid=euclid)
    return tasks, terms


def _task(body: dict[str, Any], refs: list[str], layer: str) -> dict[str, Any]:
    return {"label": body["label"], "in": f"{refs[0]}{layer}", **body}


def _similarity(student: str, teacher: str, *, euclid: bool) -> dict[str, Any]:
    if euclid:
        read = {"student": student, "teacher": teacher}
        return {"block": "similarity", "in": read, "kind": "euclid"}
    return {"value": f"-cos({student}, stop({teacher}))", "weight": _CLOSE}
