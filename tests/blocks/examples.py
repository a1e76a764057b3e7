"""One or more examples of every built-in block: parameters and the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from graphrec.blocks.library import BUILTIN
from graphrec.ground.shapes import Shape, length
from graphrec.verify import block as conformance

B = "B"
L = length("click")


def vector(width: int) -> Shape:
    return Shape((B, width))


def fields(number: int, width: int) -> Shape:
    return Shape((B, number, width))


def steps(width: int) -> Shape:
    return Shape((B, L, width))


@dataclass(frozen=True)
class Example:
    """Parameters of a block, and the shapes of its inputs."""

    block: str
    inputs: Sequence[Shape]
    params: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.block}-{self.note}" if self.note else self.block

    @property
    def subject(self) -> conformance.Example:
        """What the checks look at."""
        kind = BUILTIN.get(self.block)
        assert isinstance(kind, type)
        block = kind.model_validate(self.params)
        windows = () if self.params.get("keep") else self.params.get("windows", ())
        lengths = [min(n, sum(windows) or n) for n in conformance.LENGTHS]
        # These stop a gradient on purpose.
        stops = self.block in ("epnet", "ppnet", "hint", "similarity")
        return conformance.Example(block, tuple(self.inputs), tuple(lengths), stops)


GATES = {"gates": ["buy", "click"]}
EXAMPLES = (
    Example("aitm", [vector(6), vector(6)]),
    Example("aitm", [vector(6), vector(6), vector(6)], note="two_parents"),
    Example("attention_scores", [vector(5), steps(5)], {"hidden": [7, 4], "activation": "silu"}),
    Example("attention_scores", [vector(5), fields(3, 5)], {"hidden": [4]}, "fields"),
    Example("attention_scores", [vector(5), steps(5)], {"hidden": [4], "softmax": False}, "plain"),
    Example("augru", [steps(1), steps(5)], {"units": 3}),
    Example("batch_norm", [vector(4)]),
    Example("batch_norm", [steps(3)], note="steps"),
    Example("dropout", [vector(4)], {"rate": 0.0}),
    Example("dropout", [steps(4)], {"rate": 0.0}, "steps"),
    Example("gru", [steps(5)], {"units": 3}),
    # routing is constant to the gradient: one round has none (tests/nn/test_capsules.py)
    Example("interests", [steps(5)], {"number": 3, "width": 4, "places": 2, "iterations": 1}),
    Example("layer_norm", [vector(4)]),
    Example("layer_norm", [steps(4)], note="steps"),
    Example("logarithmic", [fields(4, 3)], {"neurons": 5}),
    Example("autodis", [vector(5)], {"dim": 4, "channels": 6}),
    Example(
        "autodis", [vector(2)], {"dim": 3, "channels": 2, "temperature": 0.5, "skip": 0.0}, "sharp"
    ),
    Example("bilinear", [fields(4, 3)]),
    Example("bilinear", [fields(4, 3)], {"kind": "all"}, "all"),
    Example("bilinear", [fields(4, 3)], {"kind": "each"}, "each"),
    Example("cin", [fields(3, 4)], {"layers": [5, 4]}),
    Example("concat", [vector(3), vector(2), vector(1)]),
    Example("concat", [steps(3), steps(2)], note="steps"),
    Example("cross", [vector(5), vector(5)]),
    Example("cross_v2", [vector(5), vector(5)]),
    Example("cross_v2", [vector(5), vector(5)], {"rank": 2}, "low_rank"),
    Example("din", [vector(5), steps(5)], {"hidden": [7, 4]}),
    Example("din", [vector(3), steps(5)], {"hidden": [7], "activation": "dice"}, "dice"),
    Example("din", [vector(5), steps(5)], {"hidden": [7, 4], "norm": "batch"}, "batch_norm"),
    Example(
        "din",
        [vector(3), steps(5)],
        {"hidden": [7], "norm": "batch", "norm_padding": "include"},
        "norm_padding",
    ),
    Example("din", [vector(5), fields(4, 5)], {"hidden": [7]}, "fields"),
    Example(
        "din",
        [vector(3), steps(5)],
        {"hidden": [7], "bias": False, "norm": "batch", "norm_padding": "include"},
        "padding",
    ),
    Example("dot_attention", [vector(5), steps(5)]),
    Example("dot_attention", [vector(3), fields(4, 5)], note="fields"),
    Example("dot_interaction", [fields(4, 3)]),
    Example("epnet", [vector(5), vector(3)], {"hidden": 4}),
    Example("fm", [fields(4, 3)]),
    Example("fusion_tower", [vector(5), vector(5)], {"outputs": {"stars": 3, "click": 1}}),
    Example(
        "fusion_tower", [vector(5), vector(5)], {"outputs": {"click": 1}, "hidden": [4]}, "mlp"
    ),
    Example("hstu", [steps(6)], {"layers": 1, "heads": 2, "head_width": 3, "max_len": 4}),
    Example(
        "hstu",
        [steps(6), vector(4)],
        {"heads": 1, "head_width": 4, "value_width": 2, "positions": 3, "max_len": 4},
        "candidate",
    ),
    Example(
        "hstu",
        [steps(5), vector(5), fields(2, 3)],
        {"layers": 1, "heads": 2, "head_width": 2, "window": 2, "max_len": 4},
        "context",
    ),
    Example("hstu", [steps(4)], {"head_width": 2, "max_len": 4, "pool": "none"}, "steps"),
    Example("info_nce", [vector(5), vector(5)]),
    Example("info_nce", [vector(5), vector(5)], {"temperature": 0.5, "weight": 2.0}, "weighted"),
    Example("hint", [vector(3), vector(3)]),
    Example(
        "hint", [vector(3), vector(3), vector(1)], {"kind": "soft", "temperature": 2.0}, "soft"
    ),
    Example("hint", [vector(1), vector(1)], {"kind": "soft"}, "one_logit"),
    Example("similarity", [vector(3), vector(3)]),
    Example("similarity", [vector(3), vector(3), vector(1)], {"kind": "euclid"}, "euclid"),
    Example("order_calibrated", [vector(1), vector(1), vector(1)]),
    Example("regulation", [fields(4, 3)]),
    Example("regulation", [fields(4, 3)], {"temperature": 0.5, "keep_scale": True}, "sharp"),
    Example("linear", [vector(5)], {"out": 3}),
    Example("linear", [steps(5)], {"out": 3, "bias": False}, "steps"),
    Example("mask_block", [vector(5), vector(3)], {"hidden": 4}),
    Example("mask_block", [vector(5), vector(3)], {"hidden": 4, "aggregation": 2}, "aggregation"),
    Example("mask_block", [vector(5), vector(3)], {"hidden": 4, "reduction": 2.5}, "reduction"),
    Example("masknet", [vector(5)], {"blocks": 2, "hidden": 4, "top": [3]}),
    Example("masknet", [vector(5)], {"blocks": 3, "hidden": 4, "mode": "serial"}, "serial"),
    Example("masknet", [vector(5)], {"blocks": 1, "hidden": 4, "top": [3], "bias": False}, "bare"),
    Example("mlp", [vector(5)], {"hidden": [7, 4]}),
    Example("mlp", [vector(5)], {"hidden": [4], "out": 1, "hidden_outputs": True}, "every_layer"),
    Example("mlp", [vector(5)], {"hidden": [7, 4], "norm": "batch", "activation": "gelu"}, "batch"),
    Example("mlp", [steps(5)], {"hidden": [7], "norm": "layer", "activation": "prelu"}, "steps"),
    Example("mlp", [fields(3, 5)], {"out": 2, "bias": False}, "fields"),
    Example("mlp", [vector(5)], {"hidden": [4], "activation": "leaky_relu(0.3)"}, "slope"),
    Example("mmoe", [vector(5)], {"experts": 3, "hidden": [6, 4], **GATES}),
    Example("mmoe", [vector(5)], {"experts": 2, "hidden": [4], "gate_hidden": [3], **GATES}, "mlp"),
    Example(
        "mmoe",
        [vector(5)],
        {"experts": 2, "hidden": [4], "gate_hidden": [3], "gate_bias": False, **GATES},
        "gates_without_bias",
    ),
    Example("multi_window_din", [vector(4), steps(5)], {"hidden": [6], "windows": [1, 2, 4]}),
    Example(
        "multi_window_din",
        [vector(5), steps(5)],
        {"hidden": [6, 3], "windows": [1, 2], "keep": "last"},
        "last",
    ),
    Example(
        "multi_window_din",
        [vector(5), steps(5)],
        {"hidden": [6], "windows": [2, 1], "keep": "first"},
        "first",
    ),
    Example(
        "ple", [vector(5)], {"levels": 2, "private": 2, "shared": 1, "hidden": [6, 4], **GATES}
    ),
    Example(
        "ple",
        [vector(5)],
        {
            "levels": 2,
            "private": [1, 2],
            "shared": [2, 1],
            "hidden": [[6, 4], [3]],
            "shared_hidden": [[4], [5, 3]],
            **GATES,
        },
        "per_level",
    ),
    Example("pooling", [steps(5)]),
    Example("pooling", [steps(5)], {"mode": "sum"}, "sum"),
    Example("pooling", [steps(5)], {"mode": "max"}, "max"),
    Example("pooling", [steps(5)], {"mode": "last"}, "last"),
    Example("pooling", [fields(3, 5)], note="fields"),
    Example("ppnet", [vector(5), vector(3)], {"hidden": [6, 4], "gate_hidden": 3}),
    Example("relation_mlp", [vector(5), vector(3)], {}),
    Example("relation_mlp", [vector(5)] * 3, {"hidden": [4, 2], "activation": "tanh"}, "three"),
    Example("self_attention", [steps(5)], {"width": 6, "heads": 2}),
    Example("self_attention", [fields(3, 5)], {"width": 6, "heads": 2}, "fields"),
    Example("self_attention", [steps(5)], {"width": 6, "heads": 2, "pool": "none"}, "every_step"),
    Example(
        "self_attention", [fields(3, 5)], {"width": 6, "heads": 2, "pool": "none"}, "every_field"
    ),
    Example(
        "self_attention",
        [steps(6)],
        {"width": 6, "heads": 3, "positions": 3, "skip": True, "norm": True},
        "positions_skip_norm",
    ),
    Example("senet", [fields(4, 3)], {"reduction": 2}),
    Example("senet", [fields(6, 3)], {"gate": "relu", "reduction": 2}, "relu"),
    Example("senet", [fields(4, 3)], {"reduction": 2, "bias": False}, "bare"),
    Example("weighted_sum", [steps(1), steps(5)]),
    Example("weighted_sum", [fields(3, 1), fields(3, 5)], note="fields"),
    Example(
        "wukong", [fields(4, 3)], {"fm_fields": 2, "linear_fields": 2, "rank": 2, "hidden": [5]}
    ),
    Example(
        "wukong",
        [fields(4, 3)],
        {"fm_fields": 2, "linear_fields": 1, "rank": 2, "hidden": [5], "norm": "layer"},
        "narrower",
    ),
)
