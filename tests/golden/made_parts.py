"""Formulas that made block cases and made model cases share, in plain torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from made_case import Made
from torch import Tensor

__all__ = ["autodis", "drop", "encode", "extract", "mask_net", "mix", "wukong_layer"]


def mix(gate: Tensor, experts: Sequence[Tensor]) -> Tensor:
    """Sum of softmax(gate) [B, K] times the experts [B, D]."""
    return (torch.softmax(gate, 1).unsqueeze(2) * torch.stack([*experts], 1)).sum(1)


def mask_net(m: Made, key: str, given: Mapping[str, Any], x: Tensor) -> Tensor:
    """MaskNet over x, and its `top`."""
    h = normed = m.layer_norm(f"{key}.norm", x)
    outputs = []
    for i in range(given["blocks"]):
        block, width = f"{key}.blocks.{i}", h.shape[1]
        middle = given.get("aggregation") or int(given.get("ratio", 1.0) * width)
        factors = torch.relu(m.linear(f"{block}.gen.0", x, middle))
        masked = h * m.linear(f"{block}.gen.1", factors, width)
        y = m.layer_norm(f"{block}.ffn.norm", m.linear(f"{block}.ffn", masked, given["hidden"]))
        outputs.append(torch.relu(y))
        h = normed if given["parallel"] else outputs[-1]
    y = torch.cat(outputs, 1) if given["parallel"] else outputs[-1]
    return m.mlp(f"{key}.top", given["top"], y) if given["top"] else y


def extract(
    m: Made,
    key: str,
    layer: Mapping[str, Any],
    xs: Mapping[str, Tensor],
    shared: Tensor,
    last: bool,
) -> tuple[dict[str, Tensor], Tensor]:
    """One extraction layer: the tasks' mixtures, and the shared one."""
    common = [
        m.mlp(f"{key}.shared.{k}", layer["shared_expert"], shared)
        for k in range(layer["shared_experts"])
    ]
    every, found = [], {}
    for task, x in xs.items():
        own = [
            m.mlp(f"{key}.task.{task}.{k}", layer["task_expert"], x)
            for k in range(layer["experts_per_task"])
        ]
        every += own
        experts = [*own, *common]
        found[task] = mix(m.linear(f"{key}.gate.{task}", x, len(experts)), experts)
    if last:
        return found, shared
    every += common
    return found, mix(m.linear(f"{key}.gate.shared", shared, len(every)), every)


def wukong_layer(m: Made, key: str, x: Tensor, rank: int, linear: int, fm: int, mlp: Any) -> Tensor:
    """One WuKong layer over fields [B, N, D]."""
    number, dim = x.shape[1:]
    across = x.transpose(1, 2)
    crossed = (x @ (across @ m.w(f"{key}.fm.weight", number, rank))).flatten(1)
    hidden = m.mlp(f"{key}.fm.mlp", mlp, m.layer_norm(f"{key}.fm.norm", crossed))
    made = m.linear(f"{key}.fm.out", hidden, fm * dim).reshape(-1, fm, dim)
    compressed = (across @ m.w(f"{key}.compress.weight", number, linear)).transpose(1, 2)
    rest = x
    if number != linear + fm:
        rest = (across @ m.w(f"{key}.residual.weight", number, linear + fm)).transpose(1, 2)
    return m.layer_norm(f"{key}.norm", torch.cat([made, compressed], 1) + rest)


def autodis(m: Made, name: str, given: Mapping[str, Any], x: Tensor) -> Tensor:
    """AutoDis of a number [B, 1]."""
    channels = given["channels"]
    h = F.leaky_relu(x * m.w(f"autodis.{name}.w", channels), 0.01)
    z = h @ m.w(f"autodis.{name}.m", channels, channels).T + given["skip"] * h
    shares = torch.softmax(z / given["temperature"], 1)
    return shares @ m.w(f"autodis.{name}.meta", channels, given["dim"])


def drop(
    m: Made, key: str, noise: str, parts: Sequence[Tensor], factor: float
) -> tuple[Tensor, Tensor]:
    """Variational dropout over parts side by side, and its penalty."""
    rows, widths = len(parts[0]), torch.tensor([part.shape[1] for part in parts])
    p = torch.sigmoid(m.w(key, len(parts)))
    dropped = p.expand(rows, -1)
    if m.training:
        u, tiny = m.numbers(noise, rows, len(parts)), torch.finfo(torch.float32).eps
        odds = torch.log(p + tiny) - torch.log(1 - p + tiny)
        dropped = torch.sigmoid((odds + torch.log(u + tiny) - torch.log(1 - u + tiny)) / 0.1)
    kept = 1 - dropped.repeat_interleave(widths, 1)
    return torch.cat([*parts], 1) * kept, factor / rows * (1 - p).sum()


def encode(
    m: Made, key: str, given: Mapping[str, Any], query: Tensor | None, keys: Tensor, lengths: Tensor
) -> Tensor:
    """A sequence encoder over zero padded keys [B, T, D]."""
    kind, cut, whole = given["type"], given.get("max_seq_length"), lengths
    if cut:
        keys, lengths = keys[:, :cut], lengths.clamp(max=cut)
    real = torch.arange(keys.shape[1]) < lengths.unsqueeze(1)
    if kind == "pooling":
        total = keys.sum(1)
        return total / lengths.clamp(min=1)[:, None] if given["pooling"] == "mean" else total
    if kind == "self_attention":
        mixed = _attend(m, key, given, keys, real)
        return mixed.sum(1) / whole.clamp(min=1).unsqueeze(1)
    assert query is not None
    query = F.pad(query, (0, keys.shape[2] - query.shape[1]))
    each = query.unsqueeze(1).expand_as(keys)
    if kind == "multi_window_din":
        seen = m.mlp(f"{key}.mlp", given["attn_mlp"], torch.cat([keys, each * keys, each], 2))
        a, slope = m.linear(f"{key}.out", seen, 1), m.w(f"{key}.act.weight", 1)
        weighed = torch.where(a > 0, a, slope * a) * real.unsqueeze(2) * keys
        return torch.cat([*_windows(weighed, lengths, given["windows"]), query], 1)
    if kind == "simple_attention":
        scores = (keys * each).sum(2)
    else:
        both = torch.cat([each, keys, each - keys, each * keys], 2)
        scores = m.linear(f"{key}.out", m.mlp(f"{key}.mlp", given["attn_mlp"], both), 1).squeeze(2)
    scores = scores.masked_fill(~real, -(2.0**31) + 1)
    return (torch.softmax(scores, 1).unsqueeze(2) * keys).sum(1)


def _attend(m: Made, key: str, given: Mapping[str, Any], x: Tensor, real: Tensor) -> Tensor:
    width, heads = given["dim"], given["heads"]
    rows, steps = x.shape[:2]
    weight = m.w(f"{key}.in_proj.weight", 3 * width, width)
    bias = m.w(f"{key}.in_proj.bias", 3 * width)
    parts = []
    for i, name in enumerate("qkv"):
        own = slice(i * width, (i + 1) * width)
        y = m.linear(f"{key}.{name}", x, width) @ weight[own].T + bias[own]
        parts.append(y.reshape(rows, steps, heads, -1).transpose(1, 2))
    scores = parts[0] @ parts[1].transpose(2, 3) / (width / heads) ** 0.5
    scores = scores.masked_fill(~real[:, None, None, :], -1e30)
    mixed = (torch.softmax(scores, -1) @ parts[2]).transpose(1, 2).reshape(rows, steps, width)
    return m.linear(f"{key}.out_proj", mixed, width) * real.unsqueeze(2)


def _windows(weighed: Tensor, lengths: Tensor, windows: Sequence[int]) -> list[Tensor]:
    means, start = [], 0
    for size in windows:
        count = (lengths - start).clamp(min=1, max=size).unsqueeze(1)
        means.append(weighed[:, start : start + size].sum(1) / count)
        start += size
    return means
