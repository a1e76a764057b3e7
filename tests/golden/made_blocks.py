"""Made block cases: kinds and options beside those that a folder of golden cases has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from golden_case import Case
from made_case import Made, spec
from made_parts import autodis, drop, encode, extract, mask_net, wukong_layer

__all__ = ["BLOCKS"]

B = 7


def made(name: str, kind: str, mode: str = "train", **graph: Any) -> Made:
    return Made(name, "block", mode, graph={"kind": kind, **graph})


def mlp(activation: str, norm: str, bias: bool, steps: int) -> Case:
    given = spec(6, 4, activation=activation, norm=norm, bias=bias, slope=0.2)
    m = made(f"mlp_{activation}_{norm}_{bias}_{steps}", "mlp", **{"in": 5}, **given)
    m.out["y"] = m.mlp("mlp", given, m.x("x", B, *([steps] if steps else []), 5))
    return m.case()


def every_layer() -> Case:
    m = made("every_layer", "mlp", "eval", **{"in": 5}, **spec(6, 4), return_hidden=True)
    first = torch.relu(m.linear("mlp.0", m.x("x", B, 5), 6))
    last = torch.relu(m.linear("mlp.1", first, 4))
    m.out = {"hidden_layer0": first, "hidden_layer1": last, "hidden_layer_end": last}
    return m.case()


def senet(widths: list[int], bias: bool = False) -> Case:
    m = made(f"senet_{widths}", "senet", feature_dims=widths, reduction=2)
    number = len(widths)
    parts = m.x("x", B, sum(widths)).split(widths, 1)
    means = torch.stack([part.mean(1) for part in parts], 1)
    squeezed = torch.relu(m.linear("squeeze", means, max(1, number // 2), bias))
    scale = torch.sigmoid(m.linear("excite", squeezed, number, bias))
    m.out["y"] = torch.cat([part * scale[:, i : i + 1] for i, part in enumerate(parts)], 1)
    return m.case()


def task_tower(given: Any) -> Case:
    m = made(f"task_tower_{bool(given)}", "task_tower", **{"in": 5}, num_class=3, mlp=given)
    x = m.x("x", B, 5)
    m.out["y"] = m.linear("head", m.mlp("mlp", given, x) if given else x, 3)
    return m.case()


def fusion_in_another_order() -> Case:
    sizes = {"z": 2, "a": 1, "m": 3}
    tasks = [{"name": name, "num_class": size} for name, size in sizes.items()]
    m = made("fusion_order", "fusion_mtl_tower", **{"in": 5}, mlp=None, tasks=tasks)
    outputs = m.linear("head", m.x("user", B, 5) * m.x("item", B, 5), 6)
    m.out = dict(zip(sizes, outputs.split([*sizes.values()], 1), strict=True))
    return m.case()


def wukong(number: int, rank: int, linear: int, fm: int) -> Case:
    given = spec(6, 4)
    m = made(f"wukong_{number}_{rank}", "wukong", rank=rank, mlp=given)
    x = m.x("x", B, number, 3)
    m.out["y"] = wukong_layer(m, "layers.0", x, rank, linear, fm, given)
    return m.case()


def masknet(parallel: bool, **width: Any) -> Case:
    given = {"blocks": 3, "hidden": 6, "parallel": parallel, "top": spec(5, norm="batch"), **width}
    m = made(f"masknet_{parallel}_{width}", "mask_net", **given)
    m.out["y"] = mask_net(m, "mask", given, m.x("x", B, 8))
    return m.case()


def cgc(last: bool) -> Case:
    layer = {"experts_per_task": 2, "shared_experts": 2}
    layer |= {"task_expert": spec(4, 3), "shared_expert": spec(5, 3)}
    named = {"tasks": ["z", "a"], "in_task": [5, 4], "in_shared": 6, "last": last}
    m = made(f"cgc_{last}", "cgc", **layer, **named)
    xs = {"z": m.x("z", B, 5), "a": m.x("a", B, 4)}
    m.out, shared = extract(m, "cgc", layer, xs, m.x("shared", B, 6), last)
    if not last:
        m.out["shared"] = shared
    return m.case()


def dense_embedding() -> Case:
    soft = {"type": "autodis", "dim": 4, "channels": 3, "temperature": 0.3, "skip": 0.1}
    configs = [{"type": "linear", "dim": 3, "features": ["b"]}, {**soft, "features": ["a"]}]
    m = made("dense_embedding", "dense_embedding", configs=configs)
    m.out["b"] = m.x("b", B, 1) * m.w("dense_embedding.b.weight", 3)
    m.out["a"] = autodis(m, "a", soft, m.x("a", B, 1))
    return m.case()


def dropout() -> Case:
    widths = [4, 2, 3]
    m = made("dropout", "variational_dropout", feature_dims=widths, **{"lambda": 0.05})
    m.out["y"], m.out["penalty"] = drop(m, "p", "noise", m.x("x", B, 9).split(widths, 1), 0.05)
    return m.case()


def history(kind: str, query: int = 4, mode: str = "train", **given: Any) -> Case:
    name = f"{kind}_{query}_{mode}_{given}"
    m = made(name, kind, mode, sequence_dim=4, query_dim=query, **given)
    lengths = m.fixed("length", torch.tensor([5, 0, 1, 2, 4, 5, 1]))
    real = torch.arange(5) < lengths.unsqueeze(1)
    q, padded = m.x("query", B, query), m.x("sequence", B, 5, 4)
    padded.data *= real.unsqueeze(2)
    m.out["y"] = encode(m, "encoder", {**given, "type": kind}, q, padded, lengths)
    zero = {"din": ["encoder.out.bias"], "self_attention": ["encoder.k.bias"]}
    return m.case(zero_gradient=zero.get(kind, []))


def _steps() -> dict[str, Callable[[], Case]]:
    found: dict[str, Callable[[], Case]] = {}
    counted = (spec(6, activation="dice"), spec(6, 4, norm="batch", activation="prelu"))
    for i, mlp_ in enumerate((spec(6, 4), spec(5, bias=False, norm="layer"), *counted)):
        for mode in ("train", "eval"):
            found[f"din_{i}_{mode}"] = lambda a=mlp_, m=mode: history("din", 3, m, attn_mlp=a)
            found[f"windows_{i}_{mode}"] = lambda a=mlp_, m=mode: history(
                "multi_window_din", 3, m, attn_mlp=a, windows=[1, 2, 1]
            )
    for cut in (0, 2):
        given = {"max_seq_length": cut}
        found[f"din_cut_{cut}"] = lambda g=given: history("din", attn_mlp=counted[0], **g)
        found[f"simple_cut_{cut}"] = lambda g=given: history("simple_attention", **g)
        found[f"self_cut_{cut}"] = lambda g=given: history("self_attention", dim=6, heads=2, **g)
        for mode in ("sum", "mean"):
            found[f"pooling_{mode}_cut_{cut}"] = lambda g=given, m=mode: history(
                "pooling", pooling=m, **g
            )
    return found


ACTIVATIONS = ("leaky_relu", "gelu", "silu", "tanh", "dice", "prelu")

BLOCKS: dict[str, Callable[[], Case]] = {
    **{
        f"mlp_{activation}_{norm}_{steps}": lambda a=activation, n=norm, s=steps: mlp(
            a, n, not s, s
        )
        for activation in ACTIVATIONS
        for norm in ("none", "batch", "layer")
        for steps in (0, 3)
    },
    **_steps(),
    "cgc": lambda: cgc(False),
    "cgc_last": lambda: cgc(True),
    "dense_embedding": dense_embedding,
    "every_layer": every_layer,
    "fusion_in_another_order": fusion_in_another_order,
    "masknet_aggregation": lambda: masknet(True, aggregation=3),
    "masknet_serial": lambda: masknet(False),
    "masknet_serial_ratio": lambda: masknet(False, ratio=0.5),
    "senet": lambda: senet([4, 4, 4], bias=True),
    "senet_uneven": lambda: senet([4, 2, 3, 5]),
    "task_tower": lambda: task_tower(spec(6, activation="gelu")),
    "task_tower_plain": lambda: task_tower(None),
    "variational_dropout": dropout,
    "wukong": lambda: wukong(5, 3, 2, 2),
    "wukong_residual": lambda: wukong(3, 3, 1, 2),
}
"""Cases by name."""
