"""A model case while it is made: features, tables, groups, tasks and losses in plain torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from golden_case import Case
from made_case import Made
from made_parts import autodis, drop, encode
from torch import Tensor

__all__ = ["BCE", "B", "Model", "plain", "slots"]

B = 7
LENGTHS = torch.tensor([3, 0, 1, 5, 2, 4, 1])
BCE = {"type": "binary_cross_entropy"}
Slot = dict[str, Any]


def pooled(rows: Tensor, lengths: Tensor, how: str) -> Tensor:
    total = torch.stack([part.sum(0) for part in rows.split(lengths.tolist())])
    return total / lengths.clamp(min=1).unsqueeze(1) if how == "mean" else total


class Model(Made):
    """Features and groups as they are declared, with the tensors they give."""

    def __init__(self, name: str, mode: str = "train", **said: Any) -> None:
        empty: dict[str, Any] = {"features": [], "tables": {}, "groups": []}
        super().__init__(name, "model", mode, batch=B, **empty, **said)
        self.features: dict[str, dict[str, Any]] = {}

    # ---- declarations -----------------------------------------------------------------------

    def feature(self, name: str, kind: str, **rest: Any) -> None:
        self.features[name] = {"name": name, "kind": kind, **rest}
        self.said["features"].append(self.features[name])
        vocab, width = rest.get("vocab", 0), rest.get("width", 0)
        if kind == "id":
            self.ids(name, vocab, B)
        elif kind == "dense":
            self.fixed(name, torch.randn(B, width, generator=self.draw))
        elif kind == "ids":
            self.fixed(f"{name}.lengths", LENGTHS)
            self.ids(name, vocab, int(LENGTHS.sum()))
        else:
            self._steps(name, kind, vocab, width)

    def _steps(self, name: str, kind: str, vocab: int, width: int) -> None:
        count = int(LENGTHS.sum())
        self.fixed(f"{name}.lengths", LENGTHS)
        if kind == "dense_sequence":
            self.fixed(name, torch.randn(count, width, generator=self.draw))
        elif kind == "id_sequence":
            self.ids(name, vocab, count)
        else:
            inner = self.ids(f"{name}.key_lengths", 4, count)
            self.ids(name, vocab, int(inner.sum()))

    def table(self, name: str, rows: int, dim: int) -> None:
        self.said["tables"][name] = {"rows": rows, "dim": dim}
        self.w(f"table.{name}", rows, dim)

    def slot(self, feature: str, table: str = "") -> Slot:
        given = self.features[feature]
        if table:
            dim = self.said["tables"][table]["dim"]
            return {"feature": feature, "table": table, "dim": dim}
        return {"feature": feature, "dim": given.get("embedding", {}).get("dim", given["width"])}

    # ---- tensors ------------------------------------------------------------------------------

    def group(
        self,
        name: str,
        slots: Sequence[Slot],
        sequences: Sequence[Mapping[str, Any]] = (),
        encoders: Sequence[Mapping[str, Any]] = (),
        kind: str = "deep",
    ) -> Tensor:
        said: dict[str, Any] = {"name": name, "type": kind, "slots": list(slots)}
        if sequences:
            said |= {"sequence_groups": list(sequences), "encoders": list(encoders)}
        self.said["groups"].append(said)
        parts = [self._value(slot) for slot in slots]
        by_name = {sequence["name"]: sequence for sequence in sequences}
        for i, given in enumerate(encoders):
            read = self.history(by_name[given["input"]])
            parts.append(encode(self, f"encoder.{name}.{i}", given, *read))
        dropped = self.said.get("variational_dropout", {"groups": []})
        if name not in dropped["groups"]:
            return torch.cat(parts, 1)
        key, factor = f"{name}_feature_p_loss", dropped["lambda"]
        x, self.loss[key] = drop(self, f"vd.{name}.p", f"noise.{name}", parts, factor)
        return x

    def history(self, group: Mapping[str, Any]) -> tuple[Tensor | None, Tensor, Tensor]:
        """Query, padded keys and lengths of a sequence group."""
        query = [self._value(slot) for slot in group["query"]]
        columns = []
        for slot in group["sequence"]:
            feature = self.features[slot["feature"]]
            x = self.inputs[feature["name"]]
            if feature["kind"] != "dense_sequence":
                x = self.weights[f"table.{slot['table']}"][x]
            if feature["kind"] == "ids_sequence":
                inner = self.inputs[f"{feature['name']}.key_lengths"]
                x = pooled(x, inner, feature["pooling"])
            columns.append(x)
        rows = torch.cat(columns, 1).split(LENGTHS.tolist())
        keys = torch.nn.utils.rnn.pad_sequence([*rows], batch_first=True)
        return (torch.cat(query, 1) if query else None), keys, LENGTHS

    def _value(self, slot: Slot) -> Tensor:
        feature = self.features[slot["feature"]]
        name, x, embedding = feature["name"], self.inputs[slot["feature"]], feature.get("embedding")
        if feature["kind"] == "dense":
            if not embedding:
                return x
            if embedding["type"] == "autodis":
                return autodis(self, name, embedding, x)
            return x @ self.w(f"dense_embedding.{name}.weight", 1, embedding["dim"])
        rows = self.weights[f"table.{slot['table']}"][x]
        lengths = self.inputs.get(f"{name}.lengths")
        return rows if lengths is None else pooled(rows, lengths, feature["pooling"])

    # ---- tasks --------------------------------------------------------------------------------

    def tasks(self, logits: Mapping[str, Tensor], tasks: Sequence[Mapping[str, Any]]) -> None:
        """Predictions and losses; a single task without a name has no suffix."""
        penalties, self.loss = self.loss, {}
        single = "name" not in tasks[0]
        self.said["task" if single else "tasks"] = tasks[0] if single else [*tasks]
        for task in tasks:
            label = f"label.{task['label']}"
            if label not in self.inputs:
                made = torch.randint(0, max(2, task["num_class"]), (B,), generator=self.draw)
                self.fixed(label, made if task["num_class"] > 1 else made.float())
        for task in tasks:
            ending = "" if single else f"_{task['name']}"
            self._task(logits[task.get("name", "")], task, ending)
        self.loss |= penalties

    def _task(self, z: Tensor, task: Mapping[str, Any], ending: str) -> None:
        label = self.inputs[f"label.{task['label']}"]
        weight = self._weight(task)
        for loss in task["losses"]:
            kind = loss["type"]
            if kind == "l2_loss":
                made = {"y": z[:, 0]}
            elif kind.startswith("binary"):
                made = {"logits": z[:, 0], "probs": torch.sigmoid(z[:, 0])}
            else:
                made = {"logits": z, "probs": torch.softmax(z, 1)}
                made |= {"probs1": made["probs"][:, 1]} if z.shape[1] == 2 else {}
            self.out |= {f"{name}{ending}": value for name, value in made.items()}
            rows = self._rows(kind, loss, z, label)
            self.loss[kind + ending] = rows.mean() if weight is None else (rows * weight).mean()

    def _weight(self, task: Mapping[str, Any]) -> Tensor | None:
        if not {"sample_weight", "weight", "task_space"} & task.keys():
            return None
        weight = torch.ones(B).double()
        if "sample_weight" in task:
            weight = self.numbers(f"weight.{task['sample_weight']}", B)
        if "task_space" in task:
            inside = (self.inputs[f"label.{task['task_space']}"] > 0).double()
            weight = weight * (task["in_weight"] * inside + task["out_weight"] * (1 - inside))
        scaled = torch.nan_to_num(weight / weight.mean(), nan=0.0, posinf=0.0, neginf=0.0)
        return scaled * float(task.get("weight", 1.0))

    def _rows(self, kind: str, loss: Mapping[str, Any], z: Tensor, label: Tensor) -> Tensor:
        smooth = loss.get("label_smoothing", 0.0)
        if kind == "l2_loss":
            return (z[:, 0] - label) ** 2
        if kind == "softmax_cross_entropy":
            return F.cross_entropy(z, label, label_smoothing=smooth, reduction="none")
        if kind == "jrc_loss":
            return self._jrc(loss, z, label)
        y, x = label.double(), z[:, 0]
        target = y * (1 - smooth) + smooth / 2
        rows = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        if kind == "binary_cross_entropy":
            return rows
        p, alpha, gamma = torch.sigmoid(x).detach(), loss["alpha"], loss["gamma"]
        return (alpha * y * (1 - p) ** gamma + (1 - alpha) * (1 - y) * p**gamma) * rows

    def _jrc(self, loss: Mapping[str, Any], z: Tensor, label: Tensor) -> Tensor:
        session, rows = self.inputs[loss["session_name"]], []
        for i in range(B):
            kept = (session == session[i]) & (label != label[i])
            kept[i] = True
            own = z[:, label[i]]
            rows.append(torch.logsumexp(own[kept], 0) - own[i])
        plain = F.cross_entropy(z, label, reduction="none")
        return loss["alpha"] * plain + (1 - loss["alpha"]) * torch.stack(rows)

    def done(self, **more: Any) -> Case:
        """The case, with the sum of all losses as the total."""
        self.loss["total"] = torch.stack([*self.loss.values()]).sum()
        return self.case(**more)


def plain(name: str, *tables: str, mode: str = "train", **said: Any) -> Model:
    """A model with four features and the tables asked for."""
    m = Model(name, mode, **said)
    m.feature("u", "id", vocab=9)
    m.feature("i", "id", vocab=8)
    m.feature("p", "dense", width=2)
    m.feature("tags", "ids", vocab=11, pooling="mean")
    rows = {"u": 9, "i": 8, "tags": 11, "u_wide": 9, "tags_wide": 11}
    for table in tables:
        m.table(table, rows[table], 2 if table.endswith("_wide") else 4)
    return m


def slots(m: Model, *names: str) -> list[dict[str, Any]]:
    return [m.slot(name, "" if name == "p" else name) for name in names]
