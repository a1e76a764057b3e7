"""Made cases of models with one task: what a folder of golden cases may leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from golden_case import Case
from made_case import spec
from made_model import BCE, B, Model, plain, slots
from made_parts import encode, mask_net, wukong_layer
from torch import Tensor

__all__ = ["MODELS"]

JRC = {"type": "jrc_loss", "session_name": "session", "alpha": 0.3}


def wide(m: Model) -> Tensor:
    pairs = [m.slot("u", "u_wide"), m.slot("tags", "tags_wide")]
    return m.group("wide", pairs, kind="wide").sum(1, keepdim=True)


def one(m: Model, logits: Tensor, *losses: Mapping[str, Any], **task: Any) -> Case:
    losses = losses or (BCE,)
    said = {"label": "label", "num_class": logits.shape[1], "losses": [*losses], **task}
    m.tasks({"": logits}, [said])
    return m.done()


# ---- one task -----------------------------------------------------------------------------------


def wide_and_deep(final: Any) -> Case:
    m = plain(f"wide_and_deep_{bool(final)}", "u", "i", "tags", "u_wide", "tags_wide")
    m.said["graph"] = {"kind": "wide_and_deep", "wide_dim": 2, "deep": spec(6), "final": final}
    y = wide(m)
    deep = m.mlp("deep", spec(6), m.group("deep", slots(m, "u", "i", "p", "tags")))
    if final:
        y = m.linear("head", m.mlp("final", final, torch.cat([y, deep], 1)), 3)
    else:
        y = y + m.linear("head", deep, 3)
    return one(m, y, {"type": "softmax_cross_entropy", "label_smoothing": 0.2})


def deepfm() -> Case:
    dropped = {"lambda": 0.03, "groups": ["deep", "wide", "fm"]}
    names = ("u", "i", "tags", "u_wide", "tags_wide")
    m = plain("deepfm", *names, variational_dropout=dropped)
    mlp = spec(6, norm="layer")
    m.said["graph"] = {"kind": "deepfm", "wide_dim": 2, "deep": mlp, "final": None}
    m.ids("session", 3, B)
    y = wide(m)
    deep = m.mlp("deep", mlp, m.group("deep", slots(m, "u", "i")))
    fields = m.group("fm", slots(m, "tags", "u", "i")).reshape(B, 3, 4)
    fm = 0.5 * (fields.sum(1) ** 2 - (fields**2).sum(1))
    y = y + fm.sum(1, keepdim=True) + m.linear("head", deep, 2)
    return one(m, y, JRC, {"type": "softmax_cross_entropy"}, sample_weight="importance")


def xdeepfm() -> Case:
    m = plain("xdeepfm", "u", "i", "tags")
    graph = {"kind": "xdeepfm", "cin": [3, 2], "deep": spec(6), "final": spec(4)}
    m.said["graph"] = graph
    fields = m.group("wide", slots(m, "u", "tags", "i"), kind="wide").reshape(B, 3, 4)
    deep = m.mlp("deep", spec(6), m.group("deep", slots(m, "u", "p", "i")))
    h, outputs = fields, []
    for layer, size in enumerate((3, 2)):
        z = torch.einsum("bhd,bfd->bhfd", h, fields).flatten(1, 2)
        weight = m.w(f"cin.{layer}.weight", size, z.shape[1], 1).squeeze(2)
        h = torch.einsum("bcd,oc->bod", z, weight) + m.w(f"cin.{layer}.bias", size)[:, None]
        outputs.append(h.sum(2))
    y = m.linear("head", m.mlp("final", spec(4), torch.cat([*outputs, deep], 1)), 1)
    focal = {"type": "binary_focal_loss", "gamma": 1.5, "alpha": 0.3}
    return one(m, y, focal, {**BCE, "label_smoothing": 0.1})


def dcn(version: str) -> Case:
    m, low = plain(f"dcn_{version}", "u", "tags"), version == "v2"
    graph = {"kind": f"dcn_{version}", "cross_layers": 2, "final": spec(4)}
    m.said["graph"] = {**graph, "deep": None if low else spec(6)}
    x = m.group("all", slots(m, "u", "p", "tags"))
    first = x
    if low:
        m.said["graph"] |= {"rank": 3, "backbone": spec(7)}
        first = m.mlp("backbone", spec(7), x)
    y, width = first, first.shape[1]
    for layer in range(2):
        key = f"cross.{layer}"
        if low:
            y = first * m.linear(f"{key}.v", m.linear(f"{key}.u", y, 3, False), width) + y
        else:
            y = m.linear(key, y, 1, False) * first + m.w(f"{key}.bias", width) + y
    y = y if low else torch.cat([y, m.mlp("deep", spec(6), x)], 1)
    logits = m.linear("head", m.mlp("final", spec(4), y), 1, False)
    return one(m, logits, {"type": "l2_loss"}, sample_weight="importance")


def dlrm(with_sparse: bool) -> Case:
    m = plain(f"dlrm_{with_sparse}", "u", "i", "tags")
    graph = {"kind": "dlrm", "dense": spec(6, 4), "with_sparse": with_sparse, "final": spec(5)}
    m.said["graph"] = graph
    dense = m.mlp("dense", spec(6, 4), m.group("dense", slots(m, "p")))
    sparse = m.group("sparse", slots(m, "u", "i", "tags"))
    fields = torch.cat([dense, sparse], 1).reshape(B, 4, 4)
    first, second = torch.triu_indices(4, 4, 1)
    dots = (fields @ fields.transpose(1, 2))[:, first, second]
    joined = torch.cat([dots, dense, *([sparse] if with_sparse else [])], 1)
    return one(m, m.linear("head", m.mlp("final", spec(5), joined), 1))


def masknet() -> Case:
    m = plain("masknet", "u")
    given = {"blocks": 3, "hidden": 5, "parallel": False, "top": None}
    m.said["graph"] = {"kind": "masknet", "mask_net": given}
    y = mask_net(m, "mask", given, m.group("all", slots(m, "u", "p")))
    return one(m, m.linear("head", y, 1, False))


def wukong(dense: bool) -> Case:
    m = plain(f"wukong_{dense}", "u", "i", "tags")
    parts = [m.mlp("dense", spec(4), m.group("dense", slots(m, "p")))] if dense else []
    parts.append(m.group("sparse", slots(m, "u", "i", "tags")))
    x, layers = torch.cat(parts, 1).reshape(B, -1, 4), []
    for i, (rank, linear, fm) in enumerate(((2, 1, 2), (3, 2, 3))):
        layers.append({"rank": rank, "mlp": spec(6)})
        x = wukong_layer(m, f"layers.{i}", x, rank, linear, fm, spec(6))
    graph = {"kind": "wukong", "layers": layers, "final": spec(5)}
    m.said["graph"] = {**graph, "dense": spec(4) if dense else None}
    return one(m, m.linear("head", m.mlp("final", spec(5), x.flatten(1)), 1))


# ---- sequences ----------------------------------------------------------------------------------


def histories(name: str, mode: str = "train", **said: Any) -> tuple[Model, dict[str, Any]]:
    """Every kind of feature, and a sequence group over them."""
    m = Model(name, mode, **said)
    soft = {"type": "autodis", "dim": 3, "channels": 4, "temperature": 0.4, "skip": 0.2}
    m.feature("u", "id", vocab=9)
    m.feature("i", "id", vocab=8)
    m.feature("t", "ids", vocab=6, pooling="sum")
    m.feature("pr", "dense", width=1, embedding=soft)
    m.feature("ag", "dense", width=1, embedding={"type": "linear", "dim": 2})
    m.feature("pd", "dense", width=2)
    m.feature("c__t", "ids_sequence", vocab=6, pooling="mean", sequence="c")
    m.feature("c__i", "id_sequence", vocab=8, sequence="c")
    m.feature("c__d", "dense_sequence", width=2, sequence="c")
    for table, rows, dim in (("u", 9, 4), ("i", 8, 4), ("i.seq", 8, 3), ("tags", 6, 3)):
        m.table(table, rows, dim)
    query = [m.slot("i", "i.seq"), m.slot("t", "tags"), m.slot("pd")]
    keys = [m.slot("c__t", "tags"), m.slot("c__i", "i.seq"), m.slot("c__d")]
    return m, {"name": "clicks", "query": query, "sequence": keys}


ENCODERS: Sequence[dict[str, Any]] = (
    {"type": "din", "attn_mlp": spec(6, activation="dice"), "max_seq_length": 3},
    {"type": "self_attention", "dim": 6, "heads": 3},
    {"type": "self_attention", "dim": 4, "heads": 2, "max_seq_length": 2},
    {"type": "multi_window_din", "attn_mlp": spec(5), "windows": [1, 2, 1]},
    {"type": "simple_attention"},
    {"type": "pooling", "pooling": "sum", "max_seq_length": 2},
    {"type": "din", "attn_mlp": spec(4, norm="batch")},
)


def encoders(mode: str, *chosen: int, **said: Any) -> Case:
    m, clicks = histories(f"encoders_{mode}_{chosen}", mode, **said)
    given = [{**ENCODERS[k], "input": "clicks"} for k in chosen]
    own = [m.slot("u", "u"), m.slot("i", "i"), m.slot("pr"), m.slot("ag"), m.slot("pd")]
    x = m.group("deep", own, [clicks], given)
    towers = [{"group": "deep", "mlp": spec(6)}]
    m.said["graph"] = {"kind": "multi_tower", "towers": towers, "final": None}
    ends = {"din": "out.bias", "self_attention": "k.bias"}
    m.said["zero_gradient"] = [
        f"encoder.deep.{i}.{ends[e['type']]}" for i, e in enumerate(given) if e["type"] in ends
    ]
    return one(m, m.linear("head", m.mlp("tower.deep", spec(6), x), 1))


def multi_tower_din() -> Case:
    m, clicks = histories("multi_tower_din")
    user = m.mlp("tower.user", spec(5), m.group("user", [m.slot("u", "u"), m.slot("pd")]))
    m.said["groups"].append({**clicks, "type": "sequence"})
    given = {"type": "din", "attn_mlp": spec(6, 4)}
    seen = encode(m, "din.clicks", given, *m.history(clicks))
    towers = [{"group": "user", "mlp": spec(5)}]
    din = [{"group": "clicks", "attn_mlp": spec(6, 4)}]
    m.said["graph"] = {"kind": "multi_tower_din", "towers": towers, "din": din, "final": spec(4)}
    m.said["zero_gradient"] = ["din.clicks.out.bias"]
    return one(m, m.linear("head", m.mlp("final", spec(4), torch.cat([user, seen], 1)), 1))


DROPPED = {"variational_dropout": {"lambda": 0.02, "groups": ["deep"]}}

MODELS: dict[str, Callable[[], Case]] = {
    "dcn_v1": lambda: dcn("v1"),
    "dcn_v2_backbone": lambda: dcn("v2"),
    "deepfm_dropout_jrc": deepfm,
    "dlrm": lambda: dlrm(False),
    "dlrm_with_sparse": lambda: dlrm(True),
    "dropout_over_an_encoder": lambda: encoders("train", 4, **DROPPED),
    "dropout_over_an_encoder_eval": lambda: encoders("eval", 4, **DROPPED),
    "encoders": lambda: encoders("train", *range(7)),
    "encoders_eval": lambda: encoders("eval", *range(7)),
    "encoders_without_query": lambda: encoders("train", 1, 5),
    "masknet_serial_model": masknet,
    "multi_tower_din": multi_tower_din,
    "wide_and_deep": lambda: wide_and_deep(None),
    "wide_and_deep_final": lambda: wide_and_deep(spec(5, activation="silu")),
    "wukong_dense": lambda: wukong(True),
    "wukong_sparse": lambda: wukong(False),
    "xdeepfm": xdeepfm,
}
"""Cases by name."""
