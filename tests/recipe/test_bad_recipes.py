"""A table of slips: one edit of a good recipe, the code, the line and a piece of what is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graphrec.ground.errors import render
from graphrec.recipe import Reading
from graphrec.recipe.codes import CODES

Read = Callable[..., Reading]

GOOD = """\
graphrec: 1
name: shop
data: {train: a/*.parquet}
defaults: {feature: {dim: 8}}
features:
  - {type: id, names: [user, item], vocab: hash(1000), group: ids}
  - {type: id, names: tags, vocab: 50, pool: mean, sep: ","}
  - {type: dense, names: age, transform: log1p}
  - {type: bucket, names: price, edges: [1, 5, 9]}
  - {type: cross, name: both, of: [user, item], vocab: hash(99)}
  - {type: sequence, name: clicks, of: [item, price], max_len: 20, column: {item: c}}
groups:
  mine: {of: [ids, price], except: [user]}
  seq: {query: [item, price], keys: clicks}
graph:
  deep: {block: mlp, in: [all, mine], hidden: [64, 32], dropout: 0.1}
  din: {block: din, in: seq, hidden: [16]}
  tower: {block: mlp, in: [deep, din], each: tasks, hidden: [8]}
  wide: all.linear + 1
tasks:
  ctr: {label: clk, in: tower, weight: 2}
  cvr: {label: {column: buy, above: 0.5}, in: tower, space: clk, metrics: [auc]}
relations:
  - ctr -> cvr: {hidden: [32]}
kernels: {policy: strict, by_node: {deep: torch}}
train: {epochs: 1, batch: 64, optim: {dense: adam, sparse: adagrad}, save: {best: ctr.auc}}
export: {nodes: [deep]}
"""

# what to replace, by what, code, line, a piece of the message or help
SLIPS = [
    # keys
    ("graphrec: 1", "graphrec: 2", "GR202", 1, "version 1"),
    ("graphrec: 1\n", "\n", "GR206", 1, "`graphrec` is required"),
    ("name: shop", "nmae: shop", "GR201", 2, "did you mean `name`?"),
    ("name: shop", "name: 5", "GR202", 2, "expected a text, got 5"),
    ("name: shop", "name:", "GR208", 2, "`name` has no value"),
    ("data: {train", "data: {trian", "GR201", 3, "did you mean `train`?"),
    ("a/*.parquet}", "a/*.parquet, synthetic: 10}", "GR205", 3, "rows come from one of them"),
    ("a/*.parquet}", "a/*.parquet, format: csvv}", "GR202", 3, "did you mean `csv`?"),
    ("a/*.parquet}", "a/*.parquet, split: {by: t, eval: first(2)}}", "GR202", 3, "last(N)"),
    ("a/*.parquet}", "a/*.parquet, workers: -1}", "GR202", 3, "at least 0, got -1"),
    ("defaults: {feature", "defaults: {features", "GR201", 4, "did you mean `feature`?"),
    ("{dim: 8}", "{dmi: 8}", "GR201", 4, "did you mean `dim`?"),
    ("features:\n", "feature:\n", "GR201", 5, "did you mean `features`?"),
    # features
    ("type: id, names: [user", "tpye: id, names: [user", "GR201", 6, "did you mean `type`?"),
    ("type: id, names: [user", "names: [user", "GR206", 6, "`type` is required"),
    ("type: id, names: [user", "type: ids, names: [user", "GR202", 6, "did you mean `id`?"),
    ("names: [user, item]", "nmaes: [user, item]", "GR201", 6, "did you mean `names`?"),
    ("names: [user, item]", "names: [user, 1tem]", "GR320", 6, "starts with no digit"),
    ("names: [user, item]", "names: [user, item, 7]", "GR202", 6, "expected a name, got 7"),
    ("names: [user, item]", "names: [user, item, user]", "GR210", 6, "declared twice"),
    ("names: tags", "names: user", "GR210", 7, "first in line 6"),
    ("names: tags", "names: x9..x3", "GR204", 7, "one prefix, a first and a last number"),
    ("names: tags", "names: x1..y3", "GR204", 7, "is no range"),
    ("names: tags", "names: x1..x99999999", "GR106", 7, "10,000 features"),
    ("names: tags", "names: all", "GR320", 7, "group of every feature"),
    ("vocab: 50", "vocba: 50", "GR201", 7, "did you mean `vocab`?"),
    ("vocab: 50, ", "", "GR206", 7, "`vocab` is required"),
    ("vocab: 50", "vocab: hsh(50)", "GR202", 7, "did you mean `hash`?"),
    ("vocab: 50", "vocab: -5", "GR202", 7, "above 0"),
    ("vocab: 50", "vocab: fit(mincount=3)", "GR202", 7, "fit(min_count=N)"),
    ("vocab: 50", "vocab: file(none.txt)", "GR120", 7, "No such file"),
    ("vocab: 50", "vocab: file(../none.txt)", "GR121", 7, "--allow-root"),
    ("pool: mean", "pool: avg", "GR202", 7, "expected one of sum, mean, got text `avg`"),
    ("pool: mean, ", "", "GR205", 7, "`sep` needs `pool`"),
    ("pool: mean", "pool: mean, init: norml(1)", "GR202", 7, "normal(std)"),
    ("pool: mean", "pool: mean, trainable: yes", "GR202", 7, "only `true` and `false`"),
    ("pool: mean", "pool: mean, dim: 8.0", "GR202", 7, "expected an integer"),
    ("transform: log1p", "transform: log1", "GR202", 8, "did you mean `log1p`?"),
    ("transform: log1p", "autodis: {channels: 3}", "GR205", 8, "`autodis` needs `dim`"),
    (
        "transform: log1p",
        "width: 2, dim: 4, autodis: {channels: 3}",
        "GR205",
        8,
        "this feature has several",
    ),
    ("transform: log1p", "stats: [0, 1]", "GR205", 8, "`stats` belongs to"),
    ("[1, 5, 9]", "[1, 9, 5]", "GR202", 9, "edges ascend, but 5 follows 9"),
    ("[1, 5, 9]", "quantiles(10)", "GR202", 9, "quantile(N)"),
    ("[1, 5, 9]", "[1, x]", "GR202", 9, "expected a number, got text `x`"),
    ("vocab: hash(99)", "vocab: 99", "GR202", 10, "expected hash(N)"),
    ("of: [user, item], vocab", "of: [user], vocab", "GR202", 10, "two or more"),
    ("name: both", "names: both", "GR201", 10, "write `name:`"),
    ("max_len: 20, ", "", "GR206", 11, "`max_len` is required"),
    ("max_len: 20", "max_len: 20, group: g", "GR205", 11, "a group of its own"),
    ("column: {item: c}", "column: {itme: c}", "GR202", 11, "not in `of`"),
    ("column: {item: c}", "column: c", "GR202", 11, "expected a map"),
    ("column: {item: c}", "dim: 3", "GR201", 11, "unknown key `dim`"),
    # groups
    ("mine: {of", "mine: {off", "GR201", 13, "did you mean `of`?"),
    ("mine: {of: [ids, price], except: [user]}", "mine: ids", "GR202", 13, "expected a list"),
    ("keys: clicks}", "keys: clicks, with: [a]}", "GR201", 14, "unknown key `with`"),
    ("query: [item, price]", "query: [item, price, item]", "GR210", 14, "listed twice"),
    # nodes
    ("deep: {block", "deep: {blok", "GR201", 16, "did you mean `block`?"),
    ("deep: {block: mlp, ", "deep: {", "GR206", 16, "`block` is required"),
    ("in: [all, mine]", "in: [all, 5]", "GR202", 16, "expected a text, got 5"),
    ("dropout: 0.1", "repeat: 0", "GR202", 16, "above 0"),
    ("dropout: 0.1", "repeat: 100000", "GR202", 16, "at most 1000"),
    ("dropout: 0.1", "residual: 1", "GR202", 16, "expected true or false"),
    ("dropout: 0.1", "parallel: 2, join: add", "GR202", 16, "concat, sum, mean, stack"),
    ("dropout: 0.1", "dropout: .nan", "GR109", 16, "finite"),
    ("each: tasks", "each: 3", "GR202", 18, "a text or a list"),
    ("wide: all.linear + 1", "wide: [all]", "GR202", 19, "a map with `block`, or an expression"),
    ("wide: all.linear + 1", "Wide: all.linear + 1", "GR320", 19, "lower case"),
    ("wide: all.linear + 1", "lambda: all.linear + 1", "GR320", 19, "word of Python"),
    ("wide: all.linear + 1", "forward: all.linear + 1", "GR320", 19, "torch module"),
    ("wide: all.linear + 1", "head: all.linear + 1", "GR320", 19, "reserved"),
    ("wide: all.linear + 1", "mine: all.linear + 1", "GR321", 19, "taken by a group (line 13)"),
    ("wide: all.linear + 1", "ids: all.linear + 1", "GR321", 19, "taken by a feature group"),
    ("wide: all.linear + 1", "clicks: all.linear + 1", "GR321", 19, "taken by a sequence"),
    ("wide: all.linear + 1", "deep: all.linear + 1", "GR102", 19, "first in line 16"),
    # tasks
    ("label: clk,", "label: 1,", "GR202", 21, 'stands in quotes: "1"'),
    ("graphrec: 1", "graphrec: true", "GR202", 1, "version 1 of the language, got true"),
    ("ctr: {label", "ctr: {lable", "GR201", 21, "did you mean `label`?"),
    ("ctr: {label: clk, in: tower", "ctr: {label: clk", "GR206", 21, "one of `in`, `logit`"),
    ("in: tower, weight: 2", "in: tower, logit: wide", "GR205", 21, "one of in, logit and prob"),
    ("weight: 2", "weight: -2", "GR202", 21, "at least 0"),
    ("weight: 2", "weight: two", "GR202", 21, "expected a number, got text `two`"),
    ("weight: 2", "kind: multi", "GR202", 21, "did you mean `multiclass`?"),
    ("above: 0.5}", "above: 0.5}, kind: regression", "GR205", 22, "`above`"),
    ("metrics: [auc]", "metrics: auc", "GR202", 22, "expected a list"),
    ("metrics: [auc]", "metrics: [auc(]", "GR111", 22, "closing parenthesis"),
    ("space: clk", "space: {label: clk, inside: x}", "GR202", 22, "expected a number"),
    ("  ctr: {label", "  Ctr: {label", "GR320", 21, "lower case"),
    # relations
    ("- ctr -> cvr: {hidden: [32]}", "- ctr > cvr: {hidden: [32]}", "GR204", 24, "a -> b"),
    ("- ctr -> cvr: {hidden: [32]}", "- ctr -> cvr: [32]", "GR202", 24, "a map of settings"),
    ("{hidden: [32]}", "{hiden: [32]}", "GR201", 24, "did you mean `hidden`?"),
    ("{hidden: [32]}", "{via: aitm, hidden: [32]}", "GR205", 24, "belongs to via: mlp"),
    ("{hidden: [32]}", "{via: product, hidden: [0]}", "GR202", 24, "above 0"),
    ("{hidden: [32]}", "{}\n  - ctr -> cvr", "GR210", 25, "written twice, first in line 24"),
    # settings
    ("policy: strict", "policy: strickt", "GR202", 25, "did you mean `strict`?"),
    ("epochs: 1,", "epochs: 1, steps: 5,", "GR205", 26, "say one of them"),
    ("batch: 64", "bacth: 64", "GR201", 26, "did you mean `batch`?"),
    ("batch: 64", "batch: 64.5", "GR202", 26, "expected an integer, got 64.5"),
    ("batch: 64", "batch: true", "GR202", 26, "expected an integer, got true"),
    ("batch: 64", "lr: fast", "GR202", 26, "expected a number, or {dense: 1e-3"),
    ("batch: 64", "lr: '1e-3'", "GR202", 26, "without quotes: 1e-3"),
    ("batch: 64", "batch: 1e3", "GR202", 26, "an integer has no point and no exponent: 1000"),
    ("batch: 64", "schedule: cosin", "GR202", 26, "did you mean `cosine`?"),
    ("batch: 64", "schedule: {steps: {gamma: .5}}", "GR206", 26, "`at` is required"),
    ("batch: 64", "schedule: {cosine: {gamma: .5}}", "GR205", 26, "cosine has no `gamma`"),
    ("dense: adam", "dense: adm", "GR202", 26, "did you mean `adam`?"),
    ("dense: adam", "dense: rowwise_adagrad", "GR202", 26, "for dense parameters"),
    ("dense: adam", "dense: {sgd: {betas: [0.9, 0.9]}}", "GR205", 26, "sgd has no `betas`"),
    ("optim: {dense: adam, sparse: adagrad}", "optim: adam", "GR202", 26, "dense and sparse"),
    ("best: ctr.auc", "bset: ctr.auc", "GR201", 26, "did you mean `best`?"),
    ("export: {nodes: [deep]}", "exprot: {nodes: [deep]}", "GR201", 27, "did you mean `export`?"),
    ("export: {nodes: [deep]}", "train+: {x: 1}", "GR208", 27, "nothing to append to"),
    ("export: {nodes: [deep]}", "export: {nodes+: [deep]}", "GR208", 27, "nothing to append to"),
]


def test_the_good_one_is_good(read: Read) -> None:
    reading = read(GOOD)
    assert not reading.problems, render(reading.problems, reading.sources)


@pytest.mark.parametrize(("old", "new", "code", "line", "said"), SLIPS)
def test_slip(old: str, new: str, code: str, line: int, said: str, read: Read) -> None:
    assert GOOD.count(old) == 1
    reading = read(GOOD.replace(old, new))
    shown = render(reading.problems, reading.sources)
    assert [(p.code, p.span.line if p.span else 0) for p in reading.problems] == [(code, line)], (
        shown
    )
    assert said in shown
    assert all(p.code in CODES for p in reading.problems)


def test_what_is_shown(read: Read) -> None:
    reading = read(GOOD.replace("pool: mean", "pool: avg").replace("batch", "bacth"))
    assert (
        render(reading.problems, reading.sources)
        == """\
error GR202  r.yaml:7:46   features.tags.pool: expected one of sum, mean, got text `avg`
    7 |   - {type: id, names: tags, vocab: 50, pool: avg, sep: ","}
      |                                              ^^^
error GR201  r.yaml:26:20   train.bacth: unknown key `bacth`
   26 | train: {epochs: 1, bacth: 64, optim: {dense: adam, sparse: adagrad}, save: {best: ctr.auc}}
      |                    ^^^^^ did you mean `batch`?   known here: epochs, steps, batch, accumulate, lr, optim, schedule, table_schedule, precision, clip, balance, early_stop, save, eval_every, log_every, seed, compile, memory, device, dir, ...\
"""
    )  # noqa: E501


def test_several_slips_are_reported_together(read: Read) -> None:
    text = GOOD
    for old, new in [
        ("vocab: 50", "vocab: 0"),
        ("keys: clicks", "kyes: clicks"),
        ("[64, 32]", "[*x]"),
    ]:
        text = text.replace(old, new)
    text = text.replace("weight: 2", "weight: !x 2").replace("ctr -> cvr", "ctr cvr")
    found = [(p.code, p.span.line) for p in read(text).problems if p.span]
    assert found == [("GR202", 7), ("GR201", 14), ("GR104", 16), ("GR103", 21), ("GR204", 24)]


def test_every_code_has_a_title() -> None:
    assert all(title and not title.endswith(".") for title in CODES.values())
    assert {code for _, _, code, _, _ in SLIPS} <= CODES.keys()
