"""R5: hostile names change nothing: the same model, bit for bit, in a file of allowed calls."""

from __future__ import annotations

import keyword
import random
import string

import torch

from graphrec.compiler.loader import check_source
from graphrec.compiler.pipeline import Compiled, check_recipe, compile_recipe
from graphrec.nn import Batch, Jagged
from graphrec.recipe.names import MODULE_ATTRIBUTES, feature_name, node_name

# Texts that may stand wherever a text is free: columns, name, description, labels, notes.
TEXTS = [
    *keyword.kwlist,
    *("__init__", "__class__", "self", "batch", "torch", "nn", "F", "print", "None", "embedded"),
    *("ﬁle", "ﬁ" * 9, "Å", "Å", "ｅｖａｌ", "a\u0301", "\u202etxt.exe", "\u2066x\u2069", "\u200b"),
    *(
        '"',
        "'",
        '"""',
        "'''",
        '\\"""',
        "\\",
        "\\n",
        "\\N{BULLET}",
        "{x}",
        "{{",
        "}}",
        "%s",
        "%(x)s",
    ),
    *(
        "a\nb",
        "\n\nimport os\n",
        "\r\n",
        "\t",
        "# x",
        "'; import os; '",
        "a.b.c",
        "../..",
        "/",
        "~",
    ),
    *("a" * 10_000, "0", "-1", "1e9", "true", "null", "[x]", "{}", "a: b", "- a", "&a", "*a", "!x"),
    *("é", "日本語", "😀", "\u2028", "\u2029", "\ue000", "\ufffd", "a b", " a ", "$", "=", "->"),
]
NAMES = [
    *keyword.kwlist[::2],
    *sorted(MODULE_ATTRIBUTES)[::4],
    *("self", "batch", "embedded", "first", "torch", "nn", "F", "TABLES", "LOOKUPS", "ALL", "FIT"),
    *("Embeddings", "Batch", "Tensor", "MLP", "print", "None_", "_", "__", "__class__", "__dict__"),
    *("embeddings", "first_order", "head", "rel", "weight", "bias", "fields", "linear", "values"),
    *(
        "query",
        "keys",
        "mask",
        "length",
        "logits",
        "probs",
        "y",
        "A",
        "a",
        "_a",
        "a_",
        "a__b",
        "x" * 100,
    ),
]
RECIPE = """\
graphrec: 1
name: @NAME@
description: @DESCRIPTION@
features:
  - {type: id, names: @PLAIN@, vocab: 20, dim: 4, column: @COLUMN1@}
  - {type: id, names: @OTHER@, vocab: 30, dim: 4, column: @COLUMN2@, pool: mean, share: @TABLE@}
  - {type: dense, names: A0, dim: 4, column: @COLUMN3@}
  - {type: sequence, name: past, of: [@PLAIN@], max_len: 5, column: @COLUMN4@}
graph:
  deep: {block: mlp, in: [all, all.linear], hidden: [6], note: @NOTE@}
  fm: {block: fm, in: all.fields}
  seen: {block: pooling, in: past}
tasks:
  click: {label: @LABEL@, in: deep, sample_weight: @WEIGHT@}
  buy: {label: @LABEL2@, logit: sum(fm) + sum(seen)}
meta: {x: @META@}
"""
FREE = (
    "NAME",
    "DESCRIPTION",
    "COLUMN1",
    "COLUMN2",
    "COLUMN3",
    "COLUMN4",
    "NOTE",
    "LABEL2",
    "LABEL",
)
FREE += ("WEIGHT", "META")
PLAIN_NAMES = {"PLAIN": "user", "OTHER": "tags", "TABLE": "tags"}


def quoted(text: str) -> str:
    """A YAML scalar that is this text, whatever it holds."""
    plain = (c if c.isascii() and c.isprintable() else f"\\U{ord(c):08x}" for c in text)
    return '"' + "".join(f"\\{c}" if c in '"\\' and len(c) == 1 else c for c in plain) + '"'


def compiled(texts: dict[str, str], names: dict[str, str]) -> Compiled:
    text = RECIPE
    for slot, value in {**texts, **names}.items():
        text = text.replace(f"@{slot}@", quoted(value))
    problems = check_recipe(text).problems
    assert not problems, (problems[0], texts, names)
    return compile_recipe(text)


def plain_texts() -> dict[str, str]:
    return {slot: slot.lower() for slot in FREE}


def batch(plain: str, other: str) -> Batch:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([2, 0, 3, 1])
    ids = torch.randint(0, 20, (6,), generator=generator)
    return Batch(
        {
            plain: torch.tensor([1, 2, 3, 20]),
            other: Jagged(ids, lengths),
            "A0": torch.rand(4, 1, generator=generator),
            f"past.{plain}": Jagged(ids, lengths),
        }
    )


def run(
    made: Compiled, names: dict[str, str]
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    module = made.module().eval()
    return list(module.state_dict().values()), module(batch(names["PLAIN"], names["OTHER"]))


def test_free_texts_change_nothing() -> None:
    """Every text in every slot (some at a time): the same weights and predictions."""
    rng = random.Random(7)
    reference = compiled(plain_texts(), PLAIN_NAMES)
    weights, predictions = run(reference, PLAIN_NAMES)
    waiting = {slot: rng.sample(TEXTS, len(TEXTS)) for slot in FREE}
    tried = 0
    while any(waiting.values()):
        texts = plain_texts()
        for slot, left in waiting.items():
            if left and left[-1] not in texts.values():
                texts[slot] = left[-1]
                tried += 1
            if left:
                left.pop()
        made = compiled(texts, PLAIN_NAMES)
        check_source(made.source)
        found, predicted = run(made, PLAIN_NAMES)
        assert all(torch.equal(a, b) for a, b in zip(found, weights, strict=True)), texts
        assert predicted.keys() == predictions.keys()
        assert all(torch.equal(predicted[k], predictions[k]) for k in predicted)
    assert tried >= 1000


def test_names_of_features_and_tables_change_nothing_else() -> None:
    """The weights follow the names; given the same weights the model is the same."""
    rng = random.Random(7)
    alphabet = string.ascii_letters + string.digits + "_"
    words = [n for n in NAMES if feature_name(n) is None]
    words += ["q" + "".join(rng.choices(alphabet, k=rng.choice((1, 5, 60)))) for _ in range(15)]
    reference = compiled(plain_texts(), PLAIN_NAMES).module().eval()
    expected = reference(batch("user", "tags"))
    tried = 0
    for number, word in enumerate(words):
        other = words[(number * 7 + 3) % len(words)]
        # columns go by name: the order of the three stays what it is in the reference
        first, second = sorted((word, other))
        names = {"PLAIN": second, "OTHER": first, "TABLE": TEXTS[number % 60]}
        taken = {first, second, names["TABLE"], "A0", "past", "deep", "fm", "seen"}
        if len(taken) < 8 or first < "A0":
            continue
        tried += 1
        made = compiled(plain_texts(), names)
        check_source(made.source)
        module = made.module().eval()
        own, theirs = module.state_dict(), reference.state_dict()
        tables = {names["PLAIN"]: "user", names["TABLE"]: "tags", names["OTHER"]: "tags"}
        given = {key: theirs[_as(key, tables)] for key in own}
        module.load_state_dict(given)
        found = module(batch(names["PLAIN"], names["OTHER"]))
        assert all(torch.equal(found[k], expected[k]) for k in expected), names
    assert tried > 60


def _as(key: str, names: dict[str, str]) -> str:
    head, _, rest = key.partition(".")
    if head not in ("embeddings", "first_order"):
        return key
    name, _, last = rest.rpartition(".")
    return f"{head}.{names.get(name, name)}.{last}"


def test_names_of_nodes_that_are_not_legal_are_refused() -> None:
    for text in [*TEXTS, *MODULE_ATTRIBUTES, "all", "head", "rel", "embeddings", "Deep", "a-b", ""]:
        recipe = RECIPE.replace("deep", quoted(text), 1).replace("in: deep", f"in: {quoted(text)}")
        for slot, value in {**plain_texts(), **PLAIN_NAMES}.items():
            recipe = recipe.replace(f"@{slot}@", value)
        # `self`, `torch`, `print` are fine: they get another identifier
        assert bool(check_recipe(recipe).errors) == (node_name(text) is not None), text
