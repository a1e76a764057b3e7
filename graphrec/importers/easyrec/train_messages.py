"""`train_config` and `data_config`: one optimizer for all parameters, rates inside it."""

from __future__ import annotations

from graphrec.ground.errors import Span
from graphrec.importers.easyrec.message_parts import entries, message, nested, rest, value
from graphrec.importers.tzrec.section import Notes
from graphrec.importers.tzrec.textproto import Entry, Message, Word

__all__ = ["data_message", "train_message"]

_INPUTS = {
    "CSVInput": "CsvDataset",
    "CSVInputEx": "CsvDataset",
    "CSVInputV2": "CsvDataset",
    "ParquetInput": "ParquetDataset",
    "ParquetInputV2": "ParquetDataset",
    "ParquetInputV3": "ParquetDataset",
}
_OPTIMIZERS = {
    "adam_async_optimizer": "adam_optimizer",
    "adam_asyncw_optimizer": "adamw_optimizer",
    "lazy_adam_optimizer": "adam_optimizer",
    "momentum_optimizer": "sgd_optimizer",
    "momentumw_optimizer": "sgd_optimizer",
}
_SETTINGS = {"momentum_optimizer_value": "momentum"}
_RATES = ("learning_rate", "initial_learning_rate", "learning_rate_base")
_SCHEDULE = {
    "burnin_learning_rate": "warmup_learning_rate",
    "burnin_steps": "warmup_size",
    "decay_steps": "decay_size",
    "total_steps": "decay_size",
    "warmup_steps": "warmup_size",
}
_RATE = 0.002
_BATCH = 32


def data_message(data: Message) -> Message:
    """`data_config` with columns of raw values."""
    names = {"sample_weight": "sample_weight_fields", "separator": "delimiter"}
    parts = []
    for entry in data.entries:
        if entry.name == "input_type":
            reader = str(entry.value)
            parts.append(Entry("dataset_type", Word(_INPUTS.get(reader, reader)), entry.span))
        elif entry.name != "num_epochs":  # told with the rest of the training
            parts.append(Entry(names.get(entry.name, entry.name), entry.value, entry.span))
    if not entries(data, "batch_size"):
        parts.append(Entry("batch_size", _BATCH, data.span))
    return message([*parts, Entry("fg_mode", Word("FG_NORMAL"), data.span)], data.span)


def train_message(train: Message, data: Message | None, notes: Notes) -> Message:
    """`train_config` with one optimizer for tables and one for the rest."""
    known = ("optimizer_config", "gradient_clipping_by_norm")
    parts = rest(train, known)
    chosen = [e for e in entries(train, "optimizer_config") if isinstance(e.value, Message)]
    if len(chosen) > 1:
        what = "several optimizers by layers: the first for tables, the last for the rest"
        notes.add(chosen[1].span, what)
    if chosen:
        parts.append(Entry("sparse_optimizer", _optimizer(chosen[0], True, notes), chosen[0].span))
        parts.append(
            Entry("dense_optimizer", _optimizer(chosen[-1], False, notes), chosen[-1].span)
        )
    for entry in entries(train, "gradient_clipping_by_norm"):
        if entry.value:
            clipping = [Entry("clipping_type", "norm", entry.span)]
            clipping.append(Entry("max_gradient", entry.value, entry.span))
            parts.append(Entry("grad_clipping", message(clipping, entry.span), entry.span))
    epochs = entries(data, "num_epochs") if data is not None else []
    if epochs and epochs[-1].value and not value(train, "num_steps"):
        parts.append(epochs[-1])
    return message(parts, train.span)


def _optimizer(entry: Entry, sparse: bool, notes: Notes) -> Message:
    source = entry.value
    assert isinstance(source, Message)
    factor = value(source, "embedding_learning_rate_multiplier") if sparse else None
    parts: list[Entry] = []
    for inner in rest(source, ("embedding_learning_rate_multiplier",)):
        if not isinstance(inner.value, Message):
            if inner.name == "use_moving_average" and inner.value in ("false", "False"):
                continue
            parts += [] if sparse else [inner]  # told once
            continue
        schedule = nested(inner.value, "learning_rate")
        scale = float(factor) if isinstance(factor, int | float) else 1.0
        settings = [
            Entry(_SETTINGS.get(e.name, e.name), e.value, e.span)
            for e in rest(inner.value, ("learning_rate",))
            if not (sparse and e.name == "momentum_optimizer_value")
        ]
        rate, shape = _schedule(schedule, inner.span, notes)
        settings.append(Entry("lr", rate * scale, inner.span))
        if inner.name == "momentum_optimizer" and not sparse:
            settings += (
                []
                if value(inner.value, "momentum_optimizer_value")
                else [Entry("momentum", 0.9, inner.span)]
            )
        elif inner.name.startswith("momentum"):
            notes.add(inner.span, "tables are updated without momentum here")
        parts.append(
            Entry(
                _OPTIMIZERS.get(inner.name, inner.name), message(settings, inner.span), inner.span
            )
        )
        parts += shape
    return message(parts, entry.span)


def _schedule(source: Message | None, span: Span, notes: Notes) -> tuple[float, list[Entry]]:
    """(the rate it starts from, the entry of its course)."""
    if source is None or not source.entries:
        return _RATE, []
    entry = source.entries[-1]
    inner = entry.value if isinstance(entry.value, Message) else message([], span)
    rates = [value(inner, name) for name in _RATES if entries(inner, name)]
    rate = float(rates[0]) if rates and isinstance(rates[0], int | float) else _RATE
    if entry.name == "constant_learning_rate":
        return rate, []
    parts = [Entry(_SCHEDULE.get(e.name, e.name), e.value, e.span) for e in rest(inner, _RATES)]
    if entry.name == "manual_step_learning_rate":
        steps = [e.value for e in entries(inner, "schedule") if isinstance(e.value, Message)]
        parts = rest(inner, (*_RATES, "schedule"))
        for step in steps:
            size, lower = value(step, "step"), value(step, "learning_rate")
            parts.append(Entry("schedule_sizes", size if size is not None else 0, step.span))
            parts.append(Entry("learning_rates", lower if lower is not None else _RATE, step.span))
    return rate, [Entry(entry.name, message(parts, entry.span), entry.span)]
