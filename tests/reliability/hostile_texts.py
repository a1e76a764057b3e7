"""Recipes as nobody should write them: mutated bytes, YAML values, settings, and splices."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import yaml
from mistake_texts import Recipe

__all__ = ["HOSTILE", "mutated"]

PIECES = [
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "&a",
    "*a",
    "!!x",
    "<<:",
    "-",
    "?",
    "|",
    ">",
    "#",
    "'",
    '"',
    "~",
    "null",
    "true",
    ".nan",
    "1e999",
    "->",
    "..",
    "$env.HOME",
    "$x",
    "=",
    "(",
    ")",
    "+",
    "\\",
    "---",
    "...",
    "%YAML",
    "names",
    "in",
    "of",
    "each",
    "parallel",
    "repeat",
    "share",
    "carry",
    "hash(",
    "fit(",
    "file(../x)",
    "all",
    "all.fields",
    "tasks",
]
PIECES += [
    "\n",
    "\t",
    " ",
    "  ",
    "\0",
    "\ufeff",
    "\u2028",
    "é",
    "9" * 50,
    "\n  ",
    "\n- ",
    ": ",
    ", ",
]
WORDS = [
    "all",
    "user",
    "item",
    "context",
    "all.fields",
    "all.linear",
    "all.values",
    "tasks",
    "mlp",
    "fm",
    "mmoe",
    "ple",
    "din",
    "masknet",
    "cross_v2",
    "pooling",
    "linear",
    "concat",
    "cin",
    "self_attention",
    "ctr",
    "cvr",
    "click",
    "buy",
    "relu",
    "dice",
    "sum",
    "mean",
    "concat",
    "torch",
    "triton",
    "auc",
    "logloss",
    "gauc(user_id)",
    "bce",
    "focal",
    "softmax",
    "l2",
    "jrc",
    "hash(10)",
    "fit",
    "fit(min_count=2)",
    "0",
    "1",
    "-1",
    "2",
    "1.5",
    "64",
    "100000",
    "true",
    "false",
    "null",
    "adam",
    "adagrad",
    "sgd",
    "cosine",
    "binary",
    "regression",
    "multiclass",
    "aitm",
    "product",
    "[]",
    "{}",
    "user_id",
    "item_id",
    "price",
    "forward",
]
HOSTILE = [
    "__import__('os').system('touch PWNED')",
    "().__class__.__bases__[0].__subclasses__()",
    "{0.__class__}",
    "os.system",
    "os:system",
    "builtins:exec",
    "graphrec.nn:MLP",
    "!!python/object/apply:os.system",
    "../../../etc/passwd",
    "/etc/passwd",
    "file(/etc/passwd)",
    "file(../../secret)",
    "file(~/.ssh/id_rsa)",
    "http://127.0.0.1:9/x.yaml",
    "\\\\host\\share",
    "$env.HOME",
    "$(touch PWNED)",
    "`touch PWNED`",
    "'; import os; os.system('touch PWNED'); '",
    '"""\nimport os\n"""',
    "x\n    import os",
    "# noqa\nexec('1')",
    "all); __import__('os').abort() #",
    "lambda: 1",
    "[x for x in all]",
    "all if all else all",
    "f'{all}'",
    "all.__dict__",
    "all.fields.__class__",
    "9**9**9**9",
    "sum(" * 300 + "all" + ")" * 300,
    "all + " * 400 + "all",
    "a" * 10_000,
    "\u202eevil",
    "ﬁle",
    "x\x00y",
    "class",
    "__init__",
    "self",
    "batch",
    "torch",
    "%s %d {x}",
    "-o",
    "--plugin",
]


def mutated(corpus: Sequence[Recipe], rng: random.Random) -> bytes:
    """One recipe file, broken in one of four ways."""
    recipe = rng.choice(corpus)
    text = recipe.files[recipe.main]
    return rng.choice((_bytes, _values, _settings, _spliced))(text, corpus, rng)


def _bytes(text: str, corpus: Sequence[Recipe], rng: random.Random) -> bytes:
    data = bytearray(text.encode())
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(data))
        way = rng.random()
        if way < 0.3:
            data[at] = rng.randrange(256)
        elif way < 0.5:
            del data[at : at + rng.choice((1, 2, 10, 200))]
        elif way < 0.7:
            end = at + rng.choice((1, 5, 50))
            data[at:at] = data[at:end] * rng.choice((1, 2, 100))
        else:
            data[at:at] = rng.choice(PIECES).encode()
        if not data:
            data += b"x"
    return bytes(data)


def _values(text: str, corpus: Sequence[Recipe], rng: random.Random) -> bytes:
    plain = _plain(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(plain))
        parent, key = rng.choice(places)
        other_parent, other = rng.choice(places)
        way = rng.random()
        if way < 0.35:
            parent[key] = json.loads(json.dumps(other_parent[other]))
        elif way < 0.6:
            parent[key] = _scalar(rng.choice([*WORDS, *HOSTILE]))
        elif way < 0.75 and isinstance(parent, dict):
            parent[rng.choice([*WORDS, *HOSTILE, str(other)])] = parent.pop(key)
        elif way < 0.9:
            del parent[key]
        else:
            parent[key] = [parent[key]] * rng.choice((1, 2, 30))
        if not plain:
            break
    return json.dumps(plain, indent=1, ensure_ascii=rng.random() < 0.5).encode("utf-8", "replace")


def _settings(text: str, corpus: Sequence[Recipe], rng: random.Random) -> bytes:
    """A value replaced by one that stands in the same place of another recipe."""
    plain = _plain(text)
    donor = rng.choice(corpus)
    given = _plain(donor.files[rng.choice(list(donor.files))])
    for section in rng.sample(sorted(given), min(len(given), rng.choice((1, 2, 3)))):
        mine, theirs = plain.get(section), given[section]
        if isinstance(mine, dict) and isinstance(theirs, dict) and rng.random() < 0.8:
            for key in rng.sample(sorted(theirs), min(len(theirs), 2)):
                target = rng.choice([*sorted(mine), key]) if mine else key
                if isinstance(mine.get(target), dict) and isinstance(theirs[key], dict):
                    mine[target] = {**mine[target], **theirs[key]}
                else:
                    mine[target] = theirs[key]
        elif isinstance(mine, list) and isinstance(theirs, list):
            plain[section] = mine + theirs
        else:
            plain[section] = theirs
    return json.dumps(plain, indent=1, ensure_ascii=False).encode()


def _spliced(text: str, corpus: Sequence[Recipe], rng: random.Random) -> bytes:
    """Lines of one recipe among those of another."""
    other = rng.choice(corpus)
    lines, theirs = text.splitlines(), other.files[other.main].splitlines()
    at, start = rng.randrange(len(lines)), rng.randrange(len(theirs))
    taken = theirs[start : start + rng.choice((1, 3, 10))]
    drop = rng.choice((0, 0, 1, 4))
    return ("\n".join([*lines[:at], *taken, *lines[at + drop :]]) + "\n").encode()


def _plain(text: str) -> Any:
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
