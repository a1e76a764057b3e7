"""The schema of features, groups, tasks, relations and training settings, short forms included."""

from __future__ import annotations

from collections.abc import Iterable

from graphrec.recipe.loss_table import LOSSES
from graphrec.recipe.model import FEATURES
from graphrec.recipe.optimizer_table import OPTIMIZERS
from graphrec.views.schema.definitions import ANY, TEXT, TEXTS, Schema, case, described, mapping

__all__ = [
    "CHOICES",
    "feature_models",
    "features",
    "group",
    "loss_term",
    "relation",
    "retrieval",
    "tasks",
    "training",
]

_OWN = frozenset("of vocab edges column group share max_len weights width".split())  # noqa: SIM905
"""What every feature says for itself."""


CHOICES = {
    **{name: row.doc for name, row in OPTIMIZERS.items()},
    "constant": "The same rate after warm-up.",
    "exponential": "Times gamma every `every` updates.",
    "steps": "Times gamma at each update of `at`.",
    "cosine": "Half a cosine down to the minimum over the whole training.",
    "restarts": "Half a cosine that starts again every `every` updates.",
    "linear": "A line down to the minimum over the whole training.",
    "none": "The sum of the tasks' losses.",
    "pareto": "Weights of each step by which no loss can fall without another rising.",
    "uncertainty": "Weights by learned uncertainty (Kendall et al., 2018).",
}
"""What the named choices of `train` mean; a test holds it complete."""


def feature_models() -> Iterable[str]:
    return (model.__name__ for model in FEATURES.values())


def _settings(kind: str, declared: Schema) -> Schema:
    """What a family of this kind may say besides its type and names."""
    properties = {k: v for k, v in declared.items() if k not in ("name", "type", "columns")}
    if kind == "sequence":
        text = "Column of the one base feature, or a map base feature -> column."
        properties["column"] = {"description": text, "anyOf": [TEXT, mapping(TEXT)]}
    return properties


def features() -> Schema:
    """Families by type; a family without one changes features that are declared already."""
    definitions: Schema = {}
    every: Schema = {}
    cases = []
    for kind, model in FEATURES.items():
        schema = model.model_json_schema()
        properties = _settings(kind, schema["properties"])
        required = [key for key in schema["required"] if (kind, key) != ("id", "vocab")]
        every |= properties
        alone = kind in ("cross", "sequence")
        named = {"name": _name()} if alone else {"names": _names()}
        word = "name" if alone else "names"
        definitions[f"family_{kind}"] = {
            "description": model.__doc__,
            "type": "object",
            "properties": {"type": {"const": kind}, **named, **properties},
            "required": ["type", word, *(key for key in required if key in _OWN)],
            "additionalProperties": False,
        }
        if kind == "id":  # names may be a map name -> vocab
            named_with_vocab = {"properties": {"names": {"type": "object"}}}
            definitions["family_id"] |= {"if": named_with_vocab, "else": {"required": ["vocab"]}}
        cases.append(case("type", kind, f"family_{kind}"))
    patch = {"names": _names(), "name": _name(), **every}
    definitions["family_patch"] = {
        "description": "Changes of declared features.",
        "type": "object",
        "properties": patch,
        "additionalProperties": False,
    }
    types = {"enum": list(FEATURES), "description": "Kind of the features."}
    definitions["family"] = {
        "description": "Features of one kind with common settings.",
        "type": "object",
        "properties": {"type": types, "names": _names(), "name": _name()},
        "allOf": cases,
        "if": {"not": {"required": ["type"]}},
        "then": {"$ref": "#/$defs/family_patch"},
    }
    definitions["defaults"] = {
        "description": "Settings that features get unless they say otherwise.",
        "type": "object",
        "properties": {key: every[key] for key in every if key not in _OWN},
        "additionalProperties": False,
    }
    return definitions


def _names() -> Schema:
    by_name = {"type": "object", "additionalProperties": ANY}
    return {
        "description": "A name, a list of names, a range C1..C26, or a map name -> vocab.",
        "anyOf": [TEXT, TEXTS, by_name],
    }


def _name() -> Schema:
    return {"description": "The feature's name.", **TEXT}


def group(definitions: Schema) -> Schema:
    """A group: a list, `{of: ..., except: ...}`, or a query paired with a sequence."""
    own = definitions["FeatureGroup"]["properties"]
    for key in ("of", "except"):
        own[key] = described(own[key], {"anyOf": [TEXT, TEXTS]})
    names = ("FeatureGroup", "PairedGroup")
    return {"anyOf": [TEXTS, *({"$ref": f"#/$defs/{name}"} for name in names)]}


def loss_term() -> Schema:
    """A term of the loss: its expression, or a map."""
    return {"anyOf": [TEXT, {"$ref": "#/$defs/LossTerm"}]}


def tasks(definitions: Schema) -> None:
    """Tasks with their short forms; loss and metrics may be left to the task's kind."""
    task, space = definitions["Task"], definitions["Space"]
    properties = task["properties"]
    losses = {
        "type": "object",
        "properties": {name: mapping(ANY, about=loss.__doc__) for name, loss in LOSSES.items()},
        "additionalProperties": False,
    }
    short = {"enum": [*LOSSES, "none"]}
    for key, forms in (
        ("label", [TEXT, {"$ref": "#/$defs/LabelSpec"}]),
        ("loss", [short, losses]),
        ("space", [TEXT, {"$ref": "#/$defs/Space"}]),
        ("classes", [{"type": "integer", "minimum": 1}, TEXTS]),
    ):
        properties[key] = described(properties[key], {"anyOf": forms})
    task.pop("required", None)
    space["required"] = ["label"]


def retrieval(definitions: Schema) -> None:
    """Label, loss and histories in their short forms; what a recipe extends may say the rest."""
    whole = definitions["Retrieval"]
    properties = whole["properties"]
    settings = mapping({"$ref": "#/$defs/SampledSoftmax"})
    for key, forms in (
        ("label", [TEXT, {"$ref": "#/$defs/LabelSpec"}]),
        ("loss", [{"enum": ["sampled_softmax"]}, settings]),
        ("seen", [TEXT, TEXTS]),
    ):
        properties[key] = described(properties[key], {"anyOf": forms})
    for name in ("Retrieval", "Candidates"):
        definitions[name].pop("required", None)


def training(definitions: Schema) -> None:
    """One rate for everything; optimizers, schedules and balances by name."""
    train, optim = definitions["Train"]["properties"], definitions["Optim"]["properties"]
    rates = {"$ref": "#/$defs/LearningRate"}
    train["lr"] = described(train["lr"], {"anyOf": [{"type": "number"}, rates]})
    for properties, key, model, word in (
        (train, "schedule", "Schedule", "kind"),
        (train, "table_schedule", "Schedule", "kind"),
        (train, "balance", "Balance", "kind"),
        (optim, "dense", "Optimizer", "name"),
        (optim, "sparse", "Optimizer", "name"),
    ):
        own = definitions[model]["properties"]
        settings = {name: value for name, value in own.items() if name != word}
        inner = {"type": "object", "properties": settings, "additionalProperties": False}
        named = {
            "type": "object",
            "properties": {
                name: {"description": CHOICES[name], **inner} for name in own[word]["enum"]
            },
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
        told = [CHOICES[name] for name in own[word]["enum"]]
        forms = [
            {"enum": own[word]["enum"], "enumDescriptions": told},
            named,
            {"$ref": f"#/$defs/{model}"},
        ]
        properties[key] = described(properties[key], {"anyOf": forms})
    for model, keys in (("Data", ("train", "eval")), ("Export", ("nodes",))):
        own = definitions[model]["properties"]
        for key in keys:
            own[key] = described(own[key], {"anyOf": [TEXT, TEXTS]})


def relation(model: Schema) -> Schema:
    settings = {k: v for k, v in model["properties"].items() if k not in ("parents", "child")}
    arrow = {"type": "string", "pattern": "->"}
    return {
        "description": "a -> b, a chain a -> b -> c or a joint a + b -> c; perhaps with settings.",
        "anyOf": [
            arrow,
            {
                "type": "object",
                "patternProperties": {
                    "->": {
                        "type": "object",
                        "properties": settings,
                        "additionalProperties": False,
                    }
                },
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ],
    }
