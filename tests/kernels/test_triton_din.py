"""`TritonDIN` and its operators in an ordinary process: no GPU, no interpreter, the torch path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.library import opcheck

from graphrec.kernels import TritonDIN
from graphrec.kernels.ops.reference import FROM_INPUT, FUSED
from graphrec.kernels.ops.segments import jagged_softmax_sum, jagged_softmax_sum_backward
from graphrec.kernels.ops.step_linear import step_linear_act, step_linear_act_backward
from graphrec.kernels.ops.target_attention import target_attention, target_attention_backward
from graphrec.kernels.triton import attention_tiles
from graphrec.nn.batch import Jagged
from graphrec.nn.sequence import DIN

sys.path.insert(0, str(Path(__file__).resolve().parent))
from twins import near_on_a_gpu, results, twins

LENGTHS = torch.tensor([0, 3, 1, 0, 4])
each_act = pytest.mark.parametrize("act", ["relu", "silu", "none"])


def inputs(query, values, lengths=LENGTHS):
    return query, values if lengths is None else Jagged(values, lengths)


def same(twin, plain, query, values, lengths=LENGTHS) -> None:
    given = inputs(query, values, lengths)
    for a, b in zip(results(twin, *given), results(plain, *given), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("act", [*FUSED, "dice", "prelu", "leaky_relu(0.2)"])
@pytest.mark.parametrize("hidden", [[8], [70], [8, 5]])
def test_the_same_as_din(act, hidden) -> None:
    same(*twins(TritonDIN, DIN, 4, 6, hidden, act), torch.randn(5, 4), torch.randn(8, 6))


@pytest.mark.parametrize(
    "options", [{"norm": "layer"}, {"norm": "batch"}, {"dropout": 0.3}, {"bias": False}]
)
def test_the_same_with_other_options(options) -> None:
    same(
        *twins(TritonDIN, DIN, 6, 6, [8, 5], "silu", **options),
        torch.randn(5, 6),
        torch.randn(8, 6),
    )
    same(
        *twins(TritonDIN, DIN, 6, 6, [8], "silu", **options),
        torch.randn(5, 6),
        torch.randn(5, 3, 6),
        None,
    )


def test_one_history_for_all_queries() -> None:
    twin, plain = twins(TritonDIN, DIN, 6, 6, [8])
    query, steps = torch.randn(5, 6), Jagged(torch.randn(4, 6), torch.tensor([4]))
    torch.testing.assert_close(twin.eval()(query, steps), plain.eval()(query, steps))


def split(dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    shapes = (5, 4), (5, 3), (8, 4), (3, 4), (3, 4), (3,), (1,)
    tensors = [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]
    tensors.insert(3, torch.tensor([0, *LENGTHS.cumsum(0)]))
    return tensors


@each_act
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operators_keep_torchs_rules(act, dtype) -> None:
    tensors = split(dtype)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    if dtype == torch.float32:
        tests = (*tests, "test_aot_dispatch_dynamic")
    opcheck(target_attention, (*tensors, act), test_utils=tests)
    opcheck(step_linear_act, (*tensors[:6], act, True), test_utils=tests)
    plain = [t.detach() for t in tensors]
    scores = torch.randn(8, dtype=dtype, requires_grad=True)
    opcheck(jagged_softmax_sum, (scores, *tensors[2:4]), test_utils=tests)
    out, norm = target_attention(*plain, act)
    for need in (True, False):
        inputs = (torch.randn_like(out), *plain, out, norm, act, need)
        opcheck(target_attention_backward, inputs)
    sums = jagged_softmax_sum(scores.detach(), *plain[2:4])
    grad = torch.randn_like(sums[0])
    opcheck(jagged_softmax_sum_backward, (grad, scores.detach(), *plain[2:4], *sums))
    y, z = step_linear_act(*plain[:6], act, True)
    kept = z if act in FROM_INPUT else y
    opcheck(step_linear_act_backward, (torch.randn_like(y), *plain[:6], kept, act))


@each_act
def test_gradients_by_differences(act) -> None:
    tensors = split(torch.float64)
    assert torch.autograd.gradcheck(lambda *t: target_attention(*t, act)[0], tensors)
    assert torch.autograd.gradcheck(lambda *t: step_linear_act(*t, act, True)[0], tensors[:6])


def test_wrong_arguments() -> None:
    tensors = split()
    with pytest.raises(
        ValueError, match="no activation `dice`; it has gelu, leaky_relu, none, relu"
    ):
        target_attention(*tensors, "dice")
    with pytest.raises(ValueError, match=r"part \(5, 3\), needs \(4, 3\)"):
        target_attention(tensors[0][:4], *tensors[1:], "relu")
    with pytest.raises(ValueError, match="query is torch.float64, needs torch.float32"):
        step_linear_act(tensors[0].double(), *tensors[1:6], "relu", True)
    with pytest.raises(ValueError, match=r"scores \(5,\) and values \(8, 4\)"):
        jagged_softmax_sum(torch.randn(5), *tensors[2:4])
    with pytest.raises(RuntimeError, match="a gradient through `silu` needs save=True"):
        step_linear_act(*tensors[:6], "silu", False)


@pytest.mark.parametrize("hidden", [[8], [8, 5]])
def test_compile(hidden) -> None:
    twin, _ = twins(TritonDIN, DIN, 4, 6, hidden, "silu")
    query, values = torch.randn(5, 4), torch.randn(8, 6)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    ours, wanted = (results(module, *inputs(query, values)) for module in (compiled, twin))
    torch.testing.assert_close(ours, wanted)


@pytest.mark.parametrize(
    ("hidden", "names"),
    [([8], ["target_attention"]), ([8, 5], ["step_linear_act", "jagged_softmax_sum"])],
)
def test_export_with_any_number_of_steps(hidden, names) -> None:
    twin, plain = twins(TritonDIN, DIN, 4, 6, hidden, "gelu")
    rows, steps = torch.export.Dim("rows", min=2, max=512), torch.export.Dim("steps", min=2)
    shapes = ({0: rows}, [{0: steps}, {0: rows}, None])
    example = torch.randn(5, 4), Jagged(torch.randn(8, 6), LENGTHS)
    program = torch.export.export(twin.eval(), example, dynamic_shapes=shapes)
    assert all(f"graphrec.{name}" in str(program.graph) for name in names)
    query, keys = torch.randn(3, 4), Jagged(torch.randn(9, 6), torch.tensor([4, 0, 5]))
    torch.testing.assert_close(program.module()(query, keys), plain(query, keys))


def test_meta_tensors() -> None:
    with torch.device("meta"):
        for hidden in ([8], [8, 5]):
            twin = TritonDIN(4, 6, hidden)
            query = torch.empty(83, 4, requires_grad=True)
            lengths = torch.empty(83, dtype=torch.int64)
            y = twin(query, Jagged(torch.empty(200, 6), lengths))
            y.sum().backward()
            assert y.shape == (83, 6)
            assert query.grad is not None and query.grad.shape == (83, 4)


def test_small_batches_take_fewer_rows_a_program() -> None:
    rows = [attention_tiles.rows_of_program(n) for n in (1, 1000, 2048, 4096, 8192, 100_000)]
    assert rows == [1, 1, 4, 8, 16, 16]


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("hidden", [[64], [256, 64]])
def test_on_a_gpu(hidden, dtype) -> None:
    twin, plain = twins(TritonDIN, DIN, 18, 64, hidden, "silu")
    lengths = torch.randint(0, 100, (300,), device="cuda")
    values = torch.randn(int(lengths.sum()), 64, device="cuda")
    given = [torch.randn(300, 18, device="cuda"), Jagged(values, lengths)]
    near_on_a_gpu(twin, plain, given, dtype, limit=1e-4)
