"""SEQUENCE groups and sequence encoders -> sequences, pairs of query and history, their nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphrec.ground.errors import Problem, RecipeError
from graphrec.importers.tzrec.builder import Builder, Refs, perceptron
from graphrec.importers.tzrec.feature_configs import Features, History
from graphrec.importers.tzrec.feature_draft import Feature
from graphrec.importers.tzrec.naming import legal_feature, legal_node
from graphrec.importers.tzrec.section import Section

__all__ = ["Histories", "Pair"]


@dataclass
class Pair:
    """A history, and the features of the target it is compared with."""

    name: str
    sequence: str
    query: list[Feature]
    bases: list[str]
    width: int
    config: Section

    @property
    def is_paired(self) -> bool:
        """Whether query and history are of the same features."""
        return sorted(f.name for f in self.query) == sorted(self.bases)


class Histories:
    """The sequences that a model reads; made when it asks for them."""

    def __init__(self, features: Features, builder: Builder) -> None:
        self.features, self.builder = features, builder
        self.sequences: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, Any] = {}
        self.added: list[Feature] = []
        self.used: set[str] = set()
        self._queries: set[str] = set()
        self._keys: dict[str, str] = {}
        self._bases: dict[tuple[str, str], str] = {}

    def read(self) -> set[str]:
        """Names of the features that histories and their queries read."""
        bases = {base for sequence in self.sequences.values() for base in sequence["of"]}
        return bases | self._queries

    # ---- pairs --------------------------------------------------------------------------------

    def pair(self, written: list[str], config: Section, wish: str) -> Pair:
        """Query features and steps, told apart, and the sequence of those steps."""
        written = [self.features.resolved(name) for name in written]
        steps = [name for name in written if name in self.features.steps]
        query: list[Feature] = []
        for name in written:
            if name in self.features.plain:
                query.append(self.features.plain[name])
            elif name not in self.features.steps:
                what = f"feature group `{wish}`: no feature `{name}`"
                raise RecipeError(Problem("GR131", what, config.place("feature_names")))
        if not steps:
            what = f"feature group `{wish}` has no features of a sequence"
            raise RecipeError(Problem("GR131", what, config.place("feature_names")))
        self.used |= set(steps)
        partners = self._partners(steps, query)
        bases = [self._base(step, partners.get(step)) for step in steps]
        sequence = self._sequence(steps, bases, wish)
        order = sorted(range(len(steps)), key=lambda i: bases[i])
        ordered = [partners[steps[i]] for i in order if steps[i] in partners]
        ordered += [feature for feature in query if feature not in ordered]
        width = sum(self._step(step).width for step in steps)
        return Pair(wish, sequence, ordered, bases, width, config)

    def _partners(self, steps: list[str], query: list[Feature]) -> dict[str, Feature]:
        """The query feature of each step: the one of its name, else the next of its width."""
        free = list(query)
        partners: dict[str, Feature] = {}
        for step in steps:
            name = legal_feature(self.features.steps[step][1])
            match = next((f for f in free if f.name == name), None)
            if match is not None:
                partners[step] = match
                free.remove(match)
        for step in steps:
            feature = self._step(step)
            match = next((f for f in free if f.width == feature.width), None)
            if step not in partners and match is not None:
                partners[step] = match
                free.remove(match)
        return partners

    def _step(self, step: str) -> Feature:
        history, name = self.features.steps[step]
        return history.steps[name]

    def _base(self, step: str, partner: Feature | None) -> str:
        """The feature whose table a step uses; declared for it where there is none."""
        history, name = self.features.steps[step]
        feature = history.steps[name]
        for other in (partner, self.features.plain.get(name)):
            if other is not None and other.same_table(feature) and other.type != "cross":
                return other.name
        key = (history.name, name)
        if key not in self._bases:
            wish = legal_feature(name)
            longer = wish if wish == history.name else f"{history.name}_{wish}"
            taken = wish == history.name or wish in self.features.names
            base = Feature(feature.type, dict(feature.settings), feature.span)
            base.name = self.features.names.give(
                *([] if taken else [wish]), longer if longer != history.name else f"{wish}_step"
            )
            self.added.append(base)
            self._bases[key] = base.name
            what = f"`{step}` has settings of its own: feature `{base.name}` is declared for it"
            self.builder.notes.add(feature.span, what, "its own column is read too")
        return self._bases[key]

    def _sequence(self, steps: list[str], bases: list[str], wish: str) -> str:
        histories = list({id(h): h for h in (self.features.steps[s][0] for s in steps)}.values())
        first = histories[0]
        columns = {
            base: self.features.steps[step][0].columns[self.features.steps[step][1]]
            for step, base in zip(steps, bases, strict=True)
        }
        key = repr(sorted(columns.items()))
        if key in self._keys:
            return self._keys[key]
        requests = [first.name, f"{first.name}_{legal_node(wish)}"]
        if len(histories) > 1:
            requests = [f"{legal_node(wish)}_history"]
        name = self._free(requests)
        self._keys[key] = name
        self.sequences[name] = self._declared(name, columns, histories)
        return name

    def _free(self, requests: list[str]) -> str:
        both = [w for w in requests if w not in self.features.names and w not in self.builder.names]
        name = self.builder.names.give(*(both or [f"{requests[-1]}_seq"]))
        self.features.names.give(name)
        return name

    def _declared(
        self, name: str, columns: dict[str, str], histories: list[History]
    ) -> dict[str, Any]:
        first = histories[0]
        declaration: dict[str, Any] = {"type": "sequence"}
        if first.side and self.features.sides():
            declaration["side"] = first.side
        declaration |= {"name": name, "of": list(columns)}
        declaration["max_len"] = max(history.max_len for history in histories)
        other = {base: column for base, column in columns.items() if column != f"{name}__{base}"}
        if other:
            declaration["column"] = other
        declaration["sep"] = first.sep
        return declaration

    # ---- what nodes read ----------------------------------------------------------------------

    def inputs(self, pair: Pair) -> Any:
        """What attention over a pair reads: a paired group, or query and keys by port."""
        self._queries |= {feature.name for feature in pair.query}
        if not pair.query:
            what = f"feature group `{pair.name}` has no query: attention needs one"
            raise RecipeError(Problem("GR131", what, pair.config.span))
        if sum(feature.width for feature in pair.query) > pair.width:
            what = f"feature group `{pair.name}`: the query is wider than the history"
            raise RecipeError(Problem("GR131", what, pair.config.span))
        members: Any = [feature.name for feature in pair.query]
        if pair.is_paired:
            members = {"query": members, "keys": pair.sequence}
        else:
            what = f"feature group `{pair.name}`: query and history are paired by position"
            self.builder.notes.add(pair.config.span, what)
        known = next((name for name, group in self.groups.items() if group == members), None)
        if known is None:
            wish = legal_node(pair.name)
            tail = "_target" if pair.is_paired else "_query"
            known = self.builder.names.give(wish, f"{wish}{tail}")
            self.groups[known] = members
        return known if pair.is_paired else {"query": known, "keys": pair.sequence}

    def pool(self, written: str, config: Section) -> str:
        """A history inside a DEEP group: its steps, pooled."""
        pair = self.pair([written], config, written)
        mode = self._step(self.features.resolved(written)).pooling
        return self.builder.node(f"{pair.sequence}_pooled", "pooling", pair.sequence, mode=mode)

    # ---- encoders -----------------------------------------------------------------------------

    def encode(self, config: Section, group: str) -> Refs:
        """The nodes of a DEEP group's sequence_groups and sequence_encoders."""
        inner = {
            part.text("group_name", group): part for part in config.sections("sequence_groups")
        }
        nodes: Refs = []
        for encoder in config.sections("sequence_encoders"):
            for kind in encoder.names():
                section = encoder.section(kind)
                if section is not None:
                    nodes.append(self._encoder(kind, section, inner))
        if inner and not nodes:
            self.builder.notes.add(config.span, f"sequence_groups of `{group}` have no encoder")
        return nodes

    def _encoder(self, kind: str, section: Section, inner: dict[str, Section]) -> str:
        name = section.text("input") or (next(iter(inner)) if len(inner) == 1 else "")
        if name not in inner:
            what = f"{section.path}: no sequence group `{name}`; there are {', '.join(inner)}"
            raise RecipeError(Problem("GR131", what, section.span))
        pair = self.pair(inner[name].texts("feature_names"), inner[name], name)
        wish = section.text("name") or f"{name}_{kind.removesuffix('_encoder')}"
        return self.attend(kind, section, pair, wish)

    def attend(self, kind: str, section: Section, pair: Pair, wish: str) -> str:
        """The node of one encoder."""
        builder = self.builder
        if kind == "din_encoder":
            return builder.node(wish, "din", self.inputs(pair), **_scores(section))
        if kind == "simple_attention":
            return builder.node(wish, "dot_attention", self.inputs(pair))
        if kind == "multi_window_din_encoder":
            windows = section.integers("windows_len")
            if not windows:
                what = f"{section.path}: windows_len is missing"
                raise RecipeError(Problem("GR131", what, section.span))
            settings = {**_scores(section), "windows": windows, "keep": "first"}
            return builder.node(wish, "multi_window_din", self.inputs(pair), **settings)
        if kind == "self_attention_encoder":
            width, heads = section.integer("multihead_attn_dim"), section.integer("num_heads")
            return builder.node(
                wish, "self_attention", pair.sequence, width=width or 512, heads=heads or 8
            )
        mode = section.text("pooling_type", "mean")
        if kind != "pooling_encoder":
            section.notes.add(section.span, f"{kind} has no counterpart: the history is pooled")
        return builder.node(wish, "pooling", pair.sequence, mode="sum" if mode == "sum" else "mean")


def _scores(section: Section) -> dict[str, Any]:
    """Settings of the MLP that scores steps."""
    inner = section.section("attn_mlp")
    settings = perceptron(inner) if inner is not None else {}
    if not settings.get("hidden"):
        what = f"{section.path}: attn_mlp needs hidden_units"
        raise RecipeError(Problem("GR131", what, section.span))
    return settings
