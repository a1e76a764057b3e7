"""`feature_groups` -> groups of features, and the histories beside them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.tzrec.builder import Builder, Refs
from graphrec.importers.tzrec.feature_configs import Features
from graphrec.importers.tzrec.feature_draft import Feature
from graphrec.importers.tzrec.histories import Histories, Pair
from graphrec.importers.tzrec.naming import legal_feature, legal_node
from graphrec.importers.tzrec.section import Section

__all__ = ["Groups", "Source", "named"]

_TOKEN = re.compile(r"@\d+")


@dataclass
class Source:
    """What a DEEP group gives: its features' group, and nodes that read its histories."""

    group: str
    members: list[Feature]
    encoders: Refs = field(default_factory=list)

    @property
    def refs(self) -> Refs:
        """Everything of the group, to be concatenated."""
        return [*([self.group] if self.members else []), *self.encoders]

    @property
    def width(self) -> int:
        """Width of the plain features together."""
        return sum(feature.width for feature in self.members)

    @property
    def dim(self) -> int | None:
        """Width of each feature, if it is one."""
        widths = {feature.width for feature in self.members}
        return widths.pop() if len(widths) == 1 else None


@dataclass
class _Group:
    wish: str
    members: list[Feature]
    ordered: bool = False
    regularize: dict[str, Any] | None = None


class Groups:
    """The feature groups of a config by name; made when a model asks for them."""

    def __init__(
        self, configs: list[Section], features: Features, builder: Builder, dropout: dict[str, Any]
    ) -> None:
        self.features, self.builder, self.dropout = features, builder, dropout
        self.configs = {config.text("group_name"): config for config in configs}
        self.histories = Histories(features, builder)
        self._made: dict[str, Source] = {}
        self._tokens: dict[str, _Group] = {}
        self._asked: set[str] = set()
        self.added: list[Feature] = []

    @property
    def names(self) -> list[str]:
        """The groups' names, in order."""
        return list(self.configs)

    def config(self, name: str, asker: Section) -> Section:
        """The group's message."""
        if name not in self.configs:
            known = ", ".join(self.names) or "none"
            what = f"{asker.path}: no feature group `{name}`; there are {known}"
            raise RecipeError(Problem("GR131", what, asker.span))
        self._asked.add(name)
        return self.configs[name]

    def unread(self) -> list[Section]:
        """The groups that no model has asked for."""
        return [config for name, config in self.configs.items() if name not in self._asked]

    # ---- DEEP and WIDE ------------------------------------------------------------------------

    def deep(self, name: str, asker: Section) -> Source:
        """The group as a source of vectors, with its sequence encoders."""
        if name not in self._made:
            config = self.config(name, asker)
            config.ignore("group_type")
            pooled: list[str] = []
            members = self._members(config, pooled)
            token = self._token(_Group(name, members, regularize=self._regularized(members)))
            self._made[name] = source = Source(token, members)
            source.encoders += self.histories.encode(config, name)
            for history in pooled:
                source.encoders.append(self.histories.pool(history, config))
            if not source.refs:
                what = f"feature group `{name}` has no features"
                raise RecipeError(Problem("GR131", what, config.span))
            if len(source.refs) > 1 and len(members) > 1 and self.dropout:
                self.builder.notes.add(config.span, "variational dropout leaves out the histories")
        return self._made[name]

    def _members(self, config: Section, pooled: list[str]) -> list[Feature]:
        members: list[Feature] = []
        for written in map(self.features.resolved, config.texts("feature_names")):
            if written in self.features.steps:
                pooled.append(written)
            elif written not in self.features.plain:
                what = f"feature group `{config.text('group_name')}`: no feature `{written}`"
                raise RecipeError(Problem("GR131", what, config.place("feature_names")))
            elif self.features.plain[written] not in members:
                members.append(self.features.plain[written])
        return members

    def _regularized(self, members: list[Feature]) -> dict[str, Any] | None:
        return {"variational_dropout": self.dropout} if self.dropout and len(members) > 1 else None

    def wide(self, name: str, asker: Section) -> Source:
        """The group for its first-order term."""
        source = self.deep(name, asker)
        if any(feature.type == "dense" for feature in source.members):
            what = f"numbers of feature group `{name}` are weighted in its .linear"
            self.builder.notes.add(
                self.configs[name].span, what, "there they are added as they are"
            )
        return source

    def wide_tables(self, name: str, dim: int, init: str | None, asker: Section) -> Source:
        """The group with tables of its own, as fields of width `dim`."""
        config = self.config(name, asker)
        config.ignore("group_type")
        members: list[Feature] = []
        for feature in self._members(config, []):
            settings = {k: v for k, v in feature.settings.items() if k not in ("share", "autodis")}
            if feature.type == "cross":
                settings.pop("column", None)
            else:
                settings.setdefault("column", feature.name)
            settings["dim"] = dim
            if init:
                settings["init"] = init
            wide = Feature(feature.type, settings, feature.span)
            wide.name = self.features.names.give(legal_feature(f"wide_{feature.name}"))
            members.append(wide)
        self.added += members
        return Source(self._token(_Group(name, members)), members)

    # ---- histories ----------------------------------------------------------------------------

    def pair(self, name: str, asker: Section) -> Pair:
        """A SEQUENCE group: query features and a history."""
        config = self.config(name, asker)
        config.ignore("group_type")
        return self.histories.pair(config.texts("feature_names"), config, name)

    # ---- names, in the end --------------------------------------------------------------------

    def fields(self, source: Source, wish: str) -> Source:
        """The features of a group that have its most frequent width, as fields of one width."""
        widths = Counter(feature.width for feature in source.members)
        if len(widths) < 2:
            return source
        usual = widths.most_common(1)[0][0]
        members = [feature for feature in source.members if feature.width == usual]
        others = ", ".join(f.name for f in source.members if f.width != usual)
        what = f"{wish} needs features of one width: of width {usual}, without {others}"
        self.builder.notes.add(source.members[0].span, what)
        return Source(self._token(_Group(f"{wish}_fields", members)), members)

    def _token(self, group: _Group) -> str:
        for token, known in self._tokens.items():
            same = {f.name for f in known.members} == {f.name for f in group.members}
            if same and known.regularize == group.regularize and not group.ordered:
                return token
        token = f"@{len(self._tokens)}"
        self._tokens[token] = group
        return token

    def read(self) -> list[Feature]:
        """Every feature that some group or history of the model reads, in the config's order."""
        wanted = {f.name for group in self._tokens.values() for f in group.members}
        wanted |= self.histories.read()
        plain = [f for f in self.features.plain.values() if f.name in wanted]
        every = [*plain, *self.histories.added, *self.added]
        parts = {part for feature in every for part in feature.settings.get("of", ())}
        missing = parts - {feature.name for feature in every}
        pool = [*self.features.plain.values(), *self.features.helpers.values()]
        return [*every, *(f for f in pool if f.name in missing)]

    def name(self, read: list[Feature]) -> tuple[dict[str, str], dict[str, Any]]:
        """(token -> reference, explicit groups); features of an implicit group get its name."""
        everything = {feature.name for feature in read}
        names: dict[str, str] = {}
        explicit: dict[str, Any] = {}
        for token, group in self._tokens.items():
            members = [feature.name for feature in group.members]
            if not members:
                continue
            if set(members) == everything and not group.regularize:
                names[token] = "all"
                continue
            wish = legal_node(group.wish)
            name = self.builder.names.give(wish, f"{wish}_features")
            names[token] = name
            entry = self._said(name, group, members, everything)
            if entry is not None:
                explicit[name] = entry
        return names, {**explicit, **self.histories.groups}

    def _said(self, name: str, group: _Group, members: list[str], everything: set[str]) -> Any:
        """The group as an entry of `groups:`, or None where `group:` of its features says it."""
        rest = sorted(everything - set(members))
        few = 0 < len(rest) <= max(3, len(everything) // 5) and len(rest) < len(members)
        if group.regularize is not None:
            of: dict[str, Any] = {"of": "all"} if not rest else {"of": members}
            if few:
                of = {"of": "all", "except": rest}
            return {**of, "regularize": group.regularize}
        if few:
            return {"of": "all", "except": rest}
        if len(members) > 1 and not any("group" in f.settings for f in group.members):
            for feature in group.members:
                feature.settings["group"] = name
            return None
        return members


def named(value: Any, names: dict[str, str]) -> Any:
    """References with the groups' final names."""
    if isinstance(value, str):
        return _TOKEN.sub(lambda match: names[match.group()], value)
    if isinstance(value, dict):
        return {key: named(inner, names) for key, inner in value.items()}
    return [named(inner, names) for inner in value] if isinstance(value, list) else value
