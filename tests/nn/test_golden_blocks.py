"""Layers against reference values of an independent implementation: outputs and gradients."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphrec.nn import (
    CGC,
    CIN,
    DIN,
    FM,
    MLP,
    Cross,
    CrossV2,
    DotAttention,
    DotInteraction,
    FusionTower,
    Jagged,
    MaskNet,
    MMoE,
    MultiWindowDIN,
    Pooling,
    SelfAttention,
)

OUTPUT, GRADIENT = 1e-5, 1e-4


@dataclass
class Case:
    """One case in double precision: what it describes, inputs, weights, and what is expected."""

    described: dict[str, Any]
    arrays: dict[str, Tensor]

    @property
    def graph(self) -> dict[str, Any]:
        graph: dict[str, Any] = self.described["graph"]
        return graph

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix)}

    def limit(self, kind: str, plain: float) -> float:
        return max(plain, 5 * float(self.described.get("noise", {}).get(kind, 0.0)))


def load(shared: Path, name: str) -> Case:
    path = shared / "golden" / "open" / name
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        tensors = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    double = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
    return Case(json.loads(path.with_suffix(".json").read_text()), double)


@dataclass
class Given:
    """A layer with the case's weights, and how to call it on the inputs."""

    layer: nn.Module
    keys: Mapping[str, str]
    run: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


def settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"activation": spec["activation"], "norm": spec["norm"], "bias": spec["bias"]}


def perceptron(ours: str, theirs: str, depth: int) -> dict[str, str]:
    """Keys of an MLP by the reference's, for every entry a layer can have."""
    parts = ("weight", "bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    acts = ("act.weight", "act.alpha", "act.running_mean", "act.running_var")
    return {
        f"{theirs}.{i}.{part}": f"{ours}layers.{i}.{part}"
        for i in range(depth)
        for part in (*parts, *acts)
    }


def linear(ours: str, theirs: str) -> dict[str, str]:
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}


def steps(inputs: Mapping[str, Tensor]) -> Jagged:
    """The zero padded sequence, jagged."""
    padded, lengths = inputs["sequence"], inputs["length"]
    real = torch.arange(padded.shape[1]) < lengths.unsqueeze(1)
    return Jagged(padded[real], lengths)


def of_x(layer: nn.Module, keys: Mapping[str, str]) -> Given:
    return Given(layer, keys, lambda inputs: {"y": layer(inputs["x"])})


def given_mlp(case: Case) -> Given:
    graph = case.graph
    several = bool(graph.get("return_hidden"))
    layer = MLP(graph["in"], graph["units"], hidden_outputs=several, **settings(graph))
    keys = perceptron("", "mlp", len(graph["units"]))
    return of_x(layer, keys)


def given_cross(case: Case) -> Given:
    graph, keys = case.graph, {}
    low = graph["kind"] == "cross_v2"
    made = [
        CrossV2(graph["in"], graph.get("rank")) if low else Cross(graph["in"])
        for _ in range(graph["layers"])
    ]
    for i in range(graph["layers"]):
        for part in ("u.weight", "v.weight", "v.bias", "weight", "bias"):
            keys[f"cross.{i}.{part}"] = f"{i}.{part}"
    layers = nn.ModuleList(made)

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        x = inputs["x"]
        for layer in layers:
            x = layer(inputs["x"], x)
        return {"y": x}

    return Given(layers, keys, run)


def given_cin(case: Case) -> Given:
    graph = case.graph
    keys = {}
    for i in range(len(graph["sizes"])):
        keys |= linear(f"layers.{i}", f"cin.{i}")
    return of_x(CIN(graph["fields"], graph["sizes"]), keys)


def given_masknet(case: Case) -> Given:
    graph, keys = case.graph, linear("norm", "mask.norm")
    for i in range(graph["blocks"]):
        ours, theirs = f"blocks.{i}", f"mask.blocks.{i}"
        keys |= linear(f"{ours}.aggregate", f"{theirs}.gen.0")
        keys |= linear(f"{ours}.project", f"{theirs}.gen.1")
        keys |= linear(f"{ours}.hidden", f"{theirs}.ffn")
        keys |= linear(f"{ours}.norm", f"{theirs}.ffn.norm")
    mode = "parallel" if graph["parallel"] else "serial"
    layer = MaskNet(
        graph["in"], graph["blocks"], graph["hidden"], reduction=graph["ratio"], mode=mode
    )
    return of_x(layer, keys)


def given_mmoe(case: Case) -> Given:
    graph = case.graph
    expert, gate, tasks = graph["expert"], graph["gate"], graph["tasks"]
    units = gate["units"] if gate else []
    layer = MMoE(
        graph["in"], graph["num_expert"], expert["units"], tasks, units, **settings(expert)
    )
    keys = {}
    for k in range(graph["num_expert"]):
        keys |= perceptron(f"experts.{k}.", f"experts.{k}", len(expert["units"]))
    for task in tasks:
        keys |= perceptron(f"gate_mlps.{task}.", f"gate.{task}.mlp", len(units))
        keys |= linear(f"gates.{task}", f"gate.{task}")
    return Given(layer, keys, lambda inputs: dict(zip(tasks, layer(inputs["x"]), strict=True)))


def given_cgc(case: Case) -> Given:
    graph = case.graph
    own, shared, tasks = graph["task_expert"], graph["shared_expert"], graph["tasks"]
    layer = CGC(
        graph["in_shared"],
        tasks,
        graph["experts_per_task"],
        graph["shared_experts"],
        own["units"],
        shared["units"],
        graph["last"],
        **settings(own),
    )
    keys = linear("shared_gate", "cgc.gate.shared")
    for task in tasks:
        keys |= linear(f"gates.{task}", f"cgc.gate.{task}")
        for k in range(graph["experts_per_task"]):
            keys |= perceptron(f"experts.{task}.{k}.", f"cgc.task.{task}.{k}", len(own["units"]))
    for k in range(graph["shared_experts"]):
        keys |= perceptron(f"shared.{k}.", f"cgc.shared.{k}", len(shared["units"]))

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        outputs, common = layer([inputs[task] for task in tasks], inputs["shared"])
        return {**dict(zip(tasks, outputs, strict=True)), "shared": common}

    return Given(layer, keys, run)


def given_fusion(case: Case) -> Given:
    graph = case.graph
    outputs = {task["name"]: task["num_class"] for task in graph["tasks"]}
    layer = FusionTower(graph["in"], outputs, graph["mlp"]["units"], **settings(graph["mlp"]))
    keys = perceptron("mlp.", "mlp", len(graph["mlp"]["units"])) | linear("head", "head")
    return Given(
        layer, keys, lambda i: dict(zip(outputs, layer(i["user"], i["item"]), strict=True))
    )


def given_din(case: Case) -> Given:
    graph = case.graph
    mlp = graph["attn_mlp"]
    keys = perceptron("mlp.", "encoder.mlp", len(mlp["units"])) | linear("mlp.out", "encoder.out")
    widths = (graph["query_dim"], graph["sequence_dim"], mlp["units"])
    if graph["kind"] == "multi_window_din":
        layer: nn.Module = MultiWindowDIN(*widths, graph["windows"], mlp["activation"])
        keys |= {"encoder.act.weight": "act.weight"}
    else:
        layer = DIN(*widths, mlp["activation"])
    return Given(layer, keys, lambda inputs: {"y": layer(inputs["query"], steps(inputs))})


def given_self_attention(case: Case) -> Given:
    graph = case.graph
    layer = SelfAttention(graph["sequence_dim"], graph["dim"], graph["heads"])
    keys: dict[str, str] = {}
    for part in ("q", "k", "v", "in_proj", "out_proj"):
        keys |= linear(part, f"encoder.{part}")
    return Given(layer, keys, lambda inputs: {"y": layer(steps(inputs))})


def given_simple_attention(case: Case) -> Given:
    layer = DotAttention()
    return Given(layer, {}, lambda inputs: {"y": layer(inputs["query"], steps(inputs))})


def given_pooling(case: Case) -> Given:
    layer = Pooling(case.graph["pooling"])
    return Given(layer, {}, lambda inputs: {"y": layer(steps(inputs))})


GIVEN: dict[str, Callable[[Case], Given]] = {
    "cgc_block": given_cgc,
    "cin": given_cin,
    "cross_v1": given_cross,
    "cross_v2_low_rank": given_cross,
    "dice_train": given_mlp,
    "din_encoder": given_din,
    "dot_interaction": lambda case: of_x(DotInteraction(case.graph["fields"]), {}),
    "fm_block": lambda case: of_x(FM(), {}),
    "fusion_mtl_tower": given_fusion,
    "masknet_parallel": given_masknet,
    "mlp_bn_prelu_train": given_mlp,
    "mlp_ln_relu": given_mlp,
    "mmoe_block_gate_mlp": given_mmoe,
    "multi_window_din": given_din,
    "pooling_mean": given_pooling,
    "self_attention_full": given_self_attention,
    "self_attention_ragged": given_self_attention,
    "simple_attention": given_simple_attention,
}


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_a_block_gives_the_reference_values(name: str, shared: Path) -> None:
    case = load(shared, name)
    given = GIVEN[name](case)
    layer = given.layer.double().train(case.described["mode"] == "train")
    weights = case.part("w/")
    own = {given.keys[key]: value for key, value in weights.items()}
    shapes = {key: value.shape for key, value in layer.state_dict().items()}
    layer.load_state_dict({key: value.reshape(shapes[key]) for key, value in own.items()})
    inputs = case.part("in/")
    gradients = case.part("grad/")
    for key in inputs:
        if f"in.{key}" in gradients or f"in.{key}" in case.described.get("nan_gradient", []):
            inputs[key].requires_grad_()
    outputs = named(given.run(inputs), case)
    expected = case.part("out/")
    assert outputs.keys() == expected.keys()
    limit = case.limit("out", OUTPUT)
    for key, value in expected.items():
        assert outputs[key].shape == value.shape
        assert error(outputs[key], value) <= limit * float(value.abs().max()), f"output {key}"
    torch.stack([(outputs[key] * inputs[f"cot.{key}"]).sum() for key in outputs]).sum().backward()
    check_gradients(case, layer, given.keys, inputs, gradients)
    for key, value in case.part("after/").items():
        assert error(layer.state_dict()[given.keys[key]], value) <= limit * float(value.abs().max())


def named(outputs: Mapping[str, Any], case: Case) -> dict[str, Tensor]:
    """Outputs under the reference's names; a tuple of layers is hidden_layer0, ..."""
    whole = outputs.get("y")
    if not isinstance(whole, tuple):
        return dict(outputs)
    layers = {f"hidden_layer{i}": value for i, value in enumerate(whole)}
    return {**layers, "hidden_layer_end": whole[-1]}


def check_gradients(
    case: Case,
    layer: nn.Module,
    keys: Mapping[str, str],
    inputs: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
) -> None:
    largest = max([float(value.abs().max()) for value in gradients.values()], default=1.0)
    zero = case.described.get("zero_gradient", [])
    parameters = dict(layer.named_parameters())
    for key, value in gradients.items():
        ours = inputs[key[3:]] if key.startswith("in.") else parameters[keys[key]]
        assert ours.grad is not None
        found = ours.grad.reshape(value.shape)
        if key == "in.sequence":  # the reference differentiates padding too
            real = torch.arange(value.shape[1]) < inputs["length"].unsqueeze(1)
            assert not found[~real].any()
            found, value = found[real], value[real]
        if key in zero:
            assert float(found.abs().max()) <= 1e-5 * largest, key
            continue
        scale = max(float(value.abs().max()), 1e-3 * largest)
        assert error(found, value) <= case.limit("grad", GRADIENT) * scale, key
    for key in case.described.get("nan_gradient", []):
        ours = inputs[key[3:]] if key.startswith("in.") else parameters[keys[key]]
        assert ours.grad is not None
        assert bool(ours.grad.isfinite().all()), key


def error(found: Tensor, expected: Tensor) -> float:
    difference = float((found.detach() - expected).abs().max())
    return difference if difference == difference else float("inf")
