"""What each part of a config becomes, and that nothing is left out without a word."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from graphrec.compiler.pipeline import check_recipe
from graphrec.ground.errors import RecipeError
from graphrec.importers.configs import import_config
from graphrec.importers.tzrec import Imported

sys.path.insert(0, str(Path(__file__).parent))
from importer_configs import BINARY, DATA, MODELS, SPARSE, config, group, tower


def imported(tmp_path: Path, text: str) -> Imported:
    """The import of a config whose recipe holds."""
    source, recipe = tmp_path / "model.config", tmp_path / "model.yaml"
    source.write_text(text, encoding="utf-8")
    made = import_config(source)
    recipe.write_text(made.text, encoding="utf-8")
    for name, lines in made.files.items():
        (tmp_path / name).write_text(lines, encoding="utf-8")
    assert not [str(p) for p in check_recipe(recipe).errors]
    return made


def said(made: Imported) -> list[str]:
    return [f"{p.span.line if p.span else 0}: {p.message}" for p in made.problems]


def with_feature(feature: str) -> str:
    """A config whose model also reads the feature `f`."""
    model = (
        group("all", (*SPARSE, "f"))
        + f"multi_tower {{ towers {{ input: 'all' mlp {{ hidden_units: 4 }} }} final {{ hidden_units: 4 }} }} {BINARY}"
    )
    return config(model, features=(feature,))


NAME = 'feature_name: "f" expression: "item:f"'


@pytest.mark.parametrize(
    ("feature", "family"),
    [
        (f"id_feature {{ {NAME} hash_bucket_size: 100000 embedding_dim: 4 value_dim: 1 }}", "{type: id, side: item, names: f, vocab: hash(100_000), dim: 4}"),
        (f"id_feature {{ {NAME} num_buckets: 7 embedding_dim: 4 pooling: 'mean' value_dim: 3 }}", r'{type: id, side: item, names: f, vocab: 7, dim: 4, pool: mean, sep: "\x1d"}'),
        (f"id_feature {{ {NAME} num_buckets: 7 embedding_dim: 4 separator: '|' }}", '{type: id, side: item, names: f, vocab: 7, dim: 4, pool: sum, sep: "|"}'),
        (f"id_feature {{ {NAME} num_buckets: 7 embedding_dim: 4 value_dim: 1 default_value: '0' }}", "{type: id, side: item, names: f, vocab: 7, dim: 4, default: 0}"),
        (f"id_feature {{ {NAME} num_buckets: 7 embedding_dim: 4 value_dim: 1 trainable: false data_type: 'BF16' }}", "{type: id, side: item, names: f, vocab: 7, dim: 4, trainable: false, dtype: bf16}"),
        (f"id_feature {{ {NAME} num_buckets: 7 embedding_dim: 4 value_dim: 1 init_fn: 'nn.init.uniform_,a=-0.01,b=0.01' }}", "{type: id, side: item, names: f, vocab: 7, dim: 4, init: uniform(0.01)}"),
        (f"id_feature {{ {NAME} num_buckets: 7 embedding_dim: 4 value_dim: 1 init_fn: 'nn.init.normal_,mean=0.0,std=0.05' }}", "{type: id, side: item, names: f, vocab: 7, dim: 4, init: normal(0.05)}"),
        ('id_feature { feature_name: "f" expression: "context:hour" num_buckets: 24 embedding_dim: 4 value_dim: 1 }', "{type: id, side: context, names: f, column: hour, vocab: 24, dim: 4}"),
        (f"raw_feature {{ {NAME} }}", "{type: dense, side: item, names: f}"),
        (f"raw_feature {{ {NAME} value_dim: 4 default_value: '1.5' }}", r'{type: dense, side: item, names: f, width: 4, sep: "\x1d", default: 1.5}'),
        (f"raw_feature {{ {NAME} normalizer: 'method=zscore,mean=1.0,standard_deviation=2.0' }}", "{type: dense, side: item, names: f, transform: zscore, stats: [1, 2]}"),
        (f"raw_feature {{ {NAME} normalizer: 'method=minmax,min=2.1,max=2.2' }}", "{type: dense, side: item, names: f, transform: minmax, stats: [2.1, 2.2]}"),
        (f"raw_feature {{ {NAME} embedding_dim: 4 autodis {{ num_channels: 3 temperature: 0.2 keep_prob: 0.5 }} }}", "{type: dense, side: item, names: f, dim: 4, autodis: {channels: 3, temperature: 0.2, skip: 0.5}}"),
        (f"raw_feature {{ {NAME} boundaries: [3, 1.5, 3] embedding_dim: 4 }}", "{type: bucket, side: item, names: f, edges: [1.5, 3], dim: 4}"),
        ('combo_feature { feature_name: "f" expression: ["user:user_id", "item:cate"] hash_bucket_size: 50 embedding_dim: 8 }', "{type: cross, name: f, of: [user_id, cate], vocab: hash(50)}"),
    ],
)  # fmt: skip
def test_a_feature(feature: str, family: str, tmp_path: Path) -> None:
    made = imported(tmp_path, with_feature(feature))
    assert f"  - {family}\n" in made.text
    assert not [
        line
        for line in said(made)
        if "`n" not in line and "click_seq" not in line and "labels" not in line
    ]


@pytest.mark.parametrize(
    ("feature", "family", "remark"),
    [
        (f"id_feature {{ {NAME} zch {{ zch_size: 100 }} embedding_dim: 4 }}", "names: f, vocab: fit, dim: 4", "zch has no counterpart"),
        (f"raw_feature {{ {NAME} normalizer: 'method=expression,expr=log(x+3)' }}", "names: f, transform: log1p", "normalizer: method=expression,expr=log(x+3) becomes"),
        (f"raw_feature {{ {NAME} value_dim: 3 embedding_dim: 4 mlp {{ }} }}", r'names: f, width: 3, sep: "\x1d", dim: 4}', "mlp embedding: the numbers times a learned matrix"),
        (f"raw_feature {{ {NAME} value_dim: 3 embedding_dim: 4 autodis {{ num_channels: 3 }} }}", r'names: f, width: 3, sep: "\x1d"}', "an embedding of several numbers by autodis has no counterpart: as they are"),
        (f"raw_feature {{ {NAME} normalizer: 'method=expression,expr=sign(x)' }}", "{type: dense, side: item, names: f}", "normalizer: method=expression,expr=sign(x) has no counterpart"),
        ("lookup_feature { feature_name: 'f' map: 'user:m' key: 'item:k' num_buckets: 9 embedding_dim: 4 }", r'{type: id, names: f, vocab: 9, dim: 4, pool: sum, sep: "\x1d"}', "lookup_feature is not computed here"),
        ("match_feature { feature_name: 'f' nested_map: 'user:m' pkey: 'item:k' skey: 'ALL' }", "{type: dense, names: f}", "match_feature is not computed here"),
        ("expr_feature { feature_name: 'f' expression: 'a+b' variables: ['item:a', 'item:b'] }", "{type: dense, names: f}", "expr_feature is not computed here"),
        ("overlap_feature { feature_name: 'f' query: 'user:q' title: 'item:t' method: 'is_equal' }", "{type: dense, names: f}", "overlap_feature is not computed here"),
        ("combo_feature { feature_name: 'f' expression: ['user:x', 'item:y'] hash_bucket_size: 50 embedding_dim: 8 }", "{type: cross, name: f, of: [x, y], vocab: hash(50)}", "`y` is combined as one text"),
        (f"id_feature {{ {NAME} num_buckets: 7 embedding_dim: 4 use_mask: true }}", "names: f, vocab: 7, dim: 4, pool: sum", "feature_configs.id_feature.use_mask: true has no counterpart"),
    ],
)  # fmt: skip
def test_a_feature_done_otherwise(feature: str, family: str, remark: str, tmp_path: Path) -> None:
    made = imported(tmp_path, with_feature(feature))
    assert family in made.text
    assert any(remark in line for line in said(made))


def test_encoded_data_holds_row_numbers(tmp_path: Path) -> None:
    features = ("id_feature { feature_name: 'f' hash_bucket_size: 50 embedding_dim: 4 }",)
    model = group("all", (*SPARSE, "f")) + f"dcn_v1 {{ deep {{ hidden_units: 4 }} }} {BINARY}"
    data = DATA.replace("FG_DAG", "FG_NONE")
    made = imported(tmp_path, config(model, features=features, data=data))
    assert "names: f, vocab: 50, dim: 4" in made.text
    assert "cate: 20, price: 3}" in made.text
    assert any("encoded data" in line for line in said(made))


def test_tables_are_shared_by_embedding_name(tmp_path: Path) -> None:
    one = "id_feature {{ feature_name: '{}' num_buckets: 9 embedding_dim: 4 embedding_name: 'ids' {} }}"
    features = (one.format("f", "value_dim: 1"), one.format("g", "pooling: 'mean'"))
    model = group("all", (*SPARSE, "f", "g")) + f"dcn_v1 {{ deep {{ hidden_units: 4 }} }} {BINARY}"
    made = imported(tmp_path, config(model, features=features))
    told = 'names: [f, g], vocab: 9, dim: 4, share: ids, pool: mean, sep: "\\x1d"}'
    assert told in " ".join(made.text.split())


SEQ = "sequence_id_feature {{ feature_name: '{}' sequence_length: 30 expression: 'user:{}' num_buckets: {} embedding_dim: 8 }}"


def test_a_history_that_differs_gets_features_of_its_own(tmp_path: Path) -> None:
    names = ("item_id", "cate", "seen_items", "seen_cates")
    model = group("seq", names, "SEQUENCE") + group("all", SPARSE)
    model += f"multi_tower_din {{ towers {{ input: 'all' mlp {{ hidden_units: 4 }} }} din_towers {{ input: 'seq' attn_mlp {{ hidden_units: 4 }} }} final {{ hidden_units: 4 }} }} {BINARY}"
    features = (SEQ.format("seen_items", "seen", 300), SEQ.format("seen_cates", "seen_cates", 99))
    made = imported(tmp_path, config(model, features=features))
    folded = " ".join(made.text.split())
    assert "column: {item_id: seen, seen_cates_step: seen_cates}" in folded
    assert "  seq:       [item_id, cate]\n" in made.text
    assert "in: {query: seq, keys: seq_history}" in made.text


@pytest.mark.parametrize(
    ("model_config", "task"),
    [
        ("losses { binary_focal_loss { gamma: 1 alpha: 0.3 } } metrics { auc {} }", "loss: {focal: {alpha: 0.3, gamma: 1}}, metrics: [auc]"),
        ("num_class: 2 losses { softmax_cross_entropy { label_smoothing: 0.1 } } metrics { auc {} } metrics { accuracy {} }", "classes: 2, loss: {softmax: {label_smoothing: 0.1}}, metrics: [auc, accuracy]"),
        ("num_class: 2 losses { jrc_loss { session_name: 'user_id' } } metrics { grouped_auc { grouping_key: 'user_id' } }", "classes: 2, loss: {jrc: {session: user_id}}, metrics: [gauc(user_id)]"),
        ("num_class: 4 losses { softmax_cross_entropy {} } metrics { multiclass_auc {} }", "kind: multiclass, classes: 4, metrics: [multiclass_auc]"),
        ("losses { l2_loss {} } metrics { mean_absolute_error {} } metrics { xauc {} } metrics { grouped_xauc { grouping_key: 'user_id' } }", "kind: regression, metrics: [mae, xauc, gxauc(user_id)]"),
        ("losses { l2_loss {} } metrics { xauc {} } train_metrics { xauc {} decay_step: 10 }", "metrics: [xauc], train_metrics: [xauc(step=10)]"),
        ("losses { binary_cross_entropy {} } metrics { normalized_entropy {} } train_metrics { auc { thresholds: 500 } decay_rate: 0.8 decay_step: 10 }", 'metrics: [normalized_entropy], train_metrics: ["auc(step=10, rate=0.8, bins=500)"]'),
    ],
)  # fmt: skip
def test_losses_and_metrics(model_config: str, task: str, tmp_path: Path) -> None:
    model = group("all", SPARSE) + "dcn_v1 { deep { hidden_units: 4 } } " + model_config
    made = imported(tmp_path, config(model))
    assert task in " ".join(made.text.split())


def test_weights_of_a_task(tmp_path: Path) -> None:
    more = "weight: 0.5 sample_weight_name: 'w' task_space_indicator_label: 'clk' in_task_space_weight: 2 out_task_space_weight: 0.1"
    model = (
        group("all", SPARSE)
        + f"mmoe {{ expert_mlp {{ hidden_units: 4 }} num_expert: 2 {tower('ctr', 'clk', 'pareto_min_loss_weight: 0.2')} {tower('cvr', 'buy', more)} }} use_pareto_loss_weight: true kernel: TRITON variational_dropout {{ regularization_lambda: 0.02 }}"
    )
    made = imported(tmp_path, config(model))
    weighted = "weight: 0.5, sample_weight: w, space: {label: clk, inside: 2, outside: 0.1}"
    assert weighted in " ".join(made.text.split())
    assert "balance: {pareto: {min: {ctr: 0.2}}}" in made.text
    assert "kernels: {default: triton}" in made.text
    assert "regularize: {variational_dropout: {lambda: 0.02}}" in made.text


OPTIMIZERS = """train_config {{
  sparse_optimizer {{ {sparse} {schedule} }}
  dense_optimizer {{ {dense} {schedule} }}
  {more}
}}
"""
STEPS = "schedule_sizes: [100, 200] learning_rates: [0.01, 0.001] "


@pytest.mark.parametrize(
    ("sparse", "dense", "schedule", "more", "train"),
    [
        ("rowwise_adagrad_optimizer { lr: 0.01 }", "adamw_optimizer { lr: 0.1 beta1: 0.8 weight_decay: 0.01 }", "constant_learning_rate {}", "num_steps: 50", "{steps: 50, batch: 64, lr: {dense: 0.1, sparse: 0.01}, optim: {dense: {adamw: {betas: [0.8, 0.999], weight_decay: 0.01}}, sparse: rowwise_adagrad}}"),
        ("adam_optimizer { lr: 0.1 }", "sgd_optimizer { lr: 0.1 momentum: 0.9 }", "", "mixed_precision: 'BF16' gradient_accumulation_steps: 4 grad_clipping { clipping_type: 'norm' max_gradient: 5 }", "{epochs: 1, batch: 64, lr: {dense: 0.1, sparse: 0.1}, optim: {dense: {sgd: {momentum: 0.9}}, sparse: adam}, precision: bf16, accumulate: 4, clip: 5}"),
        ("adagrad_optimizer { lr: 0.1 }", "adam_optimizer { lr: 0.1 }", "exponential_decay_learning_rate { decay_size: 10 decay_factor: 0.5 staircase: false warmup_size: 5 warmup_learning_rate: 0.01 min_learning_rate: 0.001 }", "", "{epochs: 1, batch: 64, lr: {dense: 0.1, sparse: 0.1}, schedule: {kind: exponential, gamma: 0.5, every: 10, warmup: 5, warmup_from: 0.1, minimum: 0.01}}"),
        ("adagrad_optimizer { lr: 0.1 }", "adam_optimizer { lr: 0.1 }", f"manual_step_learning_rate {{ {STEPS} }}", "save_checkpoints_steps: 500 keep_checkpoint_max: 2 log_step_count_steps: 10", "{epochs: 1, batch: 64, lr: {dense: 0.1, sparse: 0.1}, schedule: {kind: steps, at: [100, 200], gamma: 0.1}, save: {every: 500, keep: 2}, log_every: 10}"),
    ],
)  # fmt: skip
def test_training(
    sparse: str, dense: str, schedule: str, more: str, train: str, tmp_path: Path
) -> None:
    text = config("mask_net")
    start, end = text.index("train_config"), text.index("data_config")
    written = OPTIMIZERS.format(sparse=sparse, dense=dense, schedule=schedule, more=more)
    made = imported(tmp_path, text[:start] + written + text[end:])
    folded = " ".join(made.text[made.text.index("\ntrain: ") :].split())
    assert folded == f"train: {train}"


def test_the_best_checkpoint(tmp_path: Path) -> None:
    export = 'export_config { exporter_type: "best" best_exporter_metric: "auc_cvr" }\n'
    made = imported(tmp_path, export + config("mmoe"))
    assert "save: {best: cvr.auc}" in made.text


def test_what_is_not_known_is_told_with_its_line(tmp_path: Path) -> None:
    text = config("dbmtl", more="new_switch: 3\nnew_part { depth: 2 }\n")
    text = text.replace("num_epochs: 1", "num_epochs: 1\n  warm_table: 'x'")
    text = text.replace("num_buckets: 9", "num_buckets: 9 odd: ONE")
    lines = text.splitlines()
    at = {
        word: next(i for i, line in enumerate(lines, 1) if word in line)
        for word in ("warm_table", "odd: ONE", "new_switch", "new_part")
    }
    made = imported(tmp_path, text)
    assert said(made) == [
        f'{at["warm_table"]}: train_config.warm_table: "x" has no counterpart',
        f"{at['odd: ONE']}: feature_configs.id_feature.odd: ONE has no counterpart",
        f"{at['new_switch']}: model_config.new_switch: 3 has no counterpart",
        f"{at['new_part']}: model_config.new_part {{depth: 2}} has no counterpart",
    ]
    head = [line for line in made.text.splitlines() if line.startswith("#   line")]
    assert head == [f"#   line {line}" for line in said(made)]


def test_the_same_remark_is_told_once(tmp_path: Path) -> None:
    made = imported(tmp_path, config("mmoe").replace("num_buckets", "use_mask: true num_buckets"))
    [problem] = [
        p
        for p in made.problems
        if "id_feature.use_mask" in p.message and "sequence" not in p.message
    ]
    assert problem.help.startswith("also in lines ")


def test_strange_names_become_legal_ones(tmp_path: Path) -> None:
    text = config("multi_tower_din").replace('"price"', '"item price: {€}"')
    text = text.replace('expression: "item:price"', 'expression: "item:price, {€}"')
    text = text.replace('"deep"', '"Deep Tower"').replace("'deep'", "'Deep Tower'")
    made = imported(tmp_path, text.replace('"clk"', '"is click, really"'))
    assert 'names: item_price_, column: "price, {€}"' in made.text
    assert 'is_click_really: {label: "is click, really"' in made.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_config { batch_size: 1 }", "no model_config: this is no config of a model"),
        ("model_config { tdm { } }", "model `tdm` has no counterpart"),
        ("model_config { dssm { } }", "model_config.dssm needs user_tower"),
        ("model_config { num_class: 1 }", "model_config has no model"),
        ("model_config { mmoe { } dbmtl { } }", "model_config has several models: mmoe, dbmtl"),
        ("model_config { mmoe { } }", "model_config.mmoe has no task_towers"),
        ("model_config { dcn_v1 { } }", "model_config has no feature_groups"),
        ("model_config: 3", "model_config: expected a message: model_config { ... }, got 3"),
        (config("mmoe").replace("batch_size: 64", "batch_size: 'many'"), "data_config.batch_size: expected a whole number, got 'many'"),
        (config("mmoe").replace('feature_names: "cate"', 'feature_names: "kate"', 1), "feature group `all`: no feature `kate`"),
        (config("multi_tower").replace("input: \"user\"", "input: \"usr\""), "model_config.multi_tower.towers: no feature group `usr`; there are user, item"),
        (config(MODELS["dbmtl"].replace('relation_tower_names: "ctr"', 'relation_tower_names: "ctx"')), "model_config.dbmtl.task_towers: no tower `ctx`; there are ctr, cvr"),
        (config(MODELS["dlrm"].replace("[16, 8]", "[16, 9]")), "model_config.dlrm: dense_mlp ends in another width than the features': 8"),
    ],
)  # fmt: skip
def test_what_can_not_be_imported(text: str, message: str, tmp_path: Path) -> None:
    source = tmp_path / "model.config"
    source.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        import_config(source)
    [problem] = caught.value.problems
    assert (problem.code, problem.message) == ("GR131", message)
    assert problem.span is not None


# ---- nothing lost without a word --------------------------------------------------------------


def test_several_ids_in_one_text_have_the_separator_of_the_other_system(tmp_path: Path) -> None:
    several = f"id_feature {{ {NAME} num_buckets: 7 embedding_dim: 4 value_dim: 0 }}"
    made = imported(tmp_path, with_feature(several))
    assert r'names: f, vocab: 7, dim: 4, pool: sum, sep: "\x1d"}' in made.text
    encoded = with_feature(several).replace("FG_DAG", "FG_NONE")
    assert (
        r'names: f, vocab: 7, dim: 4, pool: sum, sep: "\x03"}' in imported(tmp_path, encoded).text
    )
    data = 'fg_mode: FG_NONE fg_encoded_multival_sep: "|"'
    piped = imported(tmp_path, with_feature(several).replace("fg_mode: FG_DAG", data))
    assert 'pool: sum, sep: "|"}' in piped.text
    unsaid = imported(tmp_path, with_feature(several.replace(" value_dim: 0", "")))
    assert r'names: f, vocab: 7, dim: 4, pool: sum, sep: "\x1d"}' in unsaid.text


def test_several_ids_in_a_combination_are_told(tmp_path: Path) -> None:
    features = (
        "id_feature { feature_name: 'tags' expression: 'item:tags' num_buckets: 7 embedding_dim: 8 value_dim: 0 }",
        "combo_feature { feature_name: 'f' expression: ['user:user_id', 'item:tags'] hash_bucket_size: 50 embedding_dim: 8 }",
    )
    model = (
        group("all", (*SPARSE, "tags", "f")) + f"dcn_v1 {{ deep {{ hidden_units: 4 }} }} {BINARY}"
    )
    made = imported(tmp_path, config(model, features=features))
    assert "of: [user_id, tags_id]" in made.text
    assert any("`tags` is combined as one text" in line for line in said(made))


def test_listed_values_become_a_file_beside_the_recipe(tmp_path: Path) -> None:
    listed = f"id_feature {{ {NAME} vocab_list: ['b', 'a', 'é'] embedding_dim: 4 value_dim: 1 }}"
    made = imported(tmp_path, with_feature(listed))
    assert "names: f, vocab: file(f.vocab.txt), dim: 4" in made.text
    assert made.files == {"f.vocab.txt": "b\na\né\n"}
    entries = "vocab_dict { key: 'x' value: 3 } vocab_dict { key: 'y' value: 2 }"
    mapped = listed.replace("vocab_list: ['b', 'a', 'é']", entries)
    assert imported(tmp_path, with_feature(mapped)).files == {"f.vocab.txt": "y\nx\n"}
    odd = imported(tmp_path, with_feature(listed.replace("'a'", "''")))
    assert any("1 listed values are empty, repeated" in line for line in said(odd))


@pytest.mark.parametrize(
    ("written", "activation"),
    [
        ("nn.LeakyReLU(negative_slope=0.2)", "leaky_relu(negative_slope=0.2)"),
        ("nn.LeakyReLU(0.2, inplace=True)", "leaky_relu(negative_slope=0.2)"),
        ("nn.LeakyReLU", "leaky_relu"),
        ("nn.PReLU", "prelu"),
        ("nn.GELU(approximate='none')", "gelu"),
        ("torch.nn.SiLU", "silu"),
        ("Dice", "dice"),
        ("nn.Hardtanh(min_val=-2, max_val=2)", "hardtanh(min_val=-2, max_val=2)"),
        ("nn.Mish(inplace=True)", "mish"),
        ("nn.GELU(approximate='tanh')", "gelu(approximate=tanh)"),
        ("nn.Identity", "none"),
    ],
)
def test_activations_by_name(written: str, activation: str, tmp_path: Path) -> None:
    text = config("dcn_v1").replace("[16, 8]", f'[16, 8] activation: "{written}"')
    assert activation in imported(tmp_path, text).text


@pytest.mark.parametrize("written", ["nn.Nonesuch", "nn.ReLU(threshold=1)", "nn.LeakyReLU(slope)"])
def test_an_activation_without_counterpart_is_refused(written: str, tmp_path: Path) -> None:
    source = tmp_path / "model.config"
    text = config("dcn_v1").replace("[16, 8]", f'[16, 8] activation: "{written}"')
    source.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="has no counterpart") as caught:
        import_config(source)
    assert "leaky_relu" in caught.value.problems[0].help


def test_the_relation_keeps_its_norm_dropout_and_bias(tmp_path: Path) -> None:
    text = config("dbmtl").replace(
        "relation_mlp { hidden_units: [4]",
        "relation_mlp { hidden_units: [4] use_ln: true dropout_ratio: [0.1] bias: false",
    )
    made = imported(tmp_path, text)
    assert "- ctr -> cvr: {hidden: [4], norm: layer, dropout: 0.1, bias: false}" in made.text
    graph = check_recipe(tmp_path / "model.yaml").graph
    assert graph is not None
    (relation,) = (node.op for node in graph.nodes if node.name == "rel.cvr")
    assert {"norm": "layer", "dropout": 0.1, "bias": False}.items() <= vars(relation).items()


@pytest.mark.parametrize(
    ("sparse", "optim", "remark"),
    [
        ("rowwise_adagrad_optimizer { lr: 0.01 weight_decay: 0.1 }", "sparse: rowwise_adagrad", "weight_decay without weight_decay_mode decays nothing"),
        ("rowwise_adagrad_optimizer { lr: 0.01 weight_decay: 0.1 weight_decay_mode: L2 }", "sparse: {rowwise_adagrad: {weight_decay: 0.1}}", ""),
        ("rowwise_adagrad_optimizer { lr: 0.01 weight_decay: 0.1 weight_decay_mode: DECOUPLE }", "sparse: {rowwise_adagrad: {weight_decay: 0.1}}", "weight_decay_mode: DECOUPLE has no counterpart"),
        ("lamb_optimizer { lr: 0.01 }", "sparse: adam", "lamb_optimizer has no counterpart: adam, at its rate"),
        ("novel_optimizer { lr: 0.01 }", "", "novel_optimizer has no counterpart: adagrad, at its rate"),
    ],
)  # fmt: skip
def test_optimizers_of_tables(sparse: str, optim: str, remark: str, tmp_path: Path) -> None:
    text = config("mask_net")
    start, end = text.index("train_config"), text.index("data_config")
    dense = "adam_optimizer { lr: 0.1 }"
    written = OPTIMIZERS.format(sparse=sparse, dense=dense, schedule="", more="")
    made = imported(tmp_path, text[:start] + written + text[end:])
    train = " ".join(made.text[made.text.index("\ntrain: ") :].split())
    assert "lr: {dense: 0.1, sparse: 0.01}" in train and optim in train
    assert not remark or any(remark in line for line in said(made))


def test_names_of_histories_with_one_underscore(tmp_path: Path) -> None:
    text = config("multi_tower_din").replace("click_seq__", "click_seq_")
    made = imported(tmp_path, text)
    folded = " ".join(made.text.split())
    assert "column: {item_id: click_seq_item_id, cate: click_seq_cate}" in folded


@pytest.mark.parametrize("model", ["mmoe", "simple_multi_task", "dc2vr"])
def test_a_model_without_perceptrons_is_heads_on_its_features(model: str, tmp_path: Path) -> None:
    names = "mlp|expert_mlp|gate_mlp|bottom_mlp|booster_mlp|light_mlp"
    made = imported(tmp_path, re.sub(rf"\b({names}) {{ hidden_units: [^}}]*}}", "", config(model)))
    assert "bottom: {block: concat, in: all}" in made.text
