"""`TritonSelfAttention` and its operator in an ordinary process: no GPU, no interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.library import opcheck

from graphrec.blocks import SelfAttention as Declared
from graphrec.kernels import TritonSelfAttention
from graphrec.kernels.ops.jagged_attention import jagged_attention, jagged_attention_backward
from graphrec.nn.attention import SelfAttention
from graphrec.nn.batch import Jagged

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import near_on_a_gpu, results, twins

LENGTHS = torch.tensor([0, 3, 1, 0, 4, 0])
OFFSETS = torch.tensor([0, 0, 3, 4, 4, 8, 8])


def layers(*args, **options):
    return twins(TritonSelfAttention, SelfAttention, *args, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"positions": 2}, {"skip": True}, {"norm": True}, {"pool": "none", "skip": True}],
)
@pytest.mark.parametrize("heads", [1, 3])
def test_the_same_as_self_attention(heads, options) -> None:
    twin, plain = layers(6, 6, heads, **options)
    for values, lengths in ((torch.randn(8, 6), LENGTHS), (torch.randn(5, 3, 6), None)):
        given = values if lengths is None else Jagged(values, lengths)
        ours, wanted = (results(module, given) for module in (twin, plain))
        for a, b in zip(ours, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_many_rows_and_wide_heads() -> None:
    torch.manual_seed(0)
    lengths = torch.randint(0, 7, (150,))
    for width in (4, 132):
        twin, plain = layers(5, width, 1)
        steps = Jagged(torch.randn(int(lengths.sum()), 5), lengths)
        torch.testing.assert_close(twin(steps), plain(steps), rtol=1e-4, atol=1e-5)


def test_no_rows_and_no_steps() -> None:
    twin, _ = layers(5, 4, 2)
    assert twin(Jagged(torch.empty(0, 5), LENGTHS[:0])).shape == (0, 4)
    assert torch.equal(twin(Jagged(torch.empty(0, 5), 0 * LENGTHS)), torch.zeros(6, 4))


def projected(dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    return [torch.randn(8, 6, dtype=dtype, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operators_keep_torchs_rules(dtype) -> None:
    inputs = projected(dtype)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    if dtype == torch.float32:
        tests = (*tests, "test_aot_dispatch_dynamic")
    opcheck(jagged_attention, (*inputs, OFFSETS, 2), test_utils=tests)
    plain = [x.detach() for x in inputs]
    out, norm = jagged_attention(*plain, OFFSETS, 2)
    assert out.dtype == dtype and norm.dtype == torch.float32 and norm.shape == (2, 8)
    opcheck(jagged_attention_backward, (torch.randn_like(out), *plain, OFFSETS, out, norm, 2))


def test_gradients_by_differences() -> None:
    inputs = projected(torch.float64)
    assert torch.autograd.gradcheck(lambda *x: jagged_attention(*x, OFFSETS, 2)[0], inputs)


def test_a_nan_stays_in_its_row() -> None:
    q, k, v = (x.detach() for x in projected())
    v[1] = float("nan")
    y, _ = jagged_attention(q, k, v, OFFSETS, 2)
    assert y[:3].isnan().all() and y[3:].isfinite().all()


def test_wrong_arguments() -> None:
    q, k, v = projected()
    with pytest.raises(ValueError, match=r"\(8, 6\) .* \(7, 6\) .* one shape and type"):
        jagged_attention(q, k[:7], v, OFFSETS, 2)
    with pytest.raises(ValueError, match="needs one shape and type"):
        jagged_attention(q, k.double(), v, OFFSETS, 2)
    with pytest.raises(ValueError, match="width 6 for 4 heads"):
        jagged_attention(q, k, v, OFFSETS, 4)
    with pytest.raises(ValueError, match=r"offsets \(7,\) torch.int32: needs int64"):
        jagged_attention(q, k, v, OFFSETS.int(), 2)


def test_compile() -> None:
    twin, _ = layers(6, 6, 2, positions=2, skip=True, norm=True)
    steps = Jagged(torch.randn(8, 6), LENGTHS)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(results(compiled, steps), results(twin, steps))


def test_export_with_any_number_of_steps() -> None:
    twin, plain = layers(6, 6, 2)
    rows, steps = (torch.export.Dim(name, min=2, max=4096) for name in ("rows", "steps"))
    shapes = ([{0: steps}, {0: rows}, None],)
    example = (Jagged(torch.randn(8, 6), LENGTHS),)
    program = torch.export.export(twin.eval(), example, dynamic_shapes=shapes)
    assert str(program.graph).count("graphrec.jagged_attention") == 1
    keys = Jagged(torch.randn(9, 6), torch.tensor([4, 0, 5]))
    torch.testing.assert_close(program.module()(keys), plain(keys))


def test_meta_tensors() -> None:
    with torch.device("meta"):
        twin = TritonSelfAttention(6, 32, 2)
        values = torch.empty(200, 6, requires_grad=True)
        y = twin(Jagged(values, torch.empty(83, dtype=torch.int64)))
        y.sum().backward()
        assert y.shape == (83, 32)
        assert values.grad is not None and values.grad.shape == (200, 6)


@pytest.mark.parametrize(("width", "heads", "why"), [(512, 4, None), (264, 2, "132 is above 128")])
def test_the_kernel_is_for_heads_of_a_width(width, heads, why) -> None:
    kernel = Declared.kernel("triton")
    assert kernel is not None
    found = kernel.refusal(
        Declared(width=width, heads=heads), "cuda", "bf16", frozenset({"triton"})
    )
    assert found == (None if why is None else f"head_width {why}")


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("width", "heads"), [(128, 2), (36, 2), (128, 1)])
def test_on_a_gpu(width, heads, dtype) -> None:
    twin, plain = layers(32, width, heads)
    lengths = torch.randint(0, 200, (300,), device="cuda")
    steps = Jagged(torch.randn(int(lengths.sum()), 32, device="cuda"), lengths)
    near_on_a_gpu(twin, plain, [steps], dtype, limit=1e-4)


def test_with_dropout_it_trains_as_the_plain_layer() -> None:
    """No kernel drops weights of pairs: the twin drops those of the layer, from the same seed."""
    torch.manual_seed(0)
    ours, theirs = (kind(4, 8, 2, dropout=0.5) for kind in (TritonSelfAttention, SelfAttention))
    ours.load_state_dict(theirs.state_dict())
    steps = Jagged(torch.randn(5, 4), torch.tensor([3, 2]))
    torch.manual_seed(1)
    expected = theirs(steps)
    torch.manual_seed(1)
    torch.testing.assert_close(ours(steps), expected)
    kernels = Declared(width=8, heads=2, dropout=0.5).kernels["triton"]
    assert not isinstance(kernels, str) and kernels.allow["dropout"] == (0.0,)
