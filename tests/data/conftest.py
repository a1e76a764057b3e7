"""Recipes from text, files from rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graphrec.recipe import read_recipe
from graphrec.recipe.model import Recipe

Rows = Mapping[str, Sequence[Any]]
TASK = "click: {label: click, in: top}"


@pytest.fixture
def recipe_of(tmp_path: Path) -> Callable[..., Recipe]:
    """`recipe_of("- {type: id, names: a, vocab: fit}", data="{train: a.csv}")`: a read recipe."""

    def make(features: str, tasks: str = TASK, data: str = "{}", more: str = "") -> Recipe:
        lines = ["graphrec: 1", "name: tiny", "defaults: {feature: {dim: 4}}", "features:"]
        lines += [f"  {line}" for line in features.strip().splitlines()]
        lines += ["graph: {top: {block: mlp, in: all, hidden: [4]}}", "tasks:"]
        lines += [f"  {line}" for line in tasks.strip().splitlines()]
        lines += [f"data: {data}", *more.strip().splitlines()]
        path = tmp_path / "tiny.yaml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read_recipe(path)

    return make


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """`parquet("a.parquet", {"a": [1]}, row_group_size=2)`: writes the file into the test's folder."""

    def write(name: str, rows: Rows | pa.Table, **how: Any) -> Path:
        table = rows if isinstance(rows, pa.Table) else pa.table(dict(rows))
        pq.write_table(table, tmp_path / name, **how)
        return tmp_path / name

    return write


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """`csv_file("a.csv", {"a": ["007"]})`: writes the file, None as an empty cell."""

    def write(name: str, rows: Rows) -> Path:
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(rows)
            writer.writerows(zip(*rows.values(), strict=True))
        return tmp_path / name

    return write
