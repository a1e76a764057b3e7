"""Features, tables, groups and sequences of a case -> those of a recipe, and the batch's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from golden_plan import Leaf, Plan, Unsupported, Weight, attribute, legal, padding, settings
from torch import Tensor

from graphrec.nn import Jagged

__all__ = ["LONGEST", "QUERIED", "Inputs", "dense_feature", "encoder", "vector"]

LONGEST = 1_000_000
"""`max_len` of a history that is kept whole."""
QUERIED = ("din", "multi_window_din", "simple_attention")
"""The encoders that read a query."""


@dataclass
class Sequences:
    """A sequence group of a case: its slots, its base features, and its histories by length."""

    name: str
    query: Sequence[Mapping[str, Any]]
    slots: Sequence[Mapping[str, Any]]
    bases: list[str]
    made: dict[int, str] = field(default_factory=dict)


class Inputs:
    """Builds the features and groups of a model case, each when it is first read."""

    def __init__(self, plan: Plan) -> None:
        self.plan, said = plan, plan.case.said
        self.features = {f["name"]: f for f in said["features"]}
        self.tables: Mapping[str, Any] = said.get("tables", {})
        self._slots: dict[tuple[str, str | None], str] = {}
        self._groups: dict[str, list[str]] = {}
        self._sequences: dict[str, Sequences] = {}
        self._pools = self._pooling()
        for table in self.tables:
            key = f"embeddings.t_{legal(table)}.weight"
            plan.weights[f"table.{table}"] = Weight(key, padded=True)
        self._said = {group["name"]: group for group in said["groups"]}
        for group in said["groups"]:
            for inner in (group, *group.get("sequence_groups", [])):
                if "sequence" in inner:
                    self._sequence(inner)

    def __getitem__(self, group: str) -> list[str]:
        """The references that make the tensor of a deep or wide group."""
        if group not in self._groups:
            self._plain(self._said[group])
        return self._groups[group]

    def __contains__(self, group: str) -> bool:
        return group in self._said

    @property
    def first(self) -> list[str]:
        """The tensor of the first group."""
        return self[next(iter(self._said))]

    def encoded(self, key: str, spec: Mapping[str, Any], group: str) -> str:
        """The node of an encoder over a sequence group."""
        cut = int(spec.get("max_seq_length") or 0)
        found = self._sequences[group]
        whole = self._history(found, 0) if cut and spec["type"] == "self_attention" else None
        query = self._query(found) if spec["type"] in QUERIED else None
        return encoder(self.plan, key, spec, query, self._history(found, cut), whole)

    # ---- groups -----------------------------------------------------------------------------

    def _plain(self, group: Mapping[str, Any]) -> None:
        name, plan = f"g_{legal(group['name'])}", self.plan
        members = [self._slot(slot) for slot in group["slots"]]
        encoders = [
            self.encoded(f"encoder.{group['name']}.{i}", spec, spec["input"])
            for i, spec in enumerate(group.get("encoders", []))
        ]
        dropped = plan.case.said.get("variational_dropout") or {"groups": []}
        if group["name"] not in dropped["groups"]:
            plan.groups[name] = {"of": members}
            self._groups[group["name"]] = [name, *encoders]
            return
        self._dropped(group["name"], name, members, encoders, dropped["lambda"])

    def _dropped(
        self, golden: str, name: str, members: list[str], encoders: list[str], factor: float
    ) -> None:
        plan = self.plan
        noise = plan.case.arrays.get(f"in/noise.{golden}")
        rate = {"lambda": factor, "in_eval": True}
        if encoders:
            # Encoded histories count as features there, and groups of a recipe hold features only.
            inputs = [*(self._alone(member) for member in members), *encoders]
            name = plan.node(f"n_vd_{legal(golden)}", "concat", inputs)
            plan.dropped[name] = factor
            layer, self._groups[golden] = name, [name]
        else:
            plan.groups[name] = {"of": members, "regularize": {"variational_dropout": rate}}
            layer, self._groups[golden] = f"{name}_dropout", [name]
        plan.weights[f"vd.{golden}.p"] = Weight(f"{layer}.logit")
        plan.renamed[f"{name}_feature_p_loss"] = f"{golden}_feature_p_loss"
        if noise is not None:
            plan.noise[layer] = noise

    def _alone(self, feature: str) -> str:
        self.plan.groups[f"only_{feature}"] = {"of": [feature]}
        return f"only_{feature}"

    def _sequence(self, group: Mapping[str, Any]) -> None:
        name, slots = legal(group["name"]), group["sequence"]
        # Columns of a history lie in the order of their names, so the names keep the slots' order.
        bases = [f"b_{name}_{i:03d}" for i in range(len(slots))]
        self._sequences[group["name"]] = Sequences(name, group.get("query", []), slots, bases)

    def _query(self, found: Sequences) -> str:
        name = f"q_{found.name}"
        self.plan.groups.setdefault(name, {"of": [self._slot(slot) for slot in found.query]})
        return name

    def _history(self, found: Sequences, cut: int) -> str:
        """The sequence feature with at most `cut` steps (0: all), declared when it is first read."""
        if cut not in found.made:
            if not found.made:
                for base, slot in zip(found.bases, found.slots, strict=True):
                    self._declare(base, slot)
            name = f"s_{found.name}_{cut}"
            self.plan.features.append(
                {
                    "type": "sequence",
                    "name": name,
                    "of": found.bases,
                    "max_len": cut or LONGEST,
                    "keep": "first",
                }
            )
            for base, slot in zip(found.bases, found.slots, strict=True):
                values = self._column(self.features[slot["feature"]], slot.get("table"))
                assert isinstance(values, Jagged)
                self.plan.columns[f"{name}.{base}"] = _cut(values, cut) if cut else values
            found.made[cut] = name
        return found.made[cut]

    # ---- features -----------------------------------------------------------------------------

    def _slot(self, slot: Mapping[str, Any]) -> str:
        """The feature for a feature of the case with a table of its: each pair is one."""
        pair = (slot["feature"], slot.get("table"))
        if pair not in self._slots:
            name = f"f_{legal(pair[0])}" + (f"_of_{legal(pair[1])}" if pair[1] else "")
            self._slots[pair] = name
            self._declare(name, slot)
            self.plan.columns[name] = self._column(self.features[pair[0]], pair[1])
        return self._slots[pair]

    def _declare(self, name: str, slot: Mapping[str, Any]) -> None:
        feature = self.features[slot["feature"]]
        if feature["kind"] in ("dense", "dense_sequence"):
            self.plan.features.append(dense_feature(self.plan, name, feature))
            return
        table = self.tables[slot["table"]]
        pools = self._pools.get(slot["table"], set())
        self.plan.features.append(
            {
                "type": "id",
                "names": name,
                "vocab": table["rows"],
                "dim": table["dim"],
                "share": f"t_{legal(slot['table'])}",
                # Features that share a table pool alike; with both kinds, means are weighted sums.
                **({"pool": "sum" if len(pools) > 1 else next(iter(pools))} if pools else {}),
            }
        )

    def _column(self, feature: Mapping[str, Any], table: str | None) -> Tensor | Jagged:
        case, name, kind = self.plan.case, feature["name"], feature["kind"]
        values = case.input(name)
        if kind in ("id", "dense"):
            return values
        lengths = case.input(f"{name}.lengths")
        if kind in ("id_sequence", "dense_sequence"):
            return Jagged(values, lengths)
        inner = case.input(f"{name}.key_lengths") if kind == "ids_sequence" else lengths
        weights = None
        if len(self._pools[str(table)]) > 1:
            mean = feature["pooling"] == "mean"
            share = 1.0 / inner.clamp(min=1) if mean else torch.ones(len(inner))
            weights = share.repeat_interleave(inner)
        bags = Jagged(values, inner, weights)
        return bags if kind == "ids" else Jagged(bags, lengths)  # type: ignore[arg-type]

    def _pooling(self) -> dict[str, set[str]]:
        """Table -> how its multi-valued features are pooled."""
        found: dict[str, set[str]] = {}
        for slot in self._every_slot():
            feature = self.features[slot["feature"]]
            if feature["kind"] in ("ids", "ids_sequence"):
                found.setdefault(slot["table"], set()).add(feature["pooling"])
        return found

    def _every_slot(self) -> list[Mapping[str, Any]]:
        groups = [*self.plan.case.said["groups"]]
        groups += [inner for g in groups for inner in g.get("sequence_groups", [])]
        return [
            s for g in groups for part in ("slots", "query", "sequence") for s in g.get(part, [])
        ]


def dense_feature(plan: Plan, name: str, feature: Mapping[str, Any]) -> dict[str, Any]:
    """The declaration of a dense feature, with its learned embedding if it has one."""
    made: dict[str, Any] = {"type": "dense", "names": name}
    width = feature.get("width", 1)
    if width != 1:
        made["width"] = width
    embedding, golden = feature.get("embedding"), feature["name"]
    if not embedding:
        return made
    made["dim"] = embedding["dim"]
    if embedding["type"] == "linear":
        plan.weights[f"dense_embedding.{golden}.weight"] = Weight(f"embeddings.{name}.weight")
        return made
    if embedding["type"] != "autodis":
        raise Unsupported(f"embedding {embedding['type']} of a dense feature")
    made["autodis"] = {k: embedding[k] for k in ("channels", "temperature", "skip")}
    for part in ("w", "m", "meta"):
        plan.weights[f"autodis.{golden}.{part}"] = Weight(f"embeddings.{name}.{part}")
    return made


def encoder(
    plan: Plan,
    key: str,
    spec: Mapping[str, Any],
    query: str | None,
    history: str,
    whole: str | None = None,
) -> str:
    """The node of a sequence encoder; `whole` is the history before it was cut."""
    kind, name = spec["type"], attribute(key)
    both = {"query": query, "keys": history}
    if kind == "pooling":
        return plan.node(name, "pooling", history, mode=spec["pooling"])
    if kind == "simple_attention":
        return plan.node(name, "dot_attention", both)
    if kind == "self_attention":
        for part in ("q", "k", "v", "in_proj", "out_proj"):
            plan.pair(f"{key}.{part}", f"{name}.{part}")
        plan.node(name, "self_attention", history, width=spec["dim"], heads=spec["heads"])
        if whole is None:
            return name
        # The reference divides what is left of a cut history by the length it had.
        parts = [f"clip({ref}.length, 1, {LONGEST})" for ref in (history, whole)]
        plan.graph[f"{name}_whole"] = f"{name} * {parts[0]} / {parts[1]}"
        return f"{name}_whole"
    if kind not in ("din", "multi_window_din"):
        raise Unsupported(f"encoder {kind}")
    mlp = spec["attn_mlp"]
    plan.perceptron(f"{key}.mlp", f"{name}.mlp")
    plan.pair(f"{key}.out", f"{name}.mlp.out")
    params = {"hidden": list(mlp["units"]), **settings(mlp), **padding(mlp)}
    if kind == "multi_window_din":
        plan.pair(f"{key}.act", f"{name}.act")
        params |= {"windows": list(spec["windows"]), "keep": "first"}
    return plan.node(name, kind, both, **params)


def vector(plan: Plan, golden: str, name: str) -> str:
    """An input [B, ...] of a block as a dense feature of a group of its own: [B, width]."""
    values = plan.case.input(golden).clone()
    flat = values.reshape(len(values), -1).requires_grad_()
    plan.features.append({"type": "dense", "names": f"f_{name}", "width": flat.shape[1]})
    plan.groups[name] = {"of": [f"f_{name}"]}
    plan.columns[f"f_{name}"] = flat
    plan.leaves[f"in.{golden}"] = Leaf(flat, tuple(values.shape))
    return name


def _cut(history: Jagged, longest: int) -> Jagged:
    """The first `longest` steps of every row."""
    rows = history.lengths.repeat_interleave(history.lengths)
    starts = (history.lengths.cumsum(0) - history.lengths).repeat_interleave(history.lengths)
    kept = torch.arange(len(rows)) - starts < longest
    lengths = history.lengths.clamp(max=longest)
    values = history.values
    if not isinstance(values, Jagged):
        return Jagged(values[kept], lengths)
    inner = kept.repeat_interleave(values.lengths)
    weights = None if values.weights is None else values.weights[inner]
    steps = Jagged(values.values[inner], values.lengths[kept], weights)
    return Jagged(steps, lengths)  # type: ignore[arg-type]
