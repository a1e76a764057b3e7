"""Whatever stands in a column: rows are used, or refused with file, row and column; never a crash.

Kinds of columns x what reads them x formats x policies, drawn at random; and the same rows from
Parquet and from CSV give the same batches.
"""

from __future__ import annotations

import csv
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_kinds import ROWS, as_text, columns

from graphrec.data import Encoder, Loader, data_remarks, open_data
from graphrec.ground.errors import DataError, GraphrecError
from graphrec.nn.batch import Jagged
from graphrec.recipe import read_recipe
from graphrec.recipe.model import Recipe

KINDS = columns()
VOCABS = ("fit", "fit(min_count=2)", "hash(20)", "4", "file(v.txt)")
FEATURES = {
    "id": "{type: id, names: x, vocab: V}",
    "id with default": "{type: id, names: x, vocab: V, default: 1}",
    "known id": "{type: id, names: x, vocab: V, oov: error}",
    "pooled": "{type: id, names: x, vocab: V, pool: sum}",
    "pooled text": "{type: id, names: x, vocab: V, pool: mean, sep: '|'}",
    "padded": "{type: id, names: x, vocab: V, pool: mean, sep: '|', pad: 0}",
    "weights inside": "{type: id, names: x, vocab: V, pool: sum, sep: '|', weights: inside}",
    "weights": "{type: id, names: other, vocab: V, pool: sum, sep: '|', weights: x}",
    "cross": "{type: id, names: [x, other], vocab: V}\n- {type: cross, name: c, of: [x, other], vocab: hash(9)}",
    "dense": "{type: dense, names: x}",
    "zscore": "{type: dense, names: x, transform: zscore}",
    "minmax": "{type: dense, names: x, transform: minmax, default: 2}",
    "log1p": "{type: dense, names: x, transform: log1p}",
    "vector": "{type: dense, names: x, width: 2, transform: zscore, sep: '|'}",
    "bucket": "{type: bucket, names: x, edges: [0.5, 1]}",
    "quantile": "{type: bucket, names: x, edges: quantile(3)}",
    "pooled bucket": "{type: bucket, names: x, edges: quantile(3), pool: sum, sep: '|'}",
    "history": "{type: id, names: other, vocab: V}\n"
    "- {type: sequence, name: s, of: [other], max_len: 2, column: {other: x}, sep: '|', pad: 0}",
    "history of numbers": "{type: dense, names: other, transform: minmax}\n"
    "- {type: sequence, name: s, of: [other], max_len: 2, keep: first, column: {other: x}}",
    "history of lists": "{type: id, names: other, vocab: V, pool: sum, sep: ';'}\n"
    "- {type: sequence, name: s, of: [other], max_len: 2, column: {other: x}, sep: '|'}",
    "history of vectors": "{type: dense, names: other, width: 2, sep: ';'}\n"
    "- {type: sequence, name: s, of: [other], max_len: 9, column: {other: x}, sep: '|'}",
    "two histories": "{type: id, names: [other, more], vocab: V}\n"
    "- {type: sequence, name: s, of: [other, more], max_len: 2, column: {other: x, more: x}}",
}
TASKS = {
    "label": "t: {label: x, in: top}",
    "label above": "t: {label: {column: x, above: 0.5}, in: top}",
    "number": "t: {label: x, in: top, kind: regression}",
    "logarithm": "t: {label: {column: x, transform: log1p}, in: top, kind: regression}",
    "class": "t: {label: x, in: top, kind: multiclass, classes: 3}",
    "sample weight": "t: {label: click, in: top, sample_weight: x}",
    "space": "t: {label: click, in: top, space: x}",
    "group": "t: {label: click, in: top, metrics: [auc, gauc(x)]}",
}
ROLES = [*FEATURES, *TASKS, "split"]
POLICIES = ("error", "quarantine")


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "v.txt").write_text("0\n1\na\n")

    @cache
    def of(role: str, vocab: str) -> Recipe:
        feature = FEATURES.get(role, "{type: dense, names: other}").replace("V}", f"{vocab}}}")
        feature = feature.replace("vocab: V", f"vocab: {vocab}")
        task = TASKS.get(role, "t: {label: click, in: top}")
        lines = ["graphrec: 1", "name: rows", "defaults: {feature: {dim: 2}}", "features:"]
        lines += ["- " + line.removeprefix("- ") for line in feature.split("\n")]
        lines += ["graph: {top: {block: mlp, in: all, hidden: [2]}}", "tasks:", f"  {task}"]
        path = folder / "rows.yaml"
        path.write_text("\n".join(lines) + "\n")
        return read_recipe(path)

    return of


def used(recipe: Recipe, path: Path, policy: str, split: bool) -> Any:
    """The batches of an epoch, or what refused it."""
    update: dict[str, Any] = {"train": (str(path),), "bad_rows": policy}
    if split:
        from graphrec.recipe.training import Split

        update["split"] = Split(by="x", eval="last(1)")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=update)})
    try:
        data = open_data(recipe)
        encoder = Encoder.fit(recipe, data.train)
        loader = Loader(recipe, encoder, data.train, 3, shuffle=False, workers=0)
        batches = list(loader.epoch(0))
    except GraphrecError as error:
        return error
    data_remarks(recipe, loader.counts)
    counts = loader.counts
    assert counts.read == ROWS
    assert counts.read == counts.trained + counts.skipped + counts.quarantined
    return batches


def is_placed(error: GraphrecError, path: Path) -> bool:
    """Refused as data, with the file or the column."""
    return isinstance(error, DataError) and all(
        p.code[:3] == "GR7" and ("`x`" in p.message or str(path) in p.message or p.code == "GR712")
        for p in error.problems
    )


def table_of(column: Any) -> pa.Table:
    other = pa.array(["1", "0", "1", "0", "1", "0"])
    plain = {"x": column, "more": other, "click": [0, 1] * (ROWS // 2)}
    return pa.table({**plain, "other": other})


def drawn(number: int) -> list[tuple[str, str, str, str, int]]:
    """Random combinations: kind, role, vocabulary, policy, rows of a row group."""
    rng = random.Random(7)
    choices = (list(KINDS), ROLES, VOCABS, POLICIES, (1, 2, 100))
    return [tuple(rng.choice(part) for part in choices) for _ in range(number)]  # type: ignore[misc]


PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_any_column_is_used_or_refused(read, tmp_path: Path, part: int, soak: bool) -> None:
    path = tmp_path / "a.parquet"
    assert len(KINDS) >= 190
    outcomes = {True: 0, False: 0}
    for kind, role, vocab, policy, group in drawn(20_000 if soak else 2_000)[part::PARTS]:
        where = f"{kind} as {role}, vocab: {vocab}, {policy}"
        column = KINDS[kind]
        table = table_of(column)
        try:
            pq.write_table(table, path, row_group_size=group)
        except pa.ArrowException:  # no such column in a Parquet file
            continue
        try:
            outcome = used(read(role, vocab), path, policy, role == "split")
        except Exception as fault:
            raise AssertionError(where) from fault
        refused = isinstance(outcome, GraphrecError)
        outcomes[refused] += 1
        assert not refused or is_placed(outcome, path), f"{where}: {outcome}"
    assert min(outcomes.values()) > 20, outcomes


OF_FIXED_LENGTH = ("dense", "zscore", "minmax", "log1p", "vector", "weights")


def texts_of(column: Any, role: str) -> list[str] | None:
    """The column as cells of a CSV file; None where text can't say it."""
    try:
        values = column.to_pylist()
        if role in OF_FIXED_LENGTH and [] in values:  # which is written like null
            return None
        cells = [as_text(value) for value in values]
    except (UnicodeDecodeError, ValueError, OverflowError):
        return None
    if any(cell is None or "\0" in cell or "\r" in cell for cell in cells):
        return None
    return [str(cell) for cell in cells]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("role", [role for role in ROLES if role != "split"])
def test_the_same_rows_in_csv_are_the_same(read, tmp_path: Path, role: str, policy: str) -> None:
    compared = 0
    lists = "history" in role or role in ("vector", "weights")
    mine = [k for k in KINDS if ("list" in k) == lists]
    for kind in mine if lists else mine[ROLES.index(role) % 2 :: 2]:
        column = KINDS[kind]
        texts = texts_of(column, role)
        if texts is None:
            continue
        vocab = VOCABS[len(kind) % len(VOCABS)]
        table = table_of(column)
        try:
            pq.write_table(table, tmp_path / "a.parquet")
        except pa.ArrowException:
            continue
        with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            names = ["x", "other", "more", "click"]
            writer.writerow(names)
            rest = [table[name].to_pylist() for name in names[1:]]
            writer.writerows(zip(texts, *rest, strict=True))
        recipe = read(role, vocab)
        one, other = (
            used(recipe, tmp_path / f"a.{form}", policy, False) for form in ("parquet", "csv")
        )
        if isinstance(one, GraphrecError) or isinstance(other, GraphrecError):
            continue
        compared += 1
        where = f"{kind} as {role}, vocab: {vocab}"
        assert [b.num_rows for b in one] == [b.num_rows for b in other], where
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, where)
    assert compared > 1 or role not in ("id", "dense", "pooled text", "history", "label")


def assert_same(one: Any, other: Any, where: str) -> None:
    for name in one.features:
        a, b = one.features[name], other.features[name]
        while isinstance(a, Jagged):
            assert a.lengths.tolist() == b.lengths.tolist(), where
            if a.weights is not None:
                np.testing.assert_allclose(a.weights, b.weights, err_msg=where)
            a, b = a.values, b.values
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-6, err_msg=where)
    for part in ("labels", "weights"):
        for name, value in getattr(one, part).items():
            np.testing.assert_allclose(value, getattr(other, part)[name], rtol=1e-6, err_msg=where)
