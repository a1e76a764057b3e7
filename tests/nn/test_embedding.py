"""Lookups: values, gradients, packing, checkpoints, hostile names, the meta device, export."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional

from graphrec.nn.batch import Jagged
from graphrec.nn.embedding import Embeddings
from graphrec.nn.tables import FIT, AutoDis, Column, Dense, Lookup, Table

DIM = 4
TABLES = [
    Table("item", rows=11, dim=DIM, init="normal(1)"),
    Table("user", rows=FIT, dim=DIM, init="normal(1)"),
    Table("still", rows=5, dim=DIM, init="normal(1)", trainable=False),
    Table("small", rows=5, dim=2, init="normal(1)"),
    Table("half", rows=5, dim=DIM, init="normal(1)", dtype="bf16"),
]
COLUMNS: list[Column] = [
    Lookup("item", table="item"),
    Lookup("bought", table="item"),
    Lookup("user", table="user"),
    Lookup("still", table="still"),
    Lookup("small", table="small"),
    Lookup("half", table="half"),
    Lookup("tags", table="item", pool="sum"),
    Lookup("means", table="user", pool="mean"),
    Lookup("weighed", table="user", pool="mean"),
    Lookup("halves", table="half", pool="mean"),
    Lookup("h.item", table="item", sequence=True),
    Lookup("h.user", table="user", sequence=True),
    Lookup("h.tags", table="item", pool="mean", sequence=True),
    Dense("h.price", sequence=True),
    Dense("price"),
    Dense("pair", width=2),
    Dense("age", dim=DIM, init="normal(1)"),
    Dense("wide", dim=DIM, width=3, init="normal(1)"),
    AutoDis("auto", dim=DIM, channels=3, temperature=0.5, skip=0.8),
]
ROWS = {"user": 7}
LENGTHS = torch.tensor([2, 0, 3])


def make(tables: list[Table] = TABLES, columns: list[Column] = COLUMNS) -> Embeddings:
    torch.manual_seed(3)
    return Embeddings(tables, columns, ROWS)


def features() -> dict[str, Tensor | Jagged]:
    """Three rows; lists of 2, 0 and 3 values, with duplicates."""
    five = torch.tensor([1, 4, 4, 0, 4])
    steps = Jagged(five, LENGTHS)
    of_steps = Jagged(torch.tensor([3, 3, 1, 10]), torch.tensor([1, 0, 2, 1, 0]))
    found: dict[str, Tensor | Jagged] = {
        "item": torch.tensor([10, 4, 4]),
        "bought": torch.tensor([0, 4, 9]),
        "user": torch.tensor([6, 0, 6]),
        "still": torch.tensor([1, 1, 4]),
        "small": torch.tensor([4, 4, 0]),
        "half": torch.tensor([4, 4, 0]),
        "tags": steps,
        "means": steps,
        "weighed": Jagged(five, LENGTHS, torch.tensor([1.0, 3.0, 0.0, 0.0, 0.0])),
        "halves": steps,
        "h.item": steps,
        "h.user": Jagged(torch.tensor([6, 5, 4, 3, 2]), LENGTHS),
        "h.tags": Jagged(of_steps, LENGTHS),  # type: ignore[arg-type]
        "h.price": Jagged(torch.arange(5.0)[:, None], LENGTHS),
    }
    widths = {"price": 1, "pair": 2, "age": 1, "wide": 3, "auto": 1}
    torch.manual_seed(5)
    return found | {name: torch.randn(3, width) for name, width in widths.items()}


def pooled(weight: Tensor, values: Jagged, mean: bool) -> Tensor:
    """Pooling written as a loop over rows."""
    out, start = [], 0
    for length in values.lengths.tolist():
        ids = values.values[start : start + length]
        factors = (
            torch.ones(length) if values.weights is None else values.weights[start : start + length]
        )
        total = (weight[ids] * factors[:, None]).sum(0)
        out.append(total / factors.sum() if mean and factors.sum() > 0 else total)
        start += length
    return torch.stack(out)


def expected(state: dict[str, Tensor], x: dict[str, Any]) -> dict[str, Tensor]:
    """Every column by plain indexing of the checkpoint's tensors."""
    item, user = state["item.weight"], state["user.weight"]
    half = state["half.weight"].float()
    h = functional.leaky_relu(x["auto"] * state["auto.w"])
    z = h @ state["auto.m"].T + 0.8 * h
    return {
        "item": item[x["item"]],
        "bought": item[x["bought"]],
        "user": user[x["user"]],
        "still": state["still.weight"][x["still"]],
        "small": state["small.weight"][x["small"]],
        "half": half[x["half"]],
        "tags": pooled(item, x["tags"], mean=False),
        "means": pooled(user, x["means"], mean=True),
        "weighed": pooled(user, x["weighed"], mean=True),
        "halves": pooled(half, x["halves"], mean=True),
        "h.item": item[x["h.item"].values],
        "h.user": user[x["h.user"].values],
        "h.tags": pooled(item, x["h.tags"].values, mean=True),
        "h.price": x["h.price"].values,
        "price": x["price"],
        "pair": x["pair"],
        "age": x["age"] * state["age.weight"],
        "wide": x["wide"] @ state["wide.weight"],
        "auto": torch.softmax(z / 0.5, dim=-1) @ state["auto.meta"],
    }


@pytest.mark.parametrize("kernel", ["auto", "torch"])
@pytest.mark.parametrize("grad", [True, False], ids=["training", "evaluation"])
def test_every_column_is_what_its_table_says(grad: bool, kernel: str) -> None:
    module, x = make(), features()
    module.kernel = kernel
    with torch.set_grad_enabled(grad):
        embedded = module(x)
    for name, values in expected(module.state_dict(), x).items():
        torch.testing.assert_close(embedded.concat([name]), values, msg=name)
        assert embedded.concat([name]).dtype == torch.float32


def test_gradients_equal_those_of_plain_indexing() -> None:
    module, x = make(), features()
    state = {k: v.detach().clone().requires_grad_() for k, v in module.state_dict().items()}
    theirs, mine = expected(state, x), module(x)
    for side in (theirs, {name: mine.concat([name]) for name in theirs}):
        # One column twice, so that gradients of two readers meet.
        total = sum((v.sin() * (i + 1)).sum() for i, v in enumerate(side.values()))
        (total + side["item"].square().sum()).backward()
    for piece in module.pieces:
        whole = module.get_parameter(piece.parameter).grad
        if piece.key == "still.weight":
            assert whole is None
            continue
        assert whole is not None
        found = whole.to_dense()[piece.start : piece.stop].view(piece.shape)
        wanted = state[piece.key].grad
        close = {"rtol": 0.02, "atol": 0.02} if piece.key.startswith("half") else {}
        torch.testing.assert_close(found, wanted.to(found.dtype), msg=piece.key, **close)


def test_the_gradient_of_a_table_is_sparse_over_the_rows_read() -> None:
    """The cost of a step must not grow with the table."""
    big = Embeddings(
        [Table("t", rows=1_000_000, dim=2)], [Lookup("a", table="t"), Lookup("b", table="t")]
    )
    big({"a": torch.tensor([1, 2, 2]), "b": torch.tensor([1, 0, 999_999])}).concat(
        ["a", "b"]
    ).sum().backward()
    grad = big.packed_2.grad
    assert grad.is_sparse and grad._nnz() == 6
    assert sorted(grad._indices()[0].tolist()) == [0, 1, 1, 2, 2, 999_999]


@pytest.mark.parametrize("kernel", ["auto", "torch"])
@pytest.mark.parametrize(
    "names",
    [
        ["item", "price", "h.item", "h.price"],
        ["bought", "user", "small", "half", "tags", "halves"],
        ["pair", "h.user", "h.tags", "wide"],
        ["still", "age", "auto"],
        ["means"],
    ],
    ids=lambda names: "-".join(names),
)
def test_a_part_of_the_columns(names: list[str], kernel: str) -> None:
    """A request has columns of the user only, its candidates have those of the items."""
    module, x = make(), features()
    module.kernel = kernel
    x["strange"] = x["item"]
    wanted = expected(module.state_dict(), x)
    part = {name: x[name] for name in [*names, "strange"]}
    for _ in range(2):  # the second time with the layout that was kept
        embedded = module(part, partial=True)
        for name in names:
            torch.testing.assert_close(embedded.concat([name]), wanted[name], msg=name)
    with pytest.raises(KeyError, match="`weighed` was not looked up; known here: "):
        embedded.concat(["weighed"])
    with pytest.raises(KeyError, match="the batch has no column"):
        module(part)
    embedded = module(x, partial=True)
    torch.testing.assert_close(embedded.concat(["age", "auto"]), module(x).concat(["age", "auto"]))


def test_gradients_of_a_part_of_the_columns() -> None:
    module, x = make(), features()
    names = ["user", "age", "bought"]
    module({name: x[name] for name in names}, partial=True).concat(names).sum().backward()
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    assert sorted(found) == ["packed_4", "vectors_4"]
    piece = {piece.key: piece for piece in module.pieces}["wide.weight"]
    assert not found["vectors_4"][piece.start : piece.stop].any()
    counts = found["packed_4"].to_dense()[:, 0]
    assert counts.tolist()[:11] == [1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("kernel", ["auto", "torch"])
def test_rows_read_by_two_collections_are_found_once(kernel: str) -> None:
    """First-order weights and embeddings of the same columns; other tables, other rows."""
    tables = [Table(t.name, rows=t.rows, dim=1, init="normal(1)") for t in TABLES[:2]]
    columns = [c for c in COLUMNS if isinstance(c, Lookup) and c.table in ("item", "user")]
    one = Embeddings([TABLES[0], TABLES[1]], columns, ROWS, kernel=kernel)
    two = Embeddings(tables, columns, ROWS, kernel=kernel)
    small = Embeddings(tables[1:], [c for c in columns if c.table == "user"], ROWS, kernel=kernel)
    x = features()
    embedded = one(x)
    again, alone = two(x, like=embedded), two(x)
    assert [again.parts[key] is part for key, part in embedded.parts.items()] == [True] * 6
    for column in columns:
        name = [column.column]
        assert torch.equal(again.concat(name), alone.concat(name))
        if column.table == "user":
            assert torch.equal(small(x, like=embedded).concat(name), small(x).concat(name))
    assert again.sequence("h", ["h.item"]).lengths is LENGTHS


def test_neighbours_are_views_and_answers_are_kept() -> None:
    module = make()
    embedded = module(features())
    both = embedded.concat(["bought", "item", "user"])
    assert (
        both.untyped_storage().data_ptr() == embedded.concat(["item"]).untyped_storage().data_ptr()
    )
    assert embedded.concat(("bought", "item", "user")) is both
    stacked = embedded.stack(["bought", "item", "user"])
    assert stacked.shape == (3, 3, DIM) and stacked.data_ptr() == both.data_ptr()
    swapped = embedded.concat(["item", "bought"])
    assert torch.equal(
        swapped, torch.cat([embedded.concat(["item"]), embedded.concat(["bought"])], dim=1)
    )


def test_shapes_of_sequences_values_and_lengths() -> None:
    embedded = make()(features())
    steps = embedded.sequence("h", ["h.item", "h.user", "h.price"])
    assert steps.values.shape == (5, 2 * DIM + 1) and steps.lengths is LENGTHS
    assert embedded.sequence("h", ["h.tags"]).lengths is LENGTHS
    assert embedded.steps("h").tolist() == [[2.0], [0.0], [3.0]]
    x = features()
    assert torch.equal(
        embedded.values(["price", "wide", "auto"]), torch.cat([x["price"], x["wide"], x["auto"]], 1)
    )


def test_all_tables_of_one_width_are_one_parameter() -> None:
    shapes = {name: tuple(p.shape) for name, p in make().named_parameters()}
    assert shapes["packed_4"] == (18, 4) and shapes["packed_2"] == (5, 2)
    assert shapes["frozen_4"] == (5, 4) and shapes["packed_4_bf16"] == (5, 4)


def test_checkpoints_have_one_tensor_a_table() -> None:
    one = make()
    state = load(save(one.state_dict()))
    assert state["user.weight"].shape == (7, DIM) and state["half.weight"].dtype == torch.bfloat16
    torch.manual_seed(99)
    two = Embeddings(TABLES, COLUMNS, ROWS)
    assert not torch.equal(two.state_dict()["item.weight"], state["item.weight"])
    two.load_state_dict(state)
    for key, value in two.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_loading_says_what_does_not_fit() -> None:
    state = make().state_dict()
    state["item.weight"] = state["item.weight"][:5]
    del state["age.weight"]
    state["strange.weight"] = torch.zeros(1)
    with pytest.raises(RuntimeError) as caught:
        make().load_state_dict(state)
    text = str(caught.value)
    assert "item.weight: has shape [5, 4], needs [11, 4]" in text
    assert "age.weight" in text and "strange.weight" in text


@pytest.mark.parametrize(
    "name", ["type", "forward", "training", "weight", "table_groups", "packed_4", "_parameters"]
)
def test_names_of_attributes_are_fine_for_tables_and_columns(name: str) -> None:
    columns: list[Column] = [Lookup(name, table=name), Dense("x", dim=DIM)]
    module = Embeddings([Table(name, rows=3, dim=DIM)], columns)
    assert list(module.state_dict()) == [f"{name}.weight", "x.weight"]
    module.load_state_dict(module.state_dict())
    assert module({name: torch.tensor([2]), "x": torch.ones(1, 1)}).concat([name, "x"]).shape == (
        1,
        8,
    )


def test_weights_depend_on_seed_and_name_only() -> None:
    one, two = make(), make(list(reversed(TABLES)), list(reversed(COLUMNS)))
    alone = Embeddings([TABLES[0]], [COLUMNS[0]])
    for module in (one, two, alone):
        module.reset(7)
    for key, value in two.state_dict().items():
        assert torch.equal(value, one.state_dict()[key]), key
    assert torch.equal(alone.state_dict()["item.weight"], one.state_dict()["item.weight"])
    one.reset(8)
    assert not torch.equal(one.state_dict()["item.weight"], two.state_dict()["item.weight"])
    torch.manual_seed(7)
    one.reset_parameters()
    assert torch.equal(one.state_dict()["item.weight"], two.state_dict()["item.weight"])


@pytest.mark.parametrize(
    ("init", "std"), [("normal(0.5)", 0.5), ("uniform(0.6)", 0.346), ("zeros", 0.0)]
)
def test_init(init: str, std: float) -> None:
    weight = Embeddings([Table("t", rows=5000, dim=4, init=init)], []).state_dict()["t.weight"]
    assert weight.std().item() == pytest.approx(std, rel=0.05)
    assert abs(weight.mean().item()) < 0.02


def test_meta_device_and_to_empty() -> None:
    with torch.device("meta"):
        module, x = make(), features()
        embedded = module(x)
        assert embedded.concat(["item", "tags", "age"]).shape == (3, 3 * DIM)
        assert embedded.sequence("h", ["h.item"]).values.shape == (5, DIM)
    real = module.to_empty(device="cpu")
    real.reset(7)
    plain = make()
    plain.reset(7)
    x = features()
    assert torch.equal(real(x).concat(["item", "tags"]), plain(x).concat(["item", "tags"]))
    with torch.device("meta"):
        empty = make()
    empty.load_state_dict(plain.state_dict(), assign=True)
    assert torch.equal(empty.state_dict()["user.weight"], plain.state_dict()["user.weight"])


def test_empty_batches_and_empty_lists() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    module = Embeddings(
        TABLES, [Lookup("item", table="item"), Lookup("tags", table="item", pool="mean")], ROWS
    )
    embedded = module({"item": none, "tags": Jagged(none, none)})
    assert embedded.concat(["item", "tags"]).shape == (0, 2 * DIM)
    embedded = module(
        {
            "item": torch.zeros(2, dtype=torch.int64),
            "tags": Jagged(none, torch.zeros(2, dtype=torch.int64)),
        }
    )
    embedded.concat(["item", "tags"]).sum().backward()
    assert torch.equal(embedded.concat(["tags"]), torch.zeros(2, DIM))


class Wrapped(torch.nn.Module):
    """What an exported module looks like: tensors in, a tensor out."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = make()

    def forward(self, x: dict[str, Tensor | Jagged]) -> Tensor:
        embedded = self.embeddings(x)
        out: Tensor = embedded.concat(["item", "tags", "means", "age", "auto"])
        part = self.embeddings({"age": x["age"], "item": x["item"]}, partial=True)
        out = out + part.concat(["age", "item"]).sum()
        return out + embedded.sequence("h", ["h.item"]).values.sum()


def test_export() -> None:
    module, x = Wrapped().eval(), features()
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(program.module()(x), module(x))


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel `magic` of tables is none of auto, native"):
        Embeddings([], [], kernel="magic")
    assert Embeddings([], [], kernel="torch").kernel == "torch"


WRONG: list[tuple[list[Table], list[Column], str]] = [
    ([Table("t", rows=FIT, dim=2)], [], "table `t` is fitted to data"),
    ([Table("t", rows=2, dim=2)] * 2, [], "table `t` is declared twice"),
    ([Table("t", rows=0, dim=2)], [], "needs at least one row"),
    ([], [Lookup("a", table="t")], "no such table"),
    ([], [Dense("a"), Dense("a")], "column `a` is looked up twice"),
    ([Table("a", rows=2, dim=2)], [Dense("a", dim=2)], "`a.weight` would be both"),
    ([], [Dense("s.a", dim=2, sequence=True)], "numbers of a history"),
    ([Table("t", rows=2, dim=2, init="magic(1)")], [], "init `magic"),
]


@pytest.mark.parametrize(
    ("tables", "columns", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else ""
)
def test_declarations_that_do_not_fit(
    tables: list[Table], columns: list[Column], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Embeddings(tables, columns, {"other": 3})


@pytest.mark.parametrize("kernel", ["auto", "torch"])
def test_batches_that_do_not_fit(kernel: str) -> None:
    module, x = make(), features()
    module.kernel = kernel
    with pytest.raises(IndexError, match="column `bought`: id 11, table `item` has 11 rows"):
        module(x | {"bought": torch.tensor([0, 11, 0])})
    with pytest.raises(IndexError, match="column `user`: id -1, table `user` has 7 rows"):
        module(x | {"user": torch.tensor([0, -1, 0])})
    with pytest.raises(ValueError, match="column `item` has lists of values"):
        module(x | {"item": x["tags"]})
    with pytest.raises(KeyError, match="the batch has no column `item`"):
        module({k: v for k, v in x.items() if k != "item"})
    with pytest.raises(ValueError, match="equal widths, got item: 4, small: 2"):
        module(x).stack(["item", "small"])
    with pytest.raises(KeyError, match="`nothing` was not looked up"):
        module(x).concat(["nothing"])
