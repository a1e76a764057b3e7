"""What blocks refuse, and what they say: shapes that do not fit, parameters that contradict."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from graphrec.blocks.base import Block
from graphrec.blocks.library import BUILTIN
from graphrec.ground.shapes import Shape, ShapeError, length

VECTOR, WIDE = Shape(("B", 8)), Shape(("B", 16))
FIELDS, HISTORY = Shape(("B", 3, 8)), Shape(("B", length("click"), 8))
TASKS = {"gates": ["click"], "hidden": [4]}


def block(name: str, params: dict[str, Any]) -> Block:
    kind = BUILTIN.get(name)
    assert isinstance(kind, type)
    return kind.model_validate(params)


@pytest.mark.parametrize(
    ("name", "params", "inputs", "said"),
    [
        ("fm", {}, [VECTOR], "needs fields [B, N, D], got [B, 8]; take `.fields` of a group"),
        ("fm", {}, [HISTORY], "needs fields [B, N, D], got [B, L, 8]; a history has no fixed"),
        ("dot_interaction", {}, [Shape(("B", 1, 8))], "needs at least two fields to pair"),
        ("masknet", {"blocks": 1, "hidden": 4}, [HISTORY], "make one vector of the history first"),
        ("masknet", {"blocks": 1, "hidden": 4}, [FIELDS], "the group itself, without `.fields`"),
        ("mmoe", {**TASKS, "experts": 2}, [FIELDS], "needs x [B, D], one vector per row, got"),
        ("cross_v2", {}, [VECTOR, WIDE], "x0 and x of equal shapes, got [B, 8] and [B, 16]"),
        ("aitm", {}, [VECTOR, WIDE], "the tower and its parents of equal shapes"),
        ("aitm", {}, [VECTOR], "needs at least one parent"),
        ("relation_mlp", {}, [], "needs at least one input"),
        ("concat", {}, [VECTOR, FIELDS], "differ in the last dimension only, got [B, 8] and [B, 3"),
        ("din", {"hidden": [4]}, [VECTOR, WIDE], "needs keys [B, L, D], a sequence or fields, got"),
        ("din", {"hidden": [4]}, [WIDE, HISTORY], "needs a query at most as wide as the keys"),
        ("din", {"hidden": [4]}, [HISTORY, HISTORY], "needs a query [B, D], one vector per row"),
        ("weighted_sum", {}, [HISTORY, HISTORY], "needs one weight per step, [B, L, 1]"),
        ("self_attention", {"skip": True}, [HISTORY], "set width: 8, or leave out skip"),
        (
            "multi_window_din",
            {"hidden": [4], "windows": [1, 1]},
            [VECTOR, FIELDS],
            "has windows for 2 steps, got [B, 3, 8]; widen them, or set keep: first",
        ),
        ("fusion_tower", {"outputs": {"a": 1}}, [VECTOR, WIDE], "user and item of equal shapes"),
        ("mlp", {"hidden": [4]}, [Shape(("B", "L.click"))], "last dimension of known width"),
    ],
)
def test_shapes_that_do_not_fit(
    name: str, params: dict[str, Any], inputs: list[Shape], said: str
) -> None:
    with pytest.raises(ShapeError) as error:
        block(name, params).infer(*inputs)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("mlp", {}, "needs hidden: [64, 32], or out: 1, or both"),
        ("mlp", {"hidden": [4], "dropout": [0.1, 0.2]}, "dropout has 2 numbers for 1 hidden"),
        ("mlp", {"hidden": [4], "dropout": 1.0}, "less than 1"),
        ("mlp", {"hidden": [0]}, "greater than 0"),
        ("mlp", {"hidden": 4}, "valid tuple"),
        ("mlp", {"hidden": [4], "activation": "rleu"}, "Input should be 'relu'"),
        ("mlp", {"hidden": [4], "hiden": [4]}, "Extra inputs are not permitted"),
        ("mlp", {"hidden": [True]}, "valid integer"),
        ("masknet", {"blocks": 1, "hidden": 4, "aggregation": 2, "reduction": 0.5}, "not both"),
        ("masknet", {"blocks": 1, "hidden": 4, "dropout": 0.5}, "need the layers of top"),
        ("mask_block", {"hidden": 4, "aggregation": 2, "reduction": 0.5}, "not both"),
        ("mmoe", {**TASKS, "experts": 2, "gate_norm": "batch"}, "need the layers of gate_hidden"),
        ("mmoe", {**TASKS, "experts": 2, "gate_dropout": 0.1}, "need the layers of gate_hidden"),
        (
            "mmoe",
            {**TASKS, "experts": 2, "gate_hidden": [4], "gate_dropout": [0.1, 0.2]},
            "gate_dropout has 2 numbers for 1 layers",
        ),
        ("mmoe", {"hidden": [4], "experts": 2, "gates": ["a", "a"]}, "`a` is named twice"),
        ("mmoe", {"hidden": [4], "experts": 2, "gates": []}, "needs at least one name"),
        ("mmoe", {"hidden": [4], "experts": 2, "gates": ["forward"]}, "forward"),
        ("mmoe", {"hidden": [4], "experts": 2, "gates": ["a b"]}, "a b"),
        ("mmoe", {**TASKS, "experts": 2, "hidden": []}, "at least 1 item"),
        (
            "ple",
            {**TASKS, "levels": 2, "private": [1, 1, 1], "shared": 1},
            "private has 3 entries for 2 levels",
        ),
        (
            "ple",
            {**TASKS, "levels": 1, "private": 1, "shared": 1, "shared_hidden": [3]},
            "level 0 has 4 in hidden and 3 in shared_hidden",
        ),
        ("fusion_tower", {"outputs": {"A": 1}}, "names here are lower case"),
        ("fusion_tower", {"outputs": {"a": 1}, "dropout": 0.1}, "need the layers of hidden"),
        ("self_attention", {"width": 10, "heads": 4}, "width 10 is no multiple of 4 heads"),
        ("din", {"hidden": [4, 2], "dropout": [0.1]}, "dropout has 1 numbers for 2 hidden layers"),
    ],
)
def test_parameters_that_contradict(name: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        block(name, params)
    assert said in str(error.value)


def test_names_are_in_the_order_of_the_alphabet() -> None:
    made = block("mmoe", {"experts": 2, "hidden": [4], "gates": ["click", "buy"]})
    outputs = made.infer(VECTOR)
    assert isinstance(outputs, dict)
    assert list(outputs) == ["buy", "click"]
    assert made.args(VECTOR)["gates"] == ["buy", "click"]


def test_arguments_leave_out_what_is_default() -> None:
    plain = block("mlp", {"hidden": [4, 2], "norm": "none", "dropout": 0.0})
    assert plain.args(VECTOR) == {"in_features": 8, "hidden": [4, 2]}
    rich = block("mlp", {"hidden": [4, 2], "norm": "layer", "dropout": [0.1, 0.2], "out": 1})
    assert rich.args(VECTOR) == {
        "in_features": 8,
        "hidden": [4, 2],
        "norm": "layer",
        "dropout": [0.1, 0.2],
        "out": 1,
    }


@pytest.mark.parametrize(
    ("params", "device", "modules", "why"),
    [
        ({}, "cuda", {"triton"}, None),
        ({}, "cpu", {"triton"}, "CUDA only"),
        ({}, "cuda", set(), "triton is not installed"),
        ({"norm": "batch"}, "cuda", {"triton"}, "no kernel for norm `batch`"),
        ({"norm": "layer", "dropout": 0.1}, "cuda", {"triton"}, None),
        ({"hidden": [64, 5000]}, "cuda", {"triton"}, "hidden (64, 5000) is above 4096"),
        ({"activation": "dice"}, "cuda", {"triton"}, "no kernel for activation `dice`"),
    ],
)
def test_the_fused_mlp_says_why_not(
    params: dict[str, Any], device: str, modules: set[str], why: str | None
) -> None:
    mlp = block("mlp", {"hidden": [4], **params})
    kernel = mlp.kernel("triton")
    assert kernel is not None
    assert kernel.refusal(mlp, device, "fp32", frozenset(modules)) == why
