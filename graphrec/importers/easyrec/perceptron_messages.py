"""`DNN` messages -> `MLP` messages: with batch norm unless said, activations of TensorFlow."""

from __future__ import annotations

from graphrec.importers.easyrec.message_parts import message, rest, value
from graphrec.importers.tzrec.textproto import Entry, Message, Word

__all__ = ["perceptron_message"]

_ACTIVATIONS = {
    "leaky_relu": "nn.LeakyReLU(0.2)",  # tf.nn.leaky_relu's own slope
    "linear": "nn.Identity",
}


def perceptron_message(dnn: Message) -> Message:
    """The same perceptron; without a word a `DNN` has batch norm."""
    parts = rest(dnn, ("activation", "use_bn"))
    activation = value(dnn, "activation")
    if isinstance(activation, str):
        word = activation.rpartition(".")[2]
        parts.append(Entry("activation", _ACTIVATIONS.get(word, activation), dnn.span))
    batch = value(dnn, "use_bn")
    parts.append(Entry("use_bn", Word("true") if batch is None else batch, dnn.span))
    return message(parts, dnn.span)
