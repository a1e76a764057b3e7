"""A recipe with the constructs that the shipped ones do not use."""

from __future__ import annotations

__all__ = ["EXTRA"]

EXTRA = {
    "everything.yaml": """\
graphrec: 1
name: everything
data: {synthetic: 1000}
defaults: {feature: {dim: 16}}
features:
  - {type: id, names: {user_id: 100, item_id: 50}}
  - {type: id, names: city, vocab: hash(40), pool: mean}
  - {type: bucket, names: age, edges: [10, 20, 30], group: numbers}
  - {type: dense, names: price, transform: log1p, dim: 16, group: numbers}
  - {type: cross, name: user_item, of: [user_id, item_id], vocab: hash(1000)}
  - {type: sequence, name: clicked, of: [item_id], max_len: 20}
groups:
  person: [user_id, city]
  history: {query: [item_id], keys: clicked}
blocks:
  attend:
    params: {hidden: {type: "list[int]", default: [8]}, layers: {type: int}}
    inputs: [query, keys, mask]
    graph:
      scores: {block: attention_scores, in: {query: query, keys: keys, mask: mask}, hidden: $hidden}
      pooled: {block: weighted_sum, in: {weights: scores, values: keys}}
      deeper: {block: cross_v2, in: {x0: pooled, x: pooled}, repeat: $layers, carry: x}
    output: deeper
graph:
  interest: {block: attend, in: history, layers: 2}
  views: {block: mlp, in: [person, interest], parallel: [short, long], hidden: [16], join: concat}
  deep: {block: mlp, in: [all, views], hidden: [32], activation: gelu, dropout: 0.1}
  gate: sigmoid(sum(deep))
  final: gate * deep
tasks:
  click: {label: click, in: final}
  stay: {label: {column: seconds, transform: log1p}, in: final, kind: regression}
relations: [click -> stay]
train: {batch: 512, epochs: 1, lr: 1e-3, seed: 3}
""",
}
