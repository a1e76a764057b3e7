"""The compiled kernel of the tables against torch's operators, and what happens without it."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graphrec.nn import native
from graphrec.nn.embedding import Embeddings
from graphrec.nn.native import RULES, RowKernel, compiled
from graphrec.nn.tables import Lookup, Table
from graphrec.recipe.training import Optimizer
from graphrec.train.table_optimizers import Change, RowOptimizer, update_rows

BETAS = (0.9, 0.999)


@pytest.fixture
def kernel() -> RowKernel:
    found = native.kernel()
    if not isinstance(found, RowKernel):
        pytest.skip(f"no native kernel: {found}")
    return found


@pytest.fixture
def anew() -> Iterator[None]:
    """Let a test look for the kernel under other circumstances."""
    forget()
    yield
    forget()


def forget() -> None:
    compiled.library.cache_clear()
    native.kernel.cache_clear()


def draw(count: int, rows: int, dim: int) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """A table and three batches of rows with gradients; half of the rows are among the first 5."""
    seeded = torch.Generator().manual_seed(count * 100 + dim)
    weight = torch.randn(rows, dim, generator=seeded)
    batches = []
    for _ in range(3):
        chosen = torch.randint(0, rows, (count,), generator=seeded)
        chosen[::2] = torch.randint(0, min(5, rows), ((count + 1) // 2,), generator=seeded)
        batches.append((chosen, torch.randn(count, dim, generator=seeded)))
    return weight, batches


def run(
    asked: str, rule: str, weight: Tensor, batches: list[tuple[Tensor, Tensor]]
) -> list[Tensor]:
    weight = weight.clone()
    optimizer = RowOptimizer(weight, Optimizer(name=rule, eps=1e-6), asked)
    for step, (rows, grads) in enumerate(batches, start=1):
        optimizer.update(rows, grads, 0.05, 0.01, step)
    return [weight, *optimizer.slots.values()]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("count", "rows", "dim"),
    [
        (0, 9, 4),
        (1, 1, 1),
        (7, 100, 3),
        (600, 50, 16),
        (5000, 3000, 8),
        (3000, 7, 32),
        (999, 40, 70),
    ],
)
def test_updates_equal_those_of_torch(
    kernel: RowKernel, rule: str, count: int, rows: int, dim: int
) -> None:
    weight, batches = draw(count, rows, dim)
    mine, theirs = run("native", rule, weight, batches), run("torch", rule, weight, batches)
    for one, two in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("count", "rows", "dim"), [(600, 50, 16), (5000, 3000, 1), (999, 40, 70)])
def test_updates_of_bfloat16_equal_those_of_torch(
    kernel: RowKernel, rule: str, count: int, rows: int, dim: int
) -> None:
    """A sum in another order may fall to the other side of a rounding: one unit in the last place."""
    weight, batches = draw(count, rows, dim)
    batches = [(chosen, grads.bfloat16()) for chosen, grads in batches[:1]]
    mine = run("native", rule, weight.bfloat16(), batches)
    theirs = run("torch", rule, weight.bfloat16(), batches)
    assert mine[0].dtype == torch.bfloat16
    apart = (mine[0] != theirs[0]).float().mean()
    assert apart < 1e-3
    torch.testing.assert_close(mine[0], theirs[0], rtol=1 / 128, atol=1e-6)
    for one, two in zip(mine[1:], theirs[1:], strict=True):
        torch.testing.assert_close(one, two, rtol=2e-5, atol=1e-6)


def test_bfloat16_is_rounded_to_nearest_even(kernel: RowKernel) -> None:
    """w - (w - x) for numbers between two bfloat16, ties, extremes, infinities and NaN."""
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) * 10
    ties = (torch.arange(1000, dtype=torch.int32) * 65_536 + 0x3F808000).view(torch.float32)
    special = torch.tensor([0.0, -0.0, 3.4e38, -3.4e38, float("inf"), float("nan"), 1e-40])
    values = torch.cat([values, ties, special])[:, None]
    weight = torch.zeros(len(values), 1, dtype=torch.bfloat16)
    grads = torch.full((len(values), 1), -1.0, dtype=torch.bfloat16)
    for row in (0, 20_000, 20_900, 21_000, 21_002, 21_003, 21_004, 21_005, 21_006):
        step = native.TableStep(weight, [], grads, values[row].item(), 0.0)
        kernel.update(
            "sgd", torch.tensor([row]), [step._replace(grads=grads[:1])], eps=0, betas=BETAS
        )
        assert torch.equal(weight[row].isnan(), values[row].isnan())
        assert values[row].isnan() or weight[row] == values[row].bfloat16()


@pytest.mark.parametrize("rule", RULES)
def test_tables_updated_together_are_those_updated_alone(kernel: RowKernel, rule: str) -> None:
    """Widths 16 and 1 and a bfloat16 table at the same rows, a table at other rows."""
    weight, batches = draw(3000, 2000, 16)
    settings = Optimizer(name=rule, eps=1e-6)
    other = (batches[0][0] + 1) % 2000
    found = []
    for together in (True, False):
        tables = [weight.clone(), weight[:, :1].clone(), weight.bfloat16(), weight.clone()]
        optimizers = [RowOptimizer(table, settings) for table in tables]
        for step, (rows, grads) in enumerate(batches, start=1):
            given = [(rows, grads), (rows.clone(), grads[:, :1]), (rows, grads), (other, grads)]
            changes = [
                Change(
                    one,
                    torch.sparse_coo_tensor(
                        r[None], g.to(one.weight.dtype), one.weight.shape, check_invariants=False
                    ),
                    0.05 * (place + 1),
                    0.01 * place,
                )
                for place, (one, (r, g)) in enumerate(zip(optimizers, given, strict=True))
            ]
            for part in [changes] if together else [[change] for change in changes]:
                update_rows(part, step)
        found.append([*tables, *(slot for one in optimizers for slot in one.slots.values())])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("rule", RULES)
def test_the_number_of_threads_changes_nothing(kernel: RowKernel, rule: str) -> None:
    weight, batches = draw(20_000, 5000, 16)
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(run("native", rule, weight, batches))
    torch.set_num_threads(2)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [1, 3, 8, 16, 20, 32, 64])
def test_gather(kernel: RowKernel, dim: int, dtype: torch.dtype) -> None:
    weight, batches = draw(777, 50, dim)
    weight, rows = weight.to(dtype), batches[0][0]
    assert torch.equal(kernel.gather(weight, rows), weight[rows].float())


def test_rows_of_several_columns(kernel: RowKernel) -> None:
    ids = [torch.arange(200) % 3, torch.arange(400)[::2] % 5]  # the second is not contiguous
    first, end = torch.tensor([10, 20]), torch.tensor([13, 25])
    rows, wrong = kernel.rows(ids, first, end)
    assert wrong == -1 and torch.equal(rows, torch.stack(ids, dim=1) + first)
    assert kernel.rows(ids, first, torch.tensor([13, 24]))[1] == 1
    assert kernel.rows([ids[0] - 1, ids[1]], first, end)[1] == 0


def test_kernels_train_the_same_model(kernel: RowKernel) -> None:
    outputs = {}
    for asked in ("native", "torch"):
        module = Embeddings([Table("t", rows=40, dim=16)], [Lookup("a", "t"), Lookup("b", "t")])
        module.reset(0)
        module.kernel = asked
        x = {"a": torch.arange(40), "b": torch.arange(40) % 7}
        out = module(x).concat(["a", "b"])
        out.square().sum().backward()
        outputs[asked] = (out.detach(), module.packed_16.grad.to_dense())
    for one, two in zip(outputs["native"], outputs["torch"], strict=True):
        torch.testing.assert_close(one, two)


def test_an_update_is_seen_by_autograd(kernel: RowKernel) -> None:
    weight, batches = draw(10, 20, 4)
    before = weight._version
    RowOptimizer(weight, Optimizer(name="sgd"), "native").update(*batches[0], 0.1, 0.0, 1)
    assert weight._version > before


def test_why_a_table_has_no_kernel(monkeypatch: pytest.MonkeyPatch, anew: None) -> None:
    assert native.choose("torch", torch.zeros(2, 2)) == (None, "")
    assert native.choose("auto", torch.zeros(2, 2, device="meta"))[1] == "the table is on meta"
    assert native.choose("auto", torch.zeros(2, 2).half())[1] == "the table is stored as float16"
    assert "contiguous" in native.choose("auto", torch.zeros(2, 2).T[:1])[1]
    monkeypatch.setenv("GRAPHREC_NATIVE", "0")
    with pytest.raises(RuntimeError, match="no native kernel for tables: switched off"):
        native.choose("native", torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("there-is-no-such-compiler", "no C++ compiler"), ("false", "false could not compile it")],
)
def test_without_a_compiler_torch_does_the_work(
    monkeypatch: pytest.MonkeyPatch, anew: None, tmp_path: Path, compiler: str, reason: str
) -> None:
    (tmp_path / "false").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "false").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("GRAPHREC_CACHE", str(tmp_path))
    found, why = native.choose("auto", torch.zeros(2, 2))
    assert found is None and reason in why
    weight, batches = draw(10, 20, 4)
    expected = run("torch", "adagrad", weight, batches)
    assert all(
        torch.equal(*pair)
        for pair in zip(run("auto", "adagrad", weight, batches), expected, strict=True)
    )


def test_it_is_compiled_once_and_leaves_nothing_else(
    kernel: RowKernel, monkeypatch: pytest.MonkeyPatch, anew: None, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRAPHREC_CACHE", str(tmp_path / "new"))
    assert isinstance(native.kernel(), RowKernel)
    (library,) = (tmp_path / "new").iterdir()
    made = library.stat().st_mtime_ns
    forget()
    assert isinstance(native.kernel(), RowKernel)
    assert library.stat().st_mtime_ns == made and library.suffix == ".so"


@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_processors_without_avx512(
    processor: str, kernel: RowKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source has no instruction of its own: built for older processors it does the same."""
    if platform.machine() != "x86_64":
        pytest.skip("needs an x86-64 processor")
    library = tmp_path / f"{processor}.so"
    sources = map(str, compiled.SOURCES)
    command = ["g++", *compiled.FLAGS, f"-march={processor}", *sources, "-o", str(library)]
    subprocess.run(command, check=True)
    plain = RowKernel(ctypes.CDLL(str(library)))
    weight, batches = draw(300, 40, 16)
    for rule in RULES:
        for narrow in (torch.float32, torch.bfloat16):
            given = weight.to(narrow)
            wanted = run("torch", rule, given, batches)
            with monkeypatch.context() as patched:
                patched.setattr(native, "kernel", lambda: plain)
                found = run("native", rule, given, batches)
            # three updates, each of which may round the other way
            near = (1 / 64, 2e-2) if narrow == torch.bfloat16 else (2e-5, 1e-6)
            torch.testing.assert_close(found, wanted, rtol=near[0], atol=near[1])
