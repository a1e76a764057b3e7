"""References of the models with one task and without histories, by the name of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from reference_parts import (
    CRITEO,
    DIM,
    NUMBERS,
    SHOP,
    Attention,
    Features,
    MaskBlock,
    Perceptron,
    Rows,
    pairs,
)  # fmt: skip
from torch import Tensor, nn

__all__ = ["SINGLE_TASK"]

WIDTH = len(SHOP) * DIM
Outputs = dict[str, Tensor]


class WideAndDeep(Features):
    """Cheng et al., 2016: w x + deep."""

    def __init__(self) -> None:
        super().__init__(linear=1)
        self.deep = Perceptron(WIDTH, [256, 128, 64], 1)

    def forward(self, rows: Rows) -> Outputs:
        return {"logits": self.linear(rows)[:, 0] + self.deep(self.concat(rows))[:, 0]}


class FactorizationMachine(Features):
    """Rendle, 2010: w0 + a w x + b sum over i < j of <v_i, v_j>; the paper's a and b are 1."""

    def __init__(self) -> None:
        super().__init__(linear=1)
        self.head_click = nn.Linear(2, 1)

    def forward(self, rows: Rows) -> Outputs:
        crosses = sum((a * b).sum(1) for a, b in pairs(self.fields(rows)))
        return {"logits": self.head_click(torch.stack([self.linear(rows)[:, 0], crosses], 1))[:, 0]}


class DeepFM(Features):
    """Guo et al., 2017: a factorization machine and a perceptron over the same vectors."""

    def __init__(self) -> None:
        super().__init__(linear=1)
        self.deep = Perceptron(WIDTH, [256, 128], 1)

    def forward(self, rows: Rows) -> Outputs:
        crosses = sum((a * b).sum(1) for a, b in pairs(self.fields(rows)))
        return {"logits": self.linear(rows)[:, 0] + crosses + self.deep(self.concat(rows))[:, 0]}


class AutoDisDeepFM(Features):
    """Guo et al., 2021: numbers embedded softly, in a DeepFM."""

    def __init__(self) -> None:
        super().__init__(CRITEO, linear=1, autodis=NUMBERS)
        self.deep = Perceptron(39 * DIM, [256, 128], 1)

    def forward(self, rows: Rows) -> Outputs:
        names = sorted((*CRITEO, *NUMBERS))
        crosses = sum((a * b).sum(1) for a, b in pairs(self.fields(rows, names)))
        return {
            "logits": self.linear(rows)[:, 0] + crosses + self.deep(self.concat(rows, names))[:, 0]
        }


class XDeepFM(Features):
    """Lian et al., 2018: X_k[h] = sum over i, j of W[h, i, j] X_{k-1}[i] * X_0[j]."""

    def __init__(self) -> None:
        super().__init__(linear=1)
        self.cin = nn.Module()
        self.cin.layers = nn.ModuleList([nn.Linear(11 * 11, 32), nn.Linear(32 * 11, 32)])
        self.crosses = nn.Linear(64, 1)
        self.deep = Perceptron(WIDTH, [256, 128], 1)

    def forward(self, rows: Rows) -> Outputs:
        x0 = x = self.fields(rows)
        pooled = []
        for layer in self.cin.layers:
            weight = layer.weight.view(32, x.shape[1], x0.shape[1])
            x = torch.einsum("oij,bid,bjd->bod", weight, x, x0) + layer.bias[:, None]
            pooled.append(x.sum(2))
        logits = (
            self.linear(rows) + self.crosses(torch.cat(pooled, 1)) + self.deep(self.concat(rows))
        )
        return {"logits": logits[:, 0]}


class _CrossLayer(nn.Module):
    def __init__(self, rank: int) -> None:
        super().__init__()
        if rank:
            self.u, self.v = nn.Linear(WIDTH, rank, bias=False), nn.Linear(rank, WIDTH)
        else:
            self.weight, self.bias = (
                nn.Parameter(torch.empty(1, WIDTH)),
                nn.Parameter(torch.empty(WIDTH)),
            )
        self.rank = rank

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        if self.rank:
            return x0 * self.v(self.u(x)) + x
        return x0 * (x * self.weight).sum(1, keepdim=True) + self.bias + x


class CrossNetwork(Features):
    """Wang et al., 2017 (rank 0, beside a perceptron) and 2021 (low rank, below it)."""

    def __init__(
        self, rank: int, layers: int, head: str = "head_click", key: str = "logits"
    ) -> None:
        super().__init__()
        self.crosses = [f"cross_s{i}" for i in range(layers)]
        for name in self.crosses:
            self.add_module(name, _CrossLayer(rank))
        self.deep = Perceptron(WIDTH, [256, 128])
        self.add_module(head, nn.Linear(128 if rank else WIDTH + 128, 1))
        self.rank, self.head, self.key = rank, head, key

    def forward(self, rows: Rows) -> Outputs:
        x0 = x = self.concat(rows)
        for name in self.crosses:
            x = self.get_submodule(name)(x0, x)
        top = self.deep(x) if self.rank else torch.cat([x, self.deep(x0)], 1)
        return {self.key: self.get_submodule(self.head)(top)[:, 0]}


class DLRM(Features):
    """Naumov et al., 2019: top([z, <f_i, f_j> for all pairs of embeddings and z]), z = bottom(numbers)."""

    def __init__(self) -> None:
        super().__init__(CRITEO)
        self.bottom = Perceptron(13, [64, 16])
        self.top = Perceptron(16 + 27 * 26 // 2, [256, 128])
        self.head_click = nn.Linear(128, 1)

    def forward(self, rows: Rows) -> Outputs:
        z = self.bottom(torch.cat([rows[name] for name in NUMBERS], 1))
        fields = torch.cat([self.fields(rows, CRITEO), z[:, None]], 1)
        dots = torch.stack([(a * b).sum(1) for a, b in pairs(fields)], 1)
        return {"logits": self.head_click(self.top(torch.cat([z, dots], 1)))[:, 0]}


class _MaskNet(nn.Module):
    def __init__(self, blocks: int, hidden: int, serial: bool, top: list[int]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        widths = [WIDTH] + [hidden if serial else WIDTH] * (blocks - 1)
        self.blocks = nn.ModuleList(MaskBlock(width, WIDTH, hidden, 128) for width in widths)
        if top:
            self.top = Perceptron(blocks * hidden, top)
        self.serial = serial

    def forward(self, e: Tensor) -> Tensor:
        x: Tensor = self.norm(e)
        if not self.serial:
            return self.top(torch.cat([block(x, e) for block in self.blocks], 1))
        for block in self.blocks:
            x = block(x, e)
        return x


class MaskNet(Features):
    """Wang et al., 2021: mask blocks side by side, or in series."""

    def __init__(self, serial: bool) -> None:
        super().__init__()
        self.mask = _MaskNet(3, 128 if serial else 64, serial, [] if serial else [128, 64])
        self.head_click = nn.Linear(128 if serial else 64, 1)

    def forward(self, rows: Rows) -> Outputs:
        return {"logits": self.head_click(self.mask(self.concat(rows)))[:, 0]}


class MaskNetOfFields(Features):
    """The same with a layer norm of each field before the blocks; masks are of the fields as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.LayerNorm(DIM)
        for i in range(3):
            self.add_module(f"masked_p{i}", MaskBlock(WIDTH, WIDTH, 64, 128))
        self.deep, self.head_click = Perceptron(3 * 64, [128, 64]), nn.Linear(64, 1)

    def forward(self, rows: Rows) -> Outputs:
        raw, x = self.concat(rows), self.normed(self.fields(rows)).flatten(1)
        masked = [self.get_submodule(f"masked_p{i}")(x, raw) for i in range(3)]
        return {"logits": self.head_click(self.deep(torch.cat(masked, 1)))[:, 0]}


class EDCN(Features):
    """Chen et al., 2021: products bridge both networks, each weighs their fields for itself."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("cross_fields", "deep_fields", "cross_met", "deep_met"):
            gate = nn.Module()
            gate.gate = nn.Parameter(torch.empty(len(SHOP)))
            self.add_module(name, gate)
        self.cross_1, self.cross_2 = _CrossLayer(0), _CrossLayer(0)
        self.deep_1, self.deep_2 = Perceptron(WIDTH, [WIDTH]), Perceptron(WIDTH, [WIDTH])
        self.head_click = nn.Linear(3 * WIDTH, 1)

    def _weigh(self, name: str, x: Tensor) -> Tensor:
        share = torch.softmax(self.get_submodule(name).gate, 0) * len(SHOP)
        return torch.cat([x[:, i * DIM : (i + 1) * DIM] * share[i] for i in range(len(SHOP))], 1)

    def forward(self, rows: Rows) -> Outputs:
        x = self.concat(rows)
        start = self._weigh("cross_fields", x)
        bridge = self.cross_1(start, start) * self.deep_1(self._weigh("deep_fields", x))
        crossed = self.cross_2(start, self._weigh("cross_met", bridge))
        deep = self.deep_2(self._weigh("deep_met", bridge))
        return {"logits": self.head_click(torch.cat([crossed, deep, crossed * deep], 1))[:, 0]}


class _WuKongLayer(nn.Module):
    def __init__(self, fields: int) -> None:
        super().__init__()
        self.rank_proj = nn.Linear(fields, 8, bias=False)
        self.fm_norm, self.fm = nn.LayerNorm(8 * fields), Perceptron(8 * fields, [128], 8 * DIM)
        self.compress, self.norm = nn.Linear(fields, 8, bias=False), nn.LayerNorm(DIM)
        self.same = fields == 16
        if not self.same:
            self.residual = nn.Linear(fields, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gram = torch.einsum("bnd,bmd->bnm", x, x)
        fmb = self.fm(
            self.fm_norm(torch.einsum("bnm,km->bnk", gram, self.rank_proj.weight).flatten(1))
        )
        lcb = torch.einsum("kn,bnd->bkd", self.compress.weight, x)
        rest = x if self.same else torch.einsum("kn,bnd->bkd", self.residual.weight, x)
        y: Tensor = self.norm(torch.cat([fmb.view(-1, 8, DIM), lcb], 1) + rest)
        return y


class WuKong(Features):
    """Zhang et al., 2024: LN([MLP(LN(X X^T Y)), W X] + X), stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.wukong_s0, self.wukong_s1, self.wukong_s2 = (
            _WuKongLayer(11),
            _WuKongLayer(16),
            _WuKongLayer(16),
        )
        self.deep, self.head_click = Perceptron(16 * DIM, [128, 64]), nn.Linear(64, 1)

    def forward(self, rows: Rows) -> Outputs:
        x = self.wukong_s2(self.wukong_s1(self.wukong_s0(self.fields(rows))))
        return {"logits": self.head_click(self.deep(x.flatten(1)))[:, 0]}


class _Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(10, DIM, DIM))

    def forward(self, fields: Tensor) -> Tensor:
        v = fields.unbind(1)
        crossed = [
            (v[i] @ self.weight[i]) * v[j] for i in range(len(v)) for j in range(i + 1, len(v))
        ]
        return torch.cat(crossed, 1)


class FiBiNET(Features):
    """Huang et al., 2019: v_i W_i * v_j of the fields and of the fields scaled by SENet."""

    def __init__(self) -> None:
        super().__init__(linear=1)
        self.senet = nn.Module()
        self.senet.squeeze, self.senet.excite = nn.Linear(11, 3), nn.Linear(3, 11)
        self.plain, self.weighed = _Bilinear(), _Bilinear()
        self.deep = Perceptron(2 * 55 * DIM, [256, 128], 1)

    def forward(self, rows: Rows) -> Outputs:
        v = self.fields(rows)
        scale = F.relu(self.senet.excite(F.relu(self.senet.squeeze(v.mean(2)))))
        crossed = torch.cat([self.plain(v), self.weighed(v * scale[:, :, None])], 1)
        return {"logits": self.linear(rows)[:, 0] + self.deep(crossed)[:, 0]}


class AutoInt(Features):
    """Song et al., 2019: self attention among the fields and a rectifier, three times."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_s0_attended, self.attention_s1_attended, self.attention_s2_attended = (
            Attention(DIM, 2) for _ in range(3)
        )
        self.crosses, self.deep = nn.Linear(WIDTH, 1), Perceptron(WIDTH, [256, 128], 1)

    def forward(self, rows: Rows) -> Outputs:
        met = []
        for x in self.fields(rows):
            for layer in (
                self.attention_s0_attended,
                self.attention_s1_attended,
                self.attention_s2_attended,
            ):
                x = F.relu(layer(x))
            met.append(x.flatten())
        met = torch.stack(met)
        return {"logits": (self.crosses(met) + self.deep(self.concat(rows)))[:, 0]}


SINGLE_TASK: Mapping[str, type[Features] | partial[Features]] = {
    "autodis": AutoDisDeepFM,
    "autoint": AutoInt,
    "dcn": partial(CrossNetwork, 0, 3),
    "dcn_v2": partial(CrossNetwork, 64, 3),
    "deepfm": DeepFM,
    "dlrm": DLRM,
    "edcn": EDCN,
    "fibinet": FiBiNET,
    "fm": FactorizationMachine,
    "masknet": partial(MaskNet, False),
    "masknet_fields": MaskNetOfFields,
    "masknet_serial": partial(MaskNet, True),
    "watch_time": partial(CrossNetwork, 32, 2, "head_watch", "y"),
    "wide_and_deep": WideAndDeep,
    "wukong": WuKong,
    "xdeepfm": XDeepFM,
}
