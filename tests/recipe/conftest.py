"""Recipes as texts, and a folder to read them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from graphrec.recipe import Reading, parse

DEEPFM = """\
graphrec: 1
name: deepfm_criteo
data: {train: criteo/train/*.parquet, eval: criteo/valid/*.parquet}

features:
  - {type: id,    names: C1..C26, vocab: hash(1_000_000), dim: 16}
  - {type: dense, names: I1..I13, transform: log1p, dim: 16}   # value x learned vector

graph:                                             # `all` is built in
  fm:    {block: fm, in: all.fields}               # [B, 39, 16] -> [B, 16]
  deep:  {block: mlp, in: all, hidden: [512, 256, 128]}
  final: {block: mlp, in: [all.linear, fm, deep], hidden: [64]}

tasks:
  ctr: {label: label, in: final}

train: {epochs: 1, batch: 8192, lr: 1e-3}
"""

TAOBAO_BASE = """\
graphrec: 1
data: {train: taobao/train/*.parquet, eval: taobao/eval/*.parquet}
defaults: {feature: {dim: 16}}
features:
  - type: id
    group: user
    names: {user_id: 1141730, cms_segid: 98, cms_group_id: 14, final_gender_code: 3, age_level: 8,
            pvalue_level: 5, shopping_level: 5, occupation: 3, new_user_class_level: 6}
  - type: id
    group: item
    names: {adgroup_id: 846812, cate_id: 12961, campaign_id: 423438,
            customer: 255877, brand: 461498}
  - {type: bucket, group: item, names: price, edges: quantile(100)}
  - {type: id, group: context, names: {pid: hash(20)}}
train: {epochs: 1, batch: 8192, lr: 1e-3, optim: {dense: adam, sparse: adagrad}, seed: 7}
"""

DBMTL = """\
graphrec: 1
name: dbmtl_taobao
extends: taobao_base.yaml
graph:
  mask:    {block: masknet, in: all, blocks: 3, aggregation: 512, hidden: 256, top: [512, 256]}
  experts: {block: mmoe, in: mask, gates: tasks, experts: 3, hidden: [256, 128], kernel: triton}
  tower:   {block: mlp, in: experts, each: tasks, hidden: [256, 128, 64]}
tasks:
  ctr: {label: clk, in: tower}
  cvr: {label: buy, in: tower, space: clk}         # loss only where clk > 0
relations:
  - ctr -> cvr: {hidden: [64]}
"""

MULTI_TOWER_DIN = """\
graphrec: 1
name: multi_tower_din_taobao
extends: taobao_base.yaml
features+:
  - {type: sequence, name: click_50, of: [adgroup_id, cate_id, brand], max_len: 100}
groups:
  seq: {query: [adgroup_id, cate_id, brand], keys: click_50}    # paired by name
graph:
  deep:  {block: mlp, in: all, hidden: [512, 256, 128]}
  din:   {block: din, in: seq, hidden: [256, 64], kernel: triton}
  final: {block: mlp, in: [deep, din], hidden: [64]}
tasks:
  ctr: {label: clk, in: final}
"""

EVERYTHING = """\
graphrec: 1
name: everything
description: "a: b"
data: {synthetic: 1000, workers: 0}
defaults: {feature: {dim: 8, init: uniform(0.1)}}
features:
  - {type: id, names: [user_id, vid], vocab: fit(min_count=2), side: user, oov: error}
  - {type: id, names: tags, vocab: 100, pool: mean, sep: "|", weights: w, share: t}
  - {type: dense, names: [a, b], transform: zscore, stats: [0, 1.5], default: -1}
  - {type: dense, names: c, dim: 8, autodis: {channels: 4}}
  - {type: bucket, names: price, edges: [1, 2.5, 3], group: numbers}
  - {type: cross, name: uv, of: [user_id, vid], vocab: hash(1000)}
  - {type: sequence, name: hist, of: [vid], max_len: 20, column: "h: 1", keep: first}
  - {type: sequence, name: hist2, of: [vid, price], max_len: 9, column: {vid: a2}, share: false}
groups:
  g: [user_id, vid]
  h: {of: all, except: [price], regularize: {variational_dropout: {lambda: 0.1}}}
  seq: {query: [vid], keys: hist}
blocks:
  attend:
    doc: "\\u00e9, \\"quoted\\" {x}"
    params: {hidden: {type: "list[int]", default: [4]}, n: {type: int}}
    inputs: [query, keys]
    graph:
      s: {block: scores, in: {query: query, keys: keys}, hidden: $hidden, repeat: $n}
      p: {block: weighted_sum, in: {weights: s, values: keys}}
    output: p
graph:
  deep: {block: mlp, in: all, hidden: [5], note: "it's", residual: true, repeat: 2, carry: x}
  par: {block: mlp, in: [g, deep], parallel: [short, long], join: sum, dropout: 0.5}
  e: all.linear + sum(par) * 2
  t: {block: attend, in: seq, n: 3, each: [ctr, cvr]}
tasks:
  ctr:
    label: clk
    in: t
    loss: {focal: {gamma: 1.5}}
    weight: 0.5
    sample_weight: sw
    metrics: [auc, gauc(user_id)]
  cvr: {label: {column: buy, above: 0.5}, in: t, space: {label: clk, outside: 0.1}}
  x: {prob: ctr.prob * cvr.prob, label: both, train_metrics: [auc(step=5)]}
  r: {kind: regression, label: {column: y, transform: log1p}, logit: e}
  n: {loss: none, in: t}
relations:
  - n + ctr -> cvr: {hidden: [64], detach: true}
  - ctr -> r: {via: product}
kernels: {default: torch, by_node: {"par.*": triton, "rel.cvr": torch}, policy: strict}
train:
  steps: 100
  lr: {sparse: 0.1}
  optim: {dense: {adamw: {betas: [0.8, 0.9]}}, sparse: rowwise_adagrad}
  schedule: {cosine: {warmup: 10, minimum: 0.1}}
  early_stop: {metric: ctr.auc}
  save: {best: ctr.auc, every: 10}
  groups: {"deep*": {lr: 1e-4}}
  clip: 1
export: {nodes: deep}
meta: {any: [1, null, {x: y}, {}]}
"""

TEXTS = {
    "deepfm": DEEPFM,
    "taobao_base": TAOBAO_BASE,
    "dbmtl": DBMTL,
    "din": MULTI_TOWER_DIN,
    "everything": EVERYTHING,
}


@pytest.fixture
def texts() -> Mapping[str, str]:
    """The recipes of the specification, and one that says everything."""
    return TEXTS


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reading]:
    """`read(text, *overrides, base=text)`: the text as r.yaml, others beside it as base.yaml."""
    monkeypatch.chdir(tmp_path)

    def read_text(text: str, *overrides: str, **others: str) -> Reading:
        for name, other in {"taobao_base": TAOBAO_BASE, **others}.items():
            Path(f"{name}.yaml").write_text(other, encoding="utf-8")
        Path("r.yaml").write_text(text, encoding="utf-8")
        return parse("r.yaml", overrides)

    return read_text
