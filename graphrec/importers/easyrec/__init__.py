"""Configs of EasyRec (TensorFlow), read as the TorchEasyRec configs that mean the same.

    feature_messages   features: their kinds, columns and separators
    group_messages     feature groups, and the pairs of query and history beside them
    model_messages     the model by its class, its perceptrons and towers
    loss_messages      losses, metrics and tasks
    train_messages     optimizers, rates, data
    name_ranges        field[1-3], where a config has names be written out
    message_parts      making messages of messages, every part with its place in the text

What has no other name passes as it is written, so that the import tells it with its line.
"""

from graphrec.importers.easyrec.model_messages import is_easyrec, translated

__all__ = ["is_easyrec", "translated"]
