"""`TritonMLP` and its operator in an ordinary process: no GPU, no interpreter, the torch path."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from torch.library import opcheck

from graphrec.kernels import TritonMLP
from graphrec.kernels.ops.linear_act import linear_act, linear_act_backward
from graphrec.kernels.ops.reference import FROM_INPUT, FUSED
from graphrec.kernels.triton import tiles
from graphrec.nn.activations import ACTIVATIONS
from graphrec.nn.batch import Jagged
from graphrec.nn.dense import MLP

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import near_on_a_gpu, results, twins

ROOT = Path(__file__).parents[2]
each_act = pytest.mark.parametrize("act", FUSED)


def parts(dtype: torch.dtype = torch.float32, bias: bool = True):
    torch.manual_seed(0)
    shapes = [(5, 3), (4, 3), (4,)][: 2 + bias]
    tensors = [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]
    return (*tensors, None)[:3]


def layers(*args, **options):
    return twins(TritonMLP, MLP, *args, **options)


def same(twin, plain, x: torch.Tensor) -> None:
    """Outputs, all gradients and running statistics are equal, bit for bit."""
    both = [[*results(module, x), *module.buffers()] for module in (twin, plain)]
    for a, b in zip(*both, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("act", "norm"), [(a, n) for a, n in product(ACTIVATIONS, ("none", "batch", "layer"))]
)
def test_the_same_as_mlp(act, norm) -> None:
    same(*layers(6, [8, 5], act, norm, out=2), torch.randn(7, 6))


def test_the_same_with_other_options() -> None:
    same(*layers(6, [8, 5], "silu", dropout=[0.5, 0.1], bias=False), torch.randn(7, 6))
    same(*layers(6, [8, 5], "gelu"), torch.randn(3, 4, 6))
    twin, plain = layers(6, [8, 5], "relu", hidden_outputs=True)
    jagged = Jagged(torch.randn(5, 6), torch.tensor([2, 0, 3]))
    for a, b in zip(twin(jagged), plain(jagged), strict=True):
        assert a.lengths is jagged.lengths
        assert torch.equal(a.values, b.values)


@each_act
@pytest.mark.parametrize("bias", [True, False])
def test_the_operator_keeps_torchs_rules(act, bias) -> None:
    x, weight, b = parts(bias=bias)
    opcheck(linear_act, (x, weight, b, act, True))
    y, z = (t.detach() for t in linear_act(x, weight, b, act, True))
    kept = z if act in FROM_INPUT else y
    for needs in ((True, True, True), (False, True, bias), (True, False, False)):
        inputs = (torch.randn_like(y), x.detach(), weight.detach(), kept, act, *needs)
        opcheck(linear_act_backward, inputs)


@each_act
def test_gradients_by_differences(act) -> None:
    inputs = parts(torch.float64)
    assert torch.autograd.gradcheck(lambda *args: linear_act(*args, act, True)[0], inputs)


def test_nothing_is_kept_without_a_gradient() -> None:
    x, weight, bias = parts()
    with torch.no_grad():
        assert linear_act(x, weight, bias, "silu", False)[1].numel() == 0
    with pytest.raises(RuntimeError, match="a gradient through `silu` needs save=True"):
        linear_act(x, weight, bias, "silu", False)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"act": "dice"}, "no activation `dice`; it has gelu, leaky_relu"),
        ({"x": torch.randn(5, 2)}, r"x \(5, 2\) and weight \(4, 3\)"),
        ({"x": torch.randn(2, 5, 3)}, r"x \(2, 5, 3\) and weight"),
        ({"bias": torch.randn(3)}, r"bias \(3,\), weight \(4, 3\)"),
        ({"x": torch.randn(5, 3).double()}, "x is torch.float64, weight torch.float32"),
    ],
)
def test_wrong_arguments(changed, said) -> None:
    x, weight, bias = parts()
    arguments = {"x": x, "weight": weight, "bias": bias, "act": "relu", "save": True} | changed
    with pytest.raises(ValueError, match=said):
        linear_act(**arguments)


def test_compile() -> None:
    twin, _ = layers(6, [8, 4], "silu")
    x = torch.randn(5, 6)
    compiled = torch.compile(twin, fullgraph=True)
    torch.testing.assert_close(compiled(x), twin(x))
    ours, plain = (
        torch.autograd.grad(module(x).square().sum(), list(twin.parameters()))
        for module in (compiled, twin)
    )
    torch.testing.assert_close(ours, plain)


def test_export_with_any_number_of_rows(tmp_path) -> None:
    twin, plain = layers(6, [8, 4], "gelu", out=1)
    rows = torch.export.Dim("rows", min=2, max=4096)
    program = torch.export.export(twin.eval(), (torch.randn(5, 6),), dynamic_shapes=({0: rows},))
    assert "graphrec.linear_act" in str(program.graph)
    torch.export.save(program, tmp_path / "mlp.pt2")
    x = torch.randn(37, 6)
    loaded = torch.export.load(tmp_path / "mlp.pt2").module()
    torch.testing.assert_close(loaded(x), plain(x))


def test_meta_tensors() -> None:
    with torch.device("meta"):
        twin = TritonMLP(6, [8, 4], "silu")
        x = torch.empty(83, 6, requires_grad=True)
        y = twin(x)
        y.sum().backward()
    assert y.shape == (83, 4)
    assert x.grad is not None and x.grad.shape == (83, 6)


def test_autocast() -> None:
    twin, plain = layers(6, [8, 4], "relu")
    x = torch.randn(5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, wanted = twin(x), plain(x)
    assert y.dtype == wanted.dtype == torch.bfloat16
    assert torch.equal(y, wanted)


def test_the_interpreter_is_asked_for_wholly(monkeypatch) -> None:
    monkeypatch.setenv("GRAPHREC_KERNELS", "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RuntimeError, match="only with TRITON_INTERPRET=1"):
        linear_act(*parts(), "relu", True)


def test_there_is_a_tile_for_everything() -> None:
    for itemsize in tiles.FORWARD:
        for rows, columns in product((1, 64, 65, 4096, 1 << 20), (16, 32, 48, 64, 4096)):
            chosen = tiles.forward_tile(rows, columns, itemsize)
            assert chosen in tiles.every_tile(tiles.FORWARD, itemsize)
            programs = -(-rows // chosen.rows) * -(-columns // chosen.columns)
            assert chosen.rows <= 16 or programs >= tiles.ENOUGH
        assert tiles.slope_tile(itemsize) is tiles.SLOPE[itemsize]
    assert tiles.forward_tile(64, 64, 8) is tiles.SMALL
    assert tiles.forward_tile(4096, 256, 2)[:2] == (64, 128)
    assert tiles.forward_tile(1024, 256, 2)[:2] == (16, 64)
    assert tiles.forward_tile(1024, 256, 2, times=8)[:2] == (128, 128)
    assert tiles.forward_tile(1 << 16, 256, 4)[:2] == (128, 128)


WITHOUT_TRITON = """
import sys, warnings

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "triton":
            raise ModuleNotFoundError("No module named 'triton'", name="triton")

if sys.argv[1] == "blocked":
    sys.meta_path.insert(0, Blocker())
import torch
from graphrec.kernels import TritonMLP, route
mlp = TritonMLP(6, [8, 4], "silu")
mlp(torch.randn(5, 6)).sum().backward()
assert all(p.grad is not None for p in mlp.parameters())
# torch looks for triton itself; what counts is that our kernels were not loaded.
print([name for name in sys.modules if name.startswith("graphrec.kernels.triton")])
if sys.argv[1] == "blocked":
    # What a CUDA tensor would be told.
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert route._if_installed("linear_act") is None
    print(told[0].message)
"""


def run_without_triton(how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRITON, how],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "GRAPHREC_KERNELS"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_triton_is_not_needed() -> None:
    assert run_without_triton("blocked") == [
        "[]",
        "linear_act runs in plain torch: No module named 'triton'",
    ]


def test_the_kernels_are_not_loaded_where_they_are_not_used() -> None:
    assert run_without_triton("free") == ["[]"]


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@each_act
def test_on_a_gpu(act, dtype) -> None:
    near_on_a_gpu(*layers(45, [100, 64], act), [torch.randn(300, 45, device="cuda")], dtype)
