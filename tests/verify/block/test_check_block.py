"""`graphrec check-block`: a sound block passes, and every way to be unsound has its own words."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from graphrec.blocks.library import BUILTIN
from graphrec.cli import main
from graphrec.train import dense_optimizers
from graphrec.verify.block import CHECKS, guessed_parameters, parse_shape

BLOCKS = '''
from typing import Any, ClassVar, Literal
from pydantic import PositiveInt
from graphrec import Block, Shape
from graphrec.ground.shapes import ShapeError


class Gated(Block):
    """Gate a vector by itself: sigmoid(W1 x) * (W2 x)."""

    kernels = {"torch": "LAYERS:Gated"}
    units: PositiveInt
    """Width of the result."""
    bias: bool = True
    """Whether the Linears have a bias."""

    def infer(self, x: Shape) -> Shape:
        return x.resize(self.units)

    def args(self, x: Shape) -> dict:
        return {"in_features": x.width, "units": self.units, "bias": self.bias}


def variant(layer, **more):
    return type(layer, (Gated,), {"__doc__": "A variant.", "__module__": __name__,
        "kernels": {"torch": f"LAYERS:{layer}"}, "__annotations__": {}, **more})


Mixing = variant("Mixing")
Wrong = variant("Wrong")
Lying = variant("Lying")
Writing = variant("Writing")
Unreset = variant("Unreset")
Growing = variant("Growing")
Unsafe = variant("Unsafe")
Turned = variant("Turned")
Heavy = variant("Heavy")
Widened = variant("Gated", infer=lambda self, x: x.resize(self.units + 1))
Objects = variant("Gated", args=lambda self, x: {"in_features": x.width, "units": self.units, "bias": object()})
Other = variant("Gated", kernels={"torch": "LAYERS:Gated", "fast": "LAYERS:Renamed"})
Same = variant("Gated", kernels={"torch": "LAYERS:Gated", "fast": "LAYERS:Gated"})
Slow = variant("Gated", kernels={"torch": "LAYERS:Gated", "fast": "LAYERS:Lying"})


class Pooled(Block):
    """The mean of a history, and a mistake with its padding."""

    kernels: ClassVar = {"torch": "LAYERS:Pooled"}
    mode: Literal["right", "padded"] = "right"
    """Divide by the real steps, or by the longest."""

    def infer(self, keys: Shape) -> Shape:
        if not keys.is_jagged:
            raise ShapeError(f"needs a history [B, L, D], got {keys}")
        return Shape(("B", keys.width))

    def args(self, keys: Shape) -> dict:
        return {"mode": self.mode}
'''
LAYERS = """
import torch
from torch import nn
from graphrec.nn.segments import as_jagged, segment_sum


class Gated(nn.Module):
    def __init__(self, in_features, units, bias=True):
        super().__init__()
        self.gate, self.value = (nn.Linear(in_features, units, bias) for _ in range(2))

    def forward(self, x):
        return torch.sigmoid(self.gate(x)) * self.value(x)


class Mixing(Gated):
    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(0)


class Stopped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 3


class Wrong(Gated):
    def forward(self, x):
        return Stopped.apply(super().forward(x))


class Lying(Gated):
    def forward(self, x):
        return super().forward(x) * 1.01


class Writing(Gated):
    def forward(self, x):
        y = super().forward(x)
        x.data.mul_(2)
        return y


class Unreset(Gated):
    def __init__(self, in_features, units, bias=True):
        super().__init__(in_features, units, bias)
        self.scale = nn.Parameter(torch.ones(units))

    def forward(self, x):
        return super().forward(x) * self.scale


class Growing(Gated):
    count = 0

    def __init__(self, in_features, units, bias=True):
        super().__init__(in_features, units, bias)
        Growing.count += 1
        self.register_buffer(f"seen_{Growing.count}", torch.zeros(1))


class Unsafe(Gated):
    def forward(self, x):
        return super().forward(x) / (x[0, 0] - x[0, 0])


class Turned(Gated):
    # A weight that lies column by column, and buffers of rare types.

    def __init__(self, in_features, units, bias=True):
        super().__init__(in_features, units, bias)
        self.turn = nn.Parameter(torch.linalg.qr(torch.randn(units, units))[0])
        self.register_buffer("phase", torch.zeros(3, dtype=torch.complex64))
        self.register_buffer("code", torch.zeros(3, dtype=torch.float8_e4m3fn))
        self.register_buffer("count", torch.zeros((), dtype=torch.uint16))

    def reset_parameters(self):
        with torch.no_grad():
            self.turn.copy_(torch.eye(len(self.turn)))

    def forward(self, x):
        return super().forward(x) @ self.turn.to(x.dtype)


class Heavy(Gated):
    def __init__(self, in_features, units, bias=True):
        super().__init__(in_features, units, bias)
        self.register_buffer("phase", torch.zeros(3, dtype=torch.complex128))


class Renamed(Gated):
    def __init__(self, in_features, units, bias=True):
        super().__init__(in_features, units, bias)
        self.content = self.value
        del self.value

    def forward(self, x):
        return torch.sigmoid(self.gate(x)) * self.content(x)


class Pooled(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, keys):
        total = segment_sum(keys.values, keys.rows(), keys.num_rows)
        lengths = keys.lengths.clamp(min=1)
        if self.mode == "padded" and len(lengths):
            lengths = lengths.max().expand(len(lengths))
        return total / lengths.unsqueeze(-1)
"""


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with blocks, importable from the working directory."""
    name = f"blocks_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(BLOCKS.replace("LAYERS", f"layers_{name}"))
    (tmp_path / f"layers_{name}.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def report(capsys, *words: str) -> tuple[int, dict]:
    status = main(["check-block", *words, "--format", "json"])
    return status, json.loads(capsys.readouterr().out)


def findings(told: dict, status: str) -> dict[str, str]:
    return {f["check"]: f["why"] for f in told["findings"] if f["status"] == status}


def test_a_sound_block_passes(blocks: str, capsys) -> None:
    status, told = report(capsys, f"{blocks}:Gated", "--param", "units=8")
    assert status == 0 and told["passed"]
    assert told["parameters"] == {"units": 8, "bias": True}
    assert told["inputs"] == "x [B, 6]" and told["outputs"] == ["[B, 8]"]
    assert set(findings(told, "ok")) == {*CHECKS, "also"} - {"padding", "kernels"}
    assert findings(told, "skipped") == {
        "padding": "it reads no history",
        "kernels": "torch is its only kernel",
    }
    # infer accepts a history too, which an ordinary layer can't read: told, but no failure.
    assert "refuse it in infer" in findings(told, "remark")["also"]


def test_parameters_that_are_needed_are_guessed(blocks: str, capsys) -> None:
    assert main(["check-block", f"{blocks}:Gated"]) == 0
    out, err = capsys.readouterr()
    assert "guessed: --param units=4" in err
    assert "gated   units=4" in out.splitlines()[0]
    assert "ok       gradients" in out


@pytest.mark.parametrize(
    ("name", "check", "said"),
    [
        ("Mixing", "rows", "alone gives another result"),
        ("Wrong", "gradients", "`x`, `gate.weight`"),
        ("Writing", "inputs", "writes into its input `x`"),
        ("Unreset", "reset", "no reset_parameters() draws scale"),
        ("Growing", "keys", "two layers, two state_dicts"),
        ("Unsafe", "batches", "not finite"),
        ("Widened", "shapes", "infer gives [B, 5], at 83 rows that is [83, 5]"),
        ("Objects", "arguments", "args: `bias` is <object"),
        ("Other", "kernels", "the state_dict of kernel fast is not that of torch"),
        ("Heavy", "checkpoint", "can't hold `phase`: its type is complex128"),
        ("Slow", "kernels", "kernel fast differs from torch: output 0 is off by"),
    ],
)
def test_every_mistake_is_told(blocks: str, name: str, check: str, said: str, capsys) -> None:
    status, told = report(capsys, f"{blocks}:{name}", "--param", "units=4")
    assert status == 2 and not told["passed"]
    assert said in findings(told, "FAILED")[check]


def test_a_kernel_like_torch_passes(blocks: str, capsys) -> None:
    status, told = report(capsys, f"{blocks}:Same", "--param", "units=4")
    assert status == 0
    assert "kernels" in findings(told, "ok")


def test_weights_of_any_layout_and_buffers_of_rare_types_pass(blocks: str, capsys) -> None:
    status, told = report(capsys, f"{blocks}:Turned", "--param", "units=4")
    assert status == 0, findings(told, "FAILED")
    assert {"updates", "checkpoint"} <= findings(told, "ok").keys()


def test_updates_that_pair_weights_with_others_are_told(
    blocks: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients row by row under a weight that lies column by column: what fused kernels misread."""
    monkeypatch.setattr(dense_optimizers, "_like", lambda parameter, grad: grad.contiguous())
    monkeypatch.setattr(
        dense_optimizers, "_line", lambda tensor: tensor.as_strided((tensor.numel(),), (1,))
    )
    status, told = report(capsys, f"{blocks}:Turned", "--param", "units=4")
    assert status == 2
    assert "changes `turn` (strides [1, 4]) otherwise" in findings(told, "FAILED")["updates"]


def test_histories(blocks: str, capsys) -> None:
    status, told = report(capsys, f"{blocks}:Pooled")
    assert status == 0 and told["inputs"] == "keys [B, L, 6]"
    assert "padding" in findings(told, "ok")
    status, told = report(capsys, f"{blocks}:Pooled", "--param", "mode=padded")
    assert status == 2
    assert "padding is counted" in findings(told, "FAILED")["padding"]


def test_built_in_blocks_by_name(capsys) -> None:
    status, told = report(capsys, "epnet", "--stops-gradients", "--input", "domain=B,3")
    assert status == 0 and told["inputs"] == "x [B, 6], domain [B, 3]"
    status, told = report(capsys, "epnet")
    assert status == 2 and "--stops-gradients" in findings(told, "FAILED")["gradients"]
    status, told = report(capsys, "weighted_sum")
    assert status == 0 and told["inputs"] == "weights [B, 4, 1], values [B, 4, 6]"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing_of:Mine"], "GR305", "can't be imported"),
        (["graphrec.nn:MLP"], "GR305", "no Block, Loss or Metric class"),
        (["mpl"], "GR305", "no block, loss, metric or activation `mpl`"),
        (["mlp"], "GR202", "needs hidden"),
        (["linear", "--param", "ouut=3"], "GR202", "ouut"),
        (["linear", "--input", "y=B,3"], "GR302", "no port `y`"),
        (["fm", "--input", "fields=B,3"], "GR501", "infer accepts none"),
        (["fm", "--input", "fields=3"], "GR001", "is no shape"),
        (["fm", "--param", "fields"], "GR001", "expected NAME=VALUE"),
        (["din", "--longest", "0"], "GR001", "--longest"),
    ],
)
def test_what_can_not_be_checked(words: list[str], code: str, said: str, capsys) -> None:
    status, told = report(capsys, *words)
    assert status == 2
    assert [p["code"] for p in told["problems"]][0] == code
    assert said in told["problems"][0]["message"] + told["problems"][0]["help"]


def test_guesses_are_legal() -> None:
    for kind in BUILTIN.primitives.values():
        guess = guessed_parameters(kind, {})
        required = set(kind.model_json_schema().get("required", ()))
        assert guess.keys() == required - {"outputs"}  # a map is anybody's guess


def test_shapes_are_read() -> None:
    assert parse_shape("[B, 4, 8]").dims == ("B", 4, 8)
    for text in ("", "B", "8", "B,0", "B,x", "L,B"):
        with pytest.raises(ValueError, match="is no shape"):
            parse_shape(text)
