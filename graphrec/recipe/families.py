"""Feature families -> single features by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from graphrec.ground.errors import Problem, Span, nearest, suggestion
from graphrec.recipe.model import FEATURES
from graphrec.recipe.names import feature_name
from graphrec.recipe.problem_text import Report
from graphrec.recipe.tree import INVALID, Tree, known, shown

__all__ = ["FEATURE_KEYS", "TYPES", "expand_families", "extend_families"]

TYPES = tuple(FEATURES)
FEATURE_KEYS = frozenset(key for model in FEATURES.values() for key in model.model_fields) | {
    "names"
}
_ALONE = ("cross", "sequence")
_RANGE = re.compile(r"(.*?)([0-9]+)\.\.(.*?)([0-9]+)")
_MAX_FEATURES = 10_000


@dataclass(frozen=True)
class _Name:
    """A feature's name, where it is written, and its vocab where names are a map."""

    text: str
    span: Span
    vocab: Tree | None = None


def expand_families(tree: Tree, root_file: str | None, report: Report) -> Tree:
    """The list of families as a map name -> feature; patches are worked in.

    `root_file` is the outermost recipe: only families written elsewhere may lack a type.
    """
    if not isinstance(tree.value, list):
        if tree.value is not INVALID:
            help = (
                "write  features:\\n         - {type: id, names: [user_id], vocab: 1000, dim: 16}"
            )
            what = f"expected a list of families, got {shown(tree.value)}"
            report(
                Problem("GR202", what, tree.span, "features", help.replace("\\n", "\n")), "features"
            )
        report.breaks("features")
        return tree.holding({})
    return extend_families(tree.holding({}), tree.value, root_file, report)


def extend_families(
    tree: Tree, families: list[Tree], root_file: str | None, report: Report
) -> Tree:
    """The features of `tree` with more families (and patches) added."""
    features: dict[str, Tree] = dict(tree.value)
    patches: list[tuple[int, Tree]] = []
    for number, family in enumerate(families):
        path = f"features.{number}"
        if not isinstance(family.value, dict):
            if family.value is not INVALID:
                what = (
                    f"expected a family such as {{type: id, names: ...}}, got {shown(family.value)}"
                )
                report(Problem("GR202", what, family.span, path))
            report.breaks("features")
        elif "type" in family.value:
            _declare(features, family, path, report)
        elif family.span.file == root_file and family.span.file is not None:
            _untyped(family, path, report)
        else:
            patches.append((number, family))
    seen: dict[tuple[str, str, str | None], Span] = {}
    for number, family in patches:
        _patch(features, family, f"features.{number}", report, seen)
    return tree.holding(features)


def _declare(features: dict[str, Tree], family: Tree, path: str, report: Report) -> None:
    kind = family.value["type"]
    if kind.value is not INVALID and kind.value not in TYPES:
        word = str(kind.value)
        begun = next((name for name in TYPES if word and name.startswith(word)), None)
        near = begun or nearest(word, TYPES)
        hint = f"did you mean `{near}`?" if near else ""
        what = f"expected one of {', '.join(TYPES)}, got {shown(kind.value)}"
        report(Problem("GR202", what, kind.span, f"{path}.type", hint))
    word = "name" if kind.value in _ALONE else "names"
    names = _names(family, word, path, report)
    if len(names) > 1 and "column" in family.value and kind.value != "sequence":
        what = f"`column` names one column, but the family has {len(names)} features"
        report(Problem("GR205", what, family.value["column"].key, f"{path}.column"))
        names = _broken(names, family, report)
    settings = {k: v for k, v in family.value.items() if k not in ("names", "name")}
    for name in names:
        if len(features) >= _MAX_FEATURES:
            report(Problem("GR106", f"more than {_MAX_FEATURES:,} features", name.span, path))
            report.breaks("features")
            return
        if name.text in features:
            first = features[name.text].key
            what = f"feature `{name.text}` is declared twice, first in {_where(first, name.span)}"
            report(Problem("GR210", what, name.span, f"features.{name.text}"))
            continue
        value = dict(settings)
        if name.vocab is not None:
            value["vocab"] = name.vocab
        if kind.value not in TYPES:
            report.breaks(f"features.{name.text}", *_groups(family))
        else:
            features[name.text] = Tree(value, family.span, name.span)


def _untyped(family: Tree, path: str, report: Report) -> None:
    """A family of the outermost recipe without a type: perhaps the word is misspelt."""
    near = nearest("type", [k for k in family.value if k not in ("names", "name")])
    if near is not None:
        place = family.value[near].key
        report(
            Problem(
                "GR201", f"unknown key `{near}`", place, f"{path}.{near}", "did you mean `type`?"
            )
        )
    else:
        help = f"one of {', '.join(TYPES)}"
        report(Problem("GR206", "`type` is required", family.span, path, help))
    _broken(_names(family, "names", path, report), family, report)


def _patch(
    features: dict[str, Tree],
    family: Tree,
    path: str,
    report: Report,
    seen: dict[tuple[str, str, str | None], Span],
) -> None:
    for name in _names(family, "name" if "name" in family.value else "names", path, report):
        declared = features.get(name.text)
        if declared is None:
            slip = nearest("type", [k for k in family.value if k not in FEATURE_KEYS])
            if slip is not None:
                what, place = f"unknown key `{slip}`", family.value[slip].key
                report(Problem("GR201", what, place, f"{path}.{slip}", "did you mean `type`?"))
                report.breaks(f"features.{name.text}", *_groups(family))
            elif not report.is_broken(f"features.{name.text}", "features"):
                what = f"no feature `{name.text}` to change: a new family needs a `type`"
                help = suggestion(name.text, features)
                report(Problem("GR211", what, name.span, f"features.{name.text}", help))
            continue
        value = dict(declared.value)
        for key, setting in family.value.items():
            if key in ("names", "name"):
                continue
            spot = (name.text, key, setting.span.file)
            if spot in seen:
                what = f"`{key}` of feature `{name.text}` is changed twice"
                report(Problem("GR210", what, setting.key, f"features.{name.text}.{key}"))
            seen[spot] = setting.key
            value[key] = setting
        if name.vocab is not None:
            value["vocab"] = name.vocab
        features[name.text] = declared.holding(value)


# ---- names ------------------------------------------------------------------------------------


def _names(family: Tree, word: str, path: str, report: Report) -> list[_Name]:
    """The names of a family; what can't be used is reported and left out."""
    other = "names" if word == "name" else "name"
    if other in family.value:
        kind = family.value["type"].value if "type" in family.value else "patch"
        what = f"a {kind} family has `{word}`, not `{other}`"
        report(
            Problem("GR201", what, family.value[other].key, f"{path}.{other}", f"write `{word}:`")
        )
    written = family.value.get(word) or family.value.get(other)
    if written is None:
        slip = nearest(word, [key for key in family.value if key not in FEATURE_KEYS])
        if slip is not None:
            place = family.value[slip].key
            report(
                Problem("GR201", f"unknown key `{slip}`", place, path, f"did you mean `{word}`?")
            )
        else:
            report(Problem("GR206", f"`{word}` is required", family.span, path))
        report.breaks("features")
        return []
    names: list[_Name] = []
    for name in _listed(written, f"{path}.{word}", report):
        why = feature_name(name.text)
        if why is None:
            names.append(name)
            continue
        help = f"{{names: {_legal(name.text)}, column: {name.text[:40]!r}}} reads any column"
        report(Problem("GR320", f"`{name.text[:60]}`: {why}", name.span, f"{path}.{word}", help))
        report.breaks(f"features.{name.text}", *_groups(family))
    if word == "name" and len(names) > 1:
        report(Problem("GR202", "expected one name", written.span, f"{path}.name"))
        return _broken(names, family, report)
    return names


def _listed(written: Tree, path: str, report: Report) -> Iterator[_Name]:
    if isinstance(written.value, str):
        yield from _range(written.value, written.span, written, path, report)
    elif isinstance(written.value, list):
        for number, item in enumerate(written.value):
            if isinstance(item.value, str):
                yield from _range(item.value, item.span, item, f"{path}.{number}", report)
            elif item.value is not INVALID:
                what = f"expected a name, got {shown(item.value)}"
                report(Problem("GR202", what, item.span, f"{path}.{number}", _quote(item)))
                report.breaks("features")
    elif isinstance(written.value, dict):
        for text, vocab in written.value.items():
            for name in _range(text, vocab.key, None, f"{path}.{text}", report):
                yield _Name(name.text, name.span, vocab)
    elif written.value is not INVALID:
        what = (
            f"expected a name, a list of names or a map name -> vocab, got {shown(written.value)}"
        )
        report(Problem("GR202", what, written.span, path, _quote(written)))
        report.breaks("features")
    else:
        report.breaks("features")


def _quote(tree: Tree) -> str:
    return "put quotes around a name that looks like a number" if tree.value is not None else ""


def _range(text: str, span: Span, tree: Tree | None, path: str, report: Report) -> Iterator[_Name]:
    """`C1..C26`, or a single name."""
    if ".." not in text:
        yield _Name(text, span)
        return
    match = _RANGE.fullmatch(text) if len(text) < 300 else None
    place = tree.within(0, len(text)) if tree is not None else known(span, 0, len(text))
    if match is None or match[1] != match[3] or int(match[2][:9]) > int(match[4][:9]):
        help = "a range is written  C1..C26: one prefix, a first and a last number"
        report(Problem("GR204", f"`{text[:60]}` is no range of names", place, path, help))
        report.breaks("features")
        return
    first, last = match[2], match[4]
    if len(last) > 9 or int(last) - int(first) >= _MAX_FEATURES:
        report(Problem("GR106", f"more than {_MAX_FEATURES:,} features", place, path))
        report.breaks("features")
        return
    width = len(first) if first.startswith("0") else 0
    for number in range(int(first), int(last) + 1):
        yield _Name(f"{match[1]}{number:0{width}d}", span)


def _broken(names: list[_Name], family: Tree, report: Report) -> list[_Name]:
    report.breaks(*(f"features.{name.text}" for name in names), *_groups(family))
    return []


def _groups(family: Tree) -> list[str]:
    """The implicit group of a family that is left out: whoever reads it stays silent."""
    group = family.value.get("group")
    return [f"groups.{group.value}"] if group is not None and isinstance(group.value, str) else []


def _legal(text: str) -> str:
    legal = re.sub(r"[^A-Za-z0-9_]+", "_", text[:40]).strip("_")
    return legal if legal and not legal[0].isdigit() else f"f_{legal}".rstrip("_")


def _where(first: Span, second: Span) -> str:
    return f"line {first.line}" if first.file == second.file else str(first)
