"""`data_config`, `train_config` and their neighbours -> `data:` and `train:`."""

from __future__ import annotations

from typing import Any

from graphrec.importers.tzrec.feature_draft import Reading
from graphrec.importers.tzrec.optimizer_configs import optimizers
from graphrec.importers.tzrec.section import Section

__all__ = ["data_of", "reading_of", "train_of"]


def reading_of(data: Section | None, features: list[Section]) -> Reading:
    """How columns are to be understood, and what stands between several values of one text."""
    encoded = _is_encoded(data, features)
    mark = data.text("fg_encoded_multival_sep") if data is not None else ""
    return Reading(encoded, sep=(mark or "\x03") if encoded else "\x1d")


def _is_encoded(data: Section | None, features: list[Section]) -> bool:
    """Whether columns hold row numbers already (FG_NONE, the default).

    Configs that say neither `fg_mode` nor `fg_encoded`, but where columns come from, mean raw data.
    """
    if data is not None and "fg_mode" in data:
        return data.text("fg_mode") == "FG_NONE"
    if data is not None and "fg_encoded" in data:
        return data.flag("fg_encoded", True)
    inner = [config.section(kind) for config in features for kind in config.names()]
    return not any(section is not None and "expression" in section for section in inner)


def data_of(config: Section, data: Section | None) -> dict[str, Any]:
    """Where rows come from."""
    settings: dict[str, Any] = {}
    for key, name in (("train", "train_input_path"), ("eval", "eval_input_path")):
        paths = [part.strip() for part in config.text(name).split(",") if part.strip()]
        if any("://" in path for path in paths):
            what = f"{name}: graphrec reads Parquet and CSV files: say data.{key}"
            config.remark(name, what)
        if paths:
            settings[key] = paths[0] if len(paths) == 1 else paths
    if data is None:
        return settings
    kind = data.text("dataset_type")
    if kind == "ParquetDataset":
        settings["format"] = "parquet"
    elif kind == "CsvDataset":
        settings["format"] = "csv"
        if data.text("delimiter", ",") != ",":
            settings["sep"] = data.text("delimiter")
        settings |= _columns(data)
    elif kind:
        data.remark("dataset_type", f"dataset_type: {kind} has no counterpart: Parquet or CSV")
    workers = data.integer("num_workers")
    if workers is not None and workers != 1:
        settings["workers"] = workers
    if "shuffle" in data and not data.flag("shuffle"):
        settings["shuffle"] = 0
    elif data.flag("shuffle"):
        data.ignore("shuffle_buffer_size")
    return settings


def _columns(data: Section) -> dict[str, Any]:
    """The names of the columns, where CSV files have no line that says them."""
    fields = data.sections("input_fields")
    names = [field.text("input_name") for field in fields]
    for field in fields:
        field.ignore("input_type", "input_dim", "input_shape", "default_val")
    if data.flag("with_header"):
        return {}
    if not names:
        data.remark("with_header", "CSV files without a header line: say data.columns")
    return {"columns": names} if names else {}


def train_of(
    config: Section, data: Section | None, tasks: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """How to train."""
    settings: dict[str, Any] = {}
    config.section("eval_config")  # nothing of it is used: what is in it is told line by line
    train = config.section("train_config")
    if train is not None:
        settings |= _length(train)
    batch = data.integer("batch_size", 1024) if data is not None else 1024
    settings["batch"] = batch
    if train is None:
        return settings
    settings |= optimizers(train)
    precision = train.text("mixed_precision").upper()
    if precision == "BF16":
        settings["precision"] = "bf16"
    elif precision:
        train.remark("mixed_precision", f"mixed_precision: {precision} has no counterpart: fp32")
    if (train.integer("gradient_accumulation_steps") or 1) > 1:
        settings["accumulate"] = train.integer("gradient_accumulation_steps")
    settings |= _clip(train)
    save: dict[str, Any] = {}
    if "save_checkpoints_steps" in train and train.integer("save_checkpoints_steps"):
        save["every"] = train.integer("save_checkpoints_steps")
    if train.integer("keep_checkpoint_max"):
        save["keep"] = train.integer("keep_checkpoint_max")
    best = _best(config, tasks)
    if best:
        save["best"] = best
    if save:
        settings["save"] = save
    if train.integer("log_step_count_steps"):
        settings["log_every"] = train.integer("log_step_count_steps")
    return settings


def _length(train: Section) -> dict[str, Any]:
    epochs, steps = train.integer("num_epochs"), train.integer("num_steps")
    if steps and epochs:
        train.remark("num_epochs", f"num_epochs beside num_steps: {steps} steps")
    if steps:
        return {"steps": steps}
    return {"epochs": epochs or 1}


def _clip(train: Section) -> dict[str, Any]:
    clipping = train.section("grad_clipping")
    if clipping is None:
        return {}
    kind = clipping.text("clipping_type", "none")
    limit = clipping.number("max_gradient", 1.0)
    if kind == "norm" and clipping.number("norm_type", 2.0) == 2.0 and limit > 0:
        clipping.ignore("enable_global_grad_clip")
        return {"clip": float(limit)}
    if kind != "none":
        clipping.remark("clipping_type", f"clipping by {kind} has no counterpart: not clipped")
    clipping.ignore("norm_type", "max_gradient")
    return {}


def _best(config: Section, tasks: dict[str, dict[str, Any]]) -> str | None:
    """`best_exporter_metric: "auc_ctr"` -> ctr.auc, where a task evaluates it."""
    export = config.section("export_config")
    if export is None or export.text("exporter_type", "latest") != "best":
        return None
    wanted = export.text("best_exporter_metric", "auc")
    export.flag("metric_larger_is_better")
    for name, task in tasks.items():
        for metric in task.get("metrics", ["auc"]):
            plain, _, rest = metric.partition("(")
            if wanted in (f"{plain}_{name}", plain, f"{plain}@{rest.rstrip(')')}"):
                return f"{name}.{metric}"
    what = f"best_exporter_metric: no task evaluates {wanted}: the last checkpoint counts"
    export.remark("best_exporter_metric", what)
    return None
