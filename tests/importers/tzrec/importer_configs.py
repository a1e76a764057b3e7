"""Short configs in TorchEasyRec's form, one for each model, made of shared parts."""

from __future__ import annotations

__all__ = ["MODELS", "config"]

TRAIN = """
train_input_path: "data/train/*.parquet"
eval_input_path: "data/eval/*.parquet"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.02 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.001 } constant_learning_rate {} }
  num_epochs: 1
}
"""
DATA = """
data_config {
  batch_size: 64 dataset_type: ParquetDataset fg_mode: FG_DAG num_workers: 1
  label_fields: "clk" label_fields: "buy"
}
"""


def _id(name: str, rows: int, side: str, more: str = "") -> str:
    source = "" if not side else f'expression: "{side}:{name}" '
    return f'id_feature {{ feature_name: "{name}" {source}num_buckets: {rows} embedding_dim: 8 value_dim: 1 {more}}}'


IDS = {"user_id": "user", "age": "user", "item_id": "item", "cate": "item"}
ROWS = {"user_id": 500, "age": 9, "item_id": 300, "cate": 20}
FEATURES = [
    *(_id(name, ROWS[name], side) for name, side in IDS.items()),
    'raw_feature { feature_name: "price" expression: "item:price" boundaries: [1, 2.5] '
    "embedding_dim: 8 }",
    'raw_feature { feature_name: "n1" expression: "user:n1" }',
    'raw_feature { feature_name: "n2" expression: "user:n2" }',
]
HISTORY = (
    'sequence_feature { sequence_name: "click_seq" sequence_length: 20 sequence_delim: "|" '
    + " ".join(f"features {{ {_id(name, ROWS[name], 'item')} }}" for name in ("item_id", "cate"))
    + " }"
)
SPARSE = ("user_id", "age", "item_id", "cate", "price")
DENSE = ("n1", "n2")
PAIR = ("item_id", "cate", "click_seq__item_id", "click_seq__cate")


def group(name: str, names: tuple[str, ...], kind: str = "DEEP", more: str = "") -> str:
    """A feature group."""
    listed = " ".join(f'feature_names: "{n}"' for n in names)
    return f'feature_groups {{ group_name: "{name}" {listed} group_type: {kind} {more} }}\n'


ALL = group("all", (*SPARSE, *DENSE))
DEEP = group("deep", (*SPARSE, *DENSE))
SPLIT = group("sparse", SPARSE) + group("dense", DENSE)
BINARY = "metrics { auc {} } losses { binary_cross_entropy {} }"
MLP = "{ hidden_units: [16, 8] }"


def tower(name: str, label: str, more: str = "") -> str:
    """A task tower."""
    head = f'tower_name: "{name}" label_name: "{label}" mlp {{ hidden_units: [8] }}'
    return f"task_towers {{ {head} {BINARY} {more} }}\n"


TWO = tower("ctr", "clk") + tower("cvr", "buy")
RELATED = tower("ctr", "clk") + tower(
    "cvr",
    "buy",
    'relation_tower_names: "ctr" relation_mlp { hidden_units: [4] } '
    'task_space_indicator_label: "clk" in_task_space_weight: 1 out_task_space_weight: 0',
)


def _level(name: str, experts: int, widths: str) -> str:
    net = f"{{ hidden_units: {widths} }}"
    return (
        f'extraction_networks {{ network_name: "{name}" expert_num_per_task: {experts} '
        f"share_num: {experts} task_expert_net {net} share_expert_net {net} }}\n"
    )


ENCODED = group(
    "all",
    (*SPARSE, *DENSE),
    more='sequence_groups { group_name: "click_seq" '
    + " ".join(f'feature_names: "{n}"' for n in PAIR)
    + " } "
    'sequence_encoders { din_encoder { input: "click_seq" attn_mlp { hidden_units: [8] } } } '
    'sequence_encoders { simple_attention { input: "click_seq" } } '
    'sequence_encoders { pooling_encoder { input: "click_seq" pooling_type: "sum" } } '
    'sequence_encoders { self_attention_encoder { input: "click_seq" multihead_attn_dim: 16 '
    "num_heads: 2 } } "
    'sequence_encoders { multi_window_din_encoder { input: "click_seq" windows_len: [2, 4] '
    "attn_mlp { hidden_units: [8] } } }",
)
MASK = (
    "n_mask_blocks: 2 mask_block { aggregation_dim: 8 hidden_dim: 8 } top_mlp { hidden_units: 8 }"
)
WUKONG = (
    "wukong_layers { lcb_feature_num: 3 fmb_feature_num: 2 compressed_feature_num: 4 "
    "feature_num_mlp { hidden_units: 8 } }"
)

DSSM = (
    group(
        "user",
        ("user_id", "age", *DENSE),
        more='sequence_groups {{ group_name: "click_seq" feature_names: "click_seq__item_id" '
        'feature_names: "click_seq__cate" }} '
        'sequence_encoders {{ pooling_encoder {{ input: "click_seq" pooling_type: "mean" }} }}',
    )
    .replace("feature_groups { ", "feature_groups {{ ")
    .replace(" }\n", " }}\n")
    + group("item", ("item_id", "cate", "price")).replace("{", "{{").replace("}", "}}")
    + "{model} {{ user_tower {{ input: 'user' mlp {{ hidden_units: [16, 8] }} }} "
    "item_tower {{ input: 'item' mlp {{ hidden_units: [16, 8] }} }} output_dim: 4 {more} }} "
    "metrics {{ recall_at_k {{ top_k: 5 }} }} losses {{ softmax_cross_entropy {{}} }}"
)

MODELS: dict[str, str] = {
    "wide_and_deep": group("wide", SPARSE, "WIDE")
    + DEEP
    + f"wide_and_deep {{ deep {MLP} final {{ hidden_units: [8] }} }} {BINARY}",
    "deepfm": group("wide", SPARSE, "WIDE")
    + group("fm", SPARSE)
    + DEEP
    + f"deepfm {{ deep {MLP} final {{ hidden_units: [8] }} wide_embedding_dim: 4 }} {BINARY}",
    "deepfm_sum": group("wide", SPARSE, "WIDE")
    + group("deep", SPARSE)
    + f"deepfm {{ deep {MLP} }} {BINARY}",
    "multi_tower": group("user", ("user_id", "age", *DENSE))
    + group("item", ("item_id", "cate", "price"))
    + f'multi_tower {{ towers {{ input: "user" mlp {MLP} }} towers {{ input: "item" mlp {MLP} }} '
    f"final {{ hidden_units: 8 }} }} {BINARY}",
    "multi_tower_din": DEEP
    + group("seq", PAIR, "SEQUENCE")
    + f"multi_tower_din {{ towers {{ input: 'deep' mlp {MLP} }} "
    f"din_towers {{ input: 'seq' attn_mlp {MLP} }} final {{ hidden_units: 8 }} }} {BINARY}",
    "mask_net": ALL + f"mask_net {{ mask_net_module {{ {MASK} }} }} {BINARY}",
    "dcn_v1": ALL
    + f"dcn_v1 {{ cross {{ cross_num: 2 }} deep {MLP} final {{ hidden_units: 8 }} }} {BINARY}",
    "dcn_v2": ALL
    + f"dcn_v2 {{ backbone {{ hidden_units: 12 }} cross {{ cross_num: 2 low_rank: 4 }} deep {MLP} "
    f"final {{ hidden_units: 8 }} }} {BINARY}",
    "dlrm": SPLIT + f"dlrm {{ dense_mlp {MLP} final {{ hidden_units: 8 }} }} {BINARY}",
    "xdeepfm": group("wide", SPARSE, "WIDE")
    + DEEP
    + f"xdeepfm {{ cin {{ cin_layer_size: [6, 4] }} deep {MLP} final {{ hidden_units: 8 }} }} "
    + BINARY,
    "wukong": SPLIT
    + f"wukong {{ dense_mlp {MLP} {WUKONG} {WUKONG} final {{ hidden_units: 8 }} }} {BINARY}",
    "rocket_launching": DEEP
    + f"rocket_launching {{ booster_mlp {MLP} light_mlp {MLP} feature_based_distillation: true }} "
    + BINARY,
    "simple_multi_task": ALL + f"simple_multi_task {{ {TWO} }}",
    "mmoe": ALL + f"mmoe {{ expert_mlp {MLP} gate_mlp {{ hidden_units: 4 }} num_expert: 3 {TWO} }}",
    "dbmtl": ENCODED
    + f"dbmtl {{ mask_net {{ {MASK} }} bottom_mlp {MLP} expert_mlp {MLP} {RELATED} }}",
    "ple": ALL + f"ple {{ {_level('a', 2, '[16, 8]')}{_level('b', 3, '[8, 6]')}{TWO} }}",
    "dc2vr": ALL
    + "dc2vr { bottom_mlp { hidden_units: 8 } "
    + tower("ctr", "clk", "low_rank_dim: 4")
    + tower("cvr", "buy", 'intervention_tower_names: "ctr" low_rank_dim: 4')
    + "}",
    "pepnet": ALL
    + group("domain", ("age",))
    + group("uia", ("user_id", "item_id"))
    + "pepnet { epnet_hidden_unit: 8 ppnet_hidden_units: [16, 8] ppnet_dropout_ratio: [0.1, 0.1] "
    + TWO
    + "}",
    "dssm": DSSM.format(model="dssm", more="temperature: 0.1 similarity: COSINE"),
    "mind": group("user", ("user_id", "age", *DENSE))
    + group("item", ("item_id", "cate", "price"))
    + group("hist", ("click_seq__item_id", "click_seq__cate"), "SEQUENCE")
    + f"mind {{ user_tower {{ input: 'user' history_input: 'hist' user_mlp {MLP} "
    "hist_seq_mlp { hidden_units: [16, 8] bias: false } capsule_config { max_k: 3 num_iters: 2 "
    "max_seq_len: 20 high_dim: 6 squash_pow: 0.2 } concat_mlp { hidden_units: [8] } } "
    f"item_tower {{ input: 'item' mlp {MLP} }} output_dim: 4 simi_pow: 20 temperature: 0.01 }} "
    "metrics { recall_at_k { top_k: 5 } } losses { softmax_cross_entropy {} }",
    "dssm_v2": DSSM.format(model="dssm_v2", more="in_batch_negative: true"),
}
"""Model -> its feature groups and message."""


def config(model: str, *, features: tuple[str, ...] = (), data: str = DATA, more: str = "") -> str:
    """A whole config with the model_config of `MODELS` or one written out."""
    told = "".join(f"feature_configs {{ {f} }}\n" for f in (*FEATURES, HISTORY, *features))
    return f"{TRAIN}{data}{told}model_config {{\n{MODELS.get(model, model)}\n{more}}}\n"
