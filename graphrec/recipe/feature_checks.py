"""Settings of one feature or group that have to agree with each other."""

from __future__ import annotations

from collections.abc import Iterator

from graphrec.ground.errors import Problem
from graphrec.recipe.calls import Call
from graphrec.recipe.clashes import clash, twice, wrong
from graphrec.recipe.model import (
    BucketFeature,
    CrossFeature,
    DenseFeature,
    IdFeature,
    PairedGroup,
    SequenceFeature,
)

__all__ = [
    "check_bucket",
    "check_cross",
    "check_dense",
    "check_id",
    "check_paired",
    "check_sequence",
]

_QUANTILES = 100_000


def _embedded(feature: IdFeature | BucketFeature | CrossFeature, path: str) -> Iterator[Problem]:
    if feature.sep is not None and feature.pool is None:
        yield clash(
            f"{path}.sep", "`sep` needs `pool`: several values become one vector", "pool: sum"
        )
    name, args = feature.init.name, feature.init.args
    fine = {"normal": 1, "uniform": 1, "zeros": 0}.get(name) == len(
        args
    ) and not feature.init.kwargs
    if not fine or not all(type(a) in (int, float) and a >= 0 for a in args):
        what = f"expected normal(std), uniform(bound) or zeros, got `{feature.init}`"
        yield wrong(f"{path}.init", what)


def check_id(feature: IdFeature, path: str) -> Iterator[Problem]:
    yield from _embedded(feature, path)
    if feature.weights is not None and feature.pool is None:
        yield clash(f"{path}.weights", "`weights` needs `pool`: they weigh the values of one row")
    if feature.pad is not None and feature.pool is None:
        yield clash(f"{path}.pad", "`pad` needs `pool`: it fills up lists of values", "pool: sum")


def check_bucket(feature: BucketFeature, path: str) -> Iterator[Problem]:
    yield from _embedded(feature, path)
    edges = feature.edges
    if isinstance(edges, Call):
        count = edges.args[0] if len(edges.args) == 1 and not edges.kwargs else None
        if edges.name != "quantile" or type(count) is not int or count < 2:
            what = f"expected ascending numbers or quantile(N) with N >= 2, got `{edges}`"
            yield wrong(f"{path}.edges", what)
        elif count > _QUANTILES:
            what = f"expected quantile(N) with N up to {_QUANTILES:,}, got `{edges}`"
            yield wrong(f"{path}.edges", what, "few rows tell more buckets than that apart")
    elif not edges:
        yield wrong(f"{path}.edges", "expected one edge or more, got none")
    else:
        for i in range(1, len(edges)):
            if edges[i] <= edges[i - 1]:
                what = f"edges ascend, but {edges[i]:g} follows {edges[i - 1]:g}"
                yield wrong(f"{path}.edges.{i}", what)
                return


def check_cross(feature: CrossFeature, path: str) -> Iterator[Problem]:
    yield from _embedded(feature, path)
    if feature.column is not None:
        what = "a cross has no column: its values come from the features in `of`"
        yield clash(f"{path}.column", what)
    if feature.vocab.name != "hash":
        what = f"expected hash(N), got `{feature.vocab}`"
        yield wrong(f"{path}.vocab", what, "combinations are hashed")
    if len(set(feature.of)) < 2:
        yield wrong(f"{path}.of", "expected two or more features to combine")
    yield from twice(feature.of, f"{path}.of")


def check_dense(feature: DenseFeature, path: str) -> Iterator[Problem]:
    if feature.autodis is not None and feature.dim is None:
        yield clash(f"{path}.autodis", "`autodis` needs `dim`: the width of the embedding it makes")
    if feature.autodis is not None and feature.width > 1:
        what = "`autodis` makes one number an embedding; this feature has several"
        yield clash(f"{path}.autodis", what, "leave out `autodis`: `dim` alone embeds a vector")
    if feature.stats is not None and feature.transform not in ("zscore", "minmax"):
        yield clash(f"{path}.stats", "`stats` belongs to transform: zscore or minmax")
    if feature.stats is not None:
        low, high = feature.stats
        if feature.transform == "zscore" and high <= 0:
            yield wrong(
                f"{path}.stats", f"expected [mean, standard deviation], got deviation {high:g}"
            )
        if feature.transform == "minmax" and high <= low:
            yield wrong(f"{path}.stats", f"expected [minimum, maximum], got [{low:g}, {high:g}]")
    if feature.sep is not None and feature.width == 1:
        yield clash(f"{path}.sep", "`sep` needs `width`: how many numbers a text holds")


def check_sequence(feature: SequenceFeature, path: str) -> Iterator[Problem]:
    if feature.group is not None:
        what = "a sequence is a group of its own"
        yield clash(f"{path}.group", what, f"write `{feature.name}` where a group is read")
    if not feature.of:
        yield wrong(f"{path}.of", "expected one base feature or more")
    yield from twice(feature.of, f"{path}.of")
    for name in feature.columns:
        if name not in feature.of:
            what = f"`{name}` is not in `of`: {', '.join(feature.of)}"
            yield wrong(f"{path}.column.{name}", what)


def check_paired(group: PairedGroup, path: str) -> Iterator[Problem]:
    yield from twice(group.query, f"{path}.query")
    yield from twice(group.of, f"{path}.of")
    if not group.query and not group.of:
        help = f"name the query's features; the history alone is `{group.keys}` itself"
        yield Problem("GR312", "a pair without a query and without `of`", path=path, help=help)
