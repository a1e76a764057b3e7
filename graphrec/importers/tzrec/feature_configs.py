"""`feature_configs` -> features: ids, numbers, buckets, crosses, and the steps of histories."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from graphrec.ground.errors import Problem, RecipeError, Span
from graphrec.importers.tzrec.feature_draft import Feature, Reading
from graphrec.importers.tzrec.naming import Names, legal_feature, legal_node
from graphrec.importers.tzrec.section import Notes, Section
from graphrec.importers.tzrec.source_columns import feature_of

__all__ = ["Features", "History", "read_features"]

_DEFAULT_LENGTH = 50
_DELIMITER = ";"


@dataclass
class History:
    """A sequence of the config: its steps by name there, each a feature and a column."""

    name: str
    max_len: int
    sep: str
    span: Span
    steps: dict[str, Feature] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    side: str | None = None


@dataclass
class Features:
    """All features of a config by the name that feature groups use."""

    plain: dict[str, Feature] = field(default_factory=dict)
    steps: dict[str, tuple[History, str]] = field(default_factory=dict)
    """Name in feature groups -> (its history, its name in it)."""
    short: dict[str, str] = field(default_factory=dict)
    """Names of steps with one underscore, as serving by RTP has them -> names in `steps`."""
    helpers: dict[str, Feature] = field(default_factory=dict)
    """Features that only crosses read, by column."""
    names: Names = field(default_factory=Names)

    def resolved(self, written: str) -> str:
        """The name under which `plain` or `steps` has what a feature group writes.

        `seq_item` for `seq__item` means that the columns have one underscore too.
        """
        if written in self.plain or written in self.steps or written not in self.short:
            return written
        canonical = self.short[written]
        history, name = self.steps[canonical]
        before, _, column = history.columns[name].partition("__")
        if column:
            history.columns[name] = f"{before}_{column}"
        return canonical

    def sides(self) -> bool:
        """Whether the config says whose properties its features are."""
        return any("side" in f.settings for f in self.plain.values())


def read_features(configs: list[Section], reading: Reading, notes: Notes) -> Features:
    """The features of a config, whose columns are understood as `reading` says."""
    features = Features()
    names = features.names
    crosses: list[tuple[Feature, Section]] = []
    for config in configs:
        kinds = config.names()
        section = config.section(kinds[0]) if len(kinds) == 1 else None
        if section is None:
            what = "feature_configs: expected one feature, such as id_feature { ... }"
            raise RecipeError(Problem("GR131", what, config.span))
        kind = kinds[0]
        if kind == "sequence_feature":
            _add_history(features, section, reading, notes)
            continue
        single = kind.startswith("sequence_")
        written = section.text("feature_name") or _missing(section, "feature_name")
        if written in features.plain or written in features.steps:
            notes.add(section.span, f"feature `{written}` is declared again: the first one counts")
            continue
        kind = kind.removeprefix("sequence_")
        feature = feature_of(kind, section, replace(reading, step=single))
        if single:
            _add_step_alone(features, section, written, feature)
            continue
        feature.name = names.give(legal_feature(written))
        if feature.name != written:
            feature.settings.setdefault("column", written)
        features.plain[written] = feature
        if kind == "combo_feature" and not reading.encoded:
            crosses.append((feature, section))
    for feature, section in crosses:
        _cross(features, feature, section, names)
    return features


def _missing(section: Section, name: str) -> str:
    raise RecipeError(Problem("GR131", f"{section.path}: `{name}` is missing", section.span))


# ---- histories --------------------------------------------------------------------------------


def _length(section: Section) -> int:
    length = section.integer("sequence_length")
    if length is None or length < 1:
        what = f"a history without sequence_length keeps its last {_DEFAULT_LENGTH} steps"
        section.notes.add(section.span, what, "max_len is required here")
        return _DEFAULT_LENGTH
    return length


def _sep(section: Section) -> str:
    return section.text("sequence_delim") or _DELIMITER


def _add_history(features: Features, section: Section, reading: Reading, notes: Notes) -> None:
    written = section.text("sequence_name") or _missing(section, "sequence_name")
    history = History(legal_node(written), _length(section), _sep(section), section.span)
    history.side = "user"
    for config in section.sections("features"):
        kinds = config.names()
        part = config.section(kinds[0]) if len(kinds) == 1 else None
        if part is None:
            raise RecipeError(Problem("GR131", f"{config.path}: expected one feature", config.span))
        name = part.text("feature_name") or _missing(part, "feature_name")
        feature = feature_of(kinds[0], part, replace(reading, step=True))
        feature.name = legal_feature(name)
        column = str(feature.settings.pop("column", None) or name)
        feature.settings.pop("side", None)
        history.steps[name] = feature
        history.columns[name] = f"{written}__{column}"
        features.steps[f"{written}__{name}"] = (history, name)
        features.short[f"{written}_{name}"] = f"{written}__{name}"
    if not history.steps:
        notes.add(section.span, f"sequence `{written}` has no features: left out")


def _add_step_alone(features: Features, section: Section, written: str, feature: Feature) -> None:
    """A `sequence_id_feature` and its like: a history of one feature."""
    history = History(legal_node(written), _length(section), _sep(section), section.span)
    section.ignore("sequence_fields")
    history.side = feature.settings.pop("side", None)
    feature.name = legal_feature(written)
    history.steps[written] = feature
    history.columns[written] = str(feature.settings.pop("column", None) or written)
    features.steps[written] = (history, written)


# ---- crosses ----------------------------------------------------------------------------------


def _cross(features: Features, feature: Feature, section: Section, names: Names) -> None:
    """Name the id features that a combination reads; those that are missing are declared."""
    parts: list[str] = []
    for expression in section.texts("expression"):
        column = expression.partition(":")[2] or expression
        part = _id_of(features, column) or features.helpers.get(column)
        if part is None:
            what = f"`{column}` is combined as one text: there each of several values by itself"
            section.notes.add(section.place("expression"), what)
            part = _helper(column, feature, section, names)
            features.helpers[column] = part
        parts.append(part.name)
    if len(set(parts)) < 2:
        section.remark("expression", f"{section.path} combines fewer than two columns: an id")
        feature.type = "id"
        feature.settings["column"] = parts[0] if parts else feature.name
        return
    feature.settings["of"] = list(dict.fromkeys(parts))


def _id_of(features: Features, column: str) -> Feature | None:
    for written, feature in features.plain.items():
        same = feature.settings.get("column", written) == column
        if same and feature.type == "id" and "pool" not in feature.settings:
            return feature
    return None


def _helper(column: str, feature: Feature, section: Section, names: Names) -> Feature:
    settings: dict[str, Any] = {"vocab": feature.settings["vocab"], "dim": feature.settings["dim"]}
    name = names.give(legal_feature(column), legal_feature(f"{column}_id"))
    if name != column:
        settings["column"] = column
    helper = Feature("id", settings, section.place("expression"))
    helper.name = name
    return helper
