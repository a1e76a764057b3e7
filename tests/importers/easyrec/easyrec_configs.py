"""Short configs in EasyRec's form, one for each model class, made of shared parts."""

from __future__ import annotations

__all__ = ["MODELS", "config"]

TRAIN = """
train_input_path: "train.csv"
eval_input_path: "valid.csv"
train_config {
  optimizer_config: { adam_optimizer: { learning_rate: { exponential_decay_learning_rate {
    initial_learning_rate: 0.001 decay_steps: 1000 decay_factor: 0.5 min_learning_rate: 0.00001 } } }
    use_moving_average: false }
  num_steps: 5
}
eval_config { metrics_set: { auc {} } }
"""
COLUMNS = (
    "clk",
    "buy",
    "user_id",
    "age",
    "item_id",
    "cate",
    "price",
    "n1",
    "n2",
    "tags",
    "seen",
    "seen_cates",
)


def _data(fields: tuple[str, ...]) -> str:
    told = " ".join(f'input_fields {{ input_name: "{name}" }}' for name in fields)
    return (
        f'data_config {{ batch_size: 64 label_fields: "clk" label_fields: "buy" input_type: CSVInput '
        f"with_header: true {told} }}\n"
    )


def _feature(name: str, kind: str, more: str) -> str:
    return f'features: {{ input_names: "{name}" feature_type: {kind} {more} }}\n'


FEATURES = (
    _feature("user_id", "IdFeature", "embedding_dim: 8 hash_bucket_size: 500")
    + _feature("age", "IdFeature", "embedding_dim: 8 num_buckets: 9")
    + _feature("item_id", "IdFeature", "embedding_dim: 8 hash_bucket_size: 300")
    + _feature("cate", "IdFeature", "embedding_dim: 8 num_buckets: 20")
    + _feature("price", "RawFeature", "embedding_dim: 8 boundaries: [1.0, 2.5]")
    + _feature("n1", "RawFeature", "min_val: 0.0 max_val: 10.0")
    + _feature("n2", "RawFeature", "")
    + _feature("tags", "TagFeature", "embedding_dim: 8 hash_bucket_size: 50 separator: '|'")
    + _feature("seen", "SequenceFeature", "embedding_dim: 8 hash_bucket_size: 300 max_seq_len: 20")
    + _feature("seen_cates", "SequenceFeature", "embedding_dim: 8 num_buckets: 20 max_seq_len: 20")
    + 'features: { feature_name: "both" input_names: ["user_id", "cate"] feature_type: ComboFeature '
    "embedding_dim: 8 hash_bucket_size: 100 }\n"
)
SPARSE = ("user_id", "age", "item_id", "cate", "price", "tags", "both")
DENSE = ("n1", "n2")


def group(name: str, names: tuple[str, ...], kind: str = "DEEP", more: str = "") -> str:
    """A feature group."""
    listed = " ".join(f'feature_names: "{n}"' for n in names)
    return f'feature_groups: {{ group_name: "{name}" {listed} wide_deep: {kind} {more} }}\n'


PAIR = (
    'group_name: "din" seq_att_map: { key: "item_id" key: "cate" hist_seq: "seen" '
    'hist_seq: "seen_cates" }'
)
ALL = group("all", (*SPARSE, *DENSE))
DEEP = group("deep", (*SPARSE, *DENSE))
SPLIT = group("sparse", SPARSE) + group("dense", DENSE)
WIDE = group("wide", SPARSE, "WIDE")
DNN = "{ hidden_units: [16, 8] }"


def tower(name: str, label: str, more: str = "") -> str:
    """A task tower."""
    head = f'tower_name: "{name}" label_name: "{label}" loss_type: CLASSIFICATION'
    return (
        f"task_towers {{ {head} dnn {{ hidden_units: [8] }} metrics_set: {{ auc {{}} }} {more} }}\n"
    )


TWO = tower("ctr", "clk") + tower("cvr", "buy")
RELATED = tower("ctr", "clk") + tower(
    "cvr", "buy", 'relation_tower_names: ["ctr"] relation_dnn { hidden_units: [4] }'
)
NET = "{ hidden_units: [8] }"

MODELS: dict[str, str] = {
    "AutoInt": group("all", SPARSE)
    + "autoint { multi_head_num: 2 multi_head_size: 4 interacting_layer_num: 2 l2_regularization: 1e-6 }",
    "DBMTL": group("all", (*SPARSE, *DENSE), more=f"sequence_features: {{ {PAIR} }}")
    + f"dbmtl {{ bottom_dnn {DNN} expert_dnn {DNN} num_expert: 3 {RELATED} }}",
    "DCN": ALL + 'dcn { deep_tower { input: "all" dnn { hidden_units: [16] } } '
    'cross_tower { input: "all" cross_num: 2 } final_dnn { hidden_units: [8] } }',
    "DLRM": SPLIT + f"dlrm {{ bot_dnn {DNN} top_dnn {{ hidden_units: [8] }} }}",
    "DeepFM": group("deep", SPARSE)
    + WIDE
    + f"deepfm {{ wide_output_dim: 16 dnn {DNN} final_dnn {{ hidden_units: [8] }} }}",
    "ESMM": group("user", ("user_id", "age"))
    + group("item", ("item_id", "cate"))
    + f'esmm {{ groups {{ input: "user" dnn {DNN} }} groups {{ input: "item" dnn {DNN} }} '
    + tower("ctr", "clk").replace("task_towers", "ctr_tower")
    + tower("cvr", "buy").replace("task_towers", "cvr_tower")
    + "}",
    "FM": group("deep", SPARSE) + WIDE + "fm { }",
    "MMoE": ALL + f"mmoe {{ expert_dnn {DNN} num_expert: 4 {TWO} }}",
    "MultiTower": group("user", ("user_id", "age", *DENSE))
    + group("item", ("item_id", "cate", "price"))
    + f'multi_tower {{ towers {{ input: "user" dnn {DNN} }} towers {{ input: "item" dnn {DNN} }} '
    "final_dnn { hidden_units: [8] } }",
    "MultiTowerDIN": group("user", ("user_id", "age", *DENSE))
    + f"seq_att_groups: {{ {PAIR} }}\n"
    + f'multi_tower {{ towers {{ input: "user" dnn {DNN} }} '
    'din_towers { input: "din" dnn { hidden_units: [16, 8, 1] } } final_dnn { hidden_units: [8] } }',
    "PLE": ALL
    + 'ple { extraction_networks { network_name: "a" expert_num_per_task: 2 share_num: 2 '
    f"task_expert_net {NET} share_expert_net {NET} }} "
    f'extraction_networks {{ network_name: "b" expert_num_per_task: 2 share_num: 1 '
    f"task_expert_net {NET} share_expert_net {NET} }} {TWO} }}",
    "RocketLaunching": ALL
    + f"rocket_launching {{ share_dnn {DNN} booster_dnn {DNN} light_dnn {DNN} }}",
    "SimpleMultiTask": ALL + f"simple_multi_task {{ {TWO} }}",
    "WideAndDeep": DEEP
    + WIDE
    + f"wide_and_deep {{ wide_output_dim: 1 dnn {DNN} final_dnn {{ hidden_units: [8] }} }}",
}
"""Class -> its feature groups and message."""


def config(model: str, *, features: str = "", more: str = "", train: str = TRAIN) -> str:
    """A whole config of a model class."""
    return (
        f"{train}{_data(COLUMNS)}feature_config: {{\n{FEATURES}{features}}}\n"
        f'model_config: {{\nmodel_class: "{model}"\n{MODELS[model]}\n{more}}}\n'
    )
