"""Who made a NaN: names the input, node, loss or gradient, and keeps the batch for replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.errors import DataError, Problem
from graphrec.graph import Graph
from graphrec.nn.batch import Batch, Jagged
from graphrec.train.losses import Losses
from graphrec.train.tensors import write_tensors

__all__ = ["finite_gradients", "not_finite"]


def finite_gradients(module: nn.Module) -> bool:
    """Whether every gradient is finite; tables by the rows that were touched."""
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    values = [g._values() if g.is_sparse else g for g in grads]
    return not values or bool(nn.utils.get_total_norm(values).isfinite())


def not_finite(
    module: nn.Module,
    graph: Graph,
    batch: Batch,
    losses: Losses,
    step: int,
    folder: Path,
) -> DataError:
    """The error (GR720) that says where NaN or Inf came from; the batch is saved in `folder`."""
    parts = [name for name, value in losses.parts.items() if not bool(value.isfinite())]
    what = f"loss {', '.join(parts)}" if parts else "a gradient"
    path = folder / f"not-finite-step-{step:08d}.safetensors"
    path.unlink(missing_ok=True)
    write_tensors(path, dict(_flat(batch)))
    causes = [*_inputs(batch), *_weights(module, graph), *_outputs(module, graph, batch)]
    cause = causes[0] if causes else _gradients(module, graph)
    return DataError(
        Problem(
            "GR720",
            f"{what} is not finite in step {step}: {cause}",
            help=f"the batch is kept in {path}\n"
            "try a smaller learning rate, train.clip, or a transform of the feature",
        )
    )


def _inputs(batch: Batch) -> Iterator[str]:
    for name, value in sorted(batch.features.items()):
        numbers = value.values if isinstance(value, Jagged) else value
        if numbers.is_floating_point() and not bool(numbers.isfinite().all()):
            odd = (~numbers.isfinite()).reshape(len(numbers), -1).any(1).nonzero()[:, 0]
            at = value.rows()[odd] if isinstance(value, Jagged) else odd
            yield f"feature `{name}` is not finite in {_rows(at)} of the batch"
    for kind, tensors in (("label", batch.labels), ("weight", batch.weights)):
        for name, numbers in sorted(tensors.items()):
            if numbers.is_floating_point() and bool(numbers.isinf().any()):
                at = numbers.isinf().nonzero()[:, 0]
                yield f"the {kind} of task `{name}` is infinite in {_rows(at)} of the batch"


def _weights(module: nn.Module, graph: Graph) -> Iterator[str]:
    for name, parameter in module.named_parameters():
        if not bool(parameter.isfinite().all()):
            node = _node(name.split(".")[0], graph)
            yield f"weights of {node} are not finite ({name}), after an earlier update"


def _outputs(module: nn.Module, graph: Graph, batch: Batch) -> list[str]:
    """The nodes whose output is not finite, in the order they ran, first those with good inputs."""
    found: list[str] = []

    def watch(child: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            odd = [t for t in _tensors(output) if not bool(t.isfinite().all())]
            if odd and not found:
                bad = (~odd[0].isfinite()).reshape(len(odd[0]), -1).any(1).nonzero()[:, 0]
                whose = "its inputs are finite" if _all_finite(inputs) else "so are its inputs"
                found.append(f"{_node(child, graph)} gives it first, in {_rows(bad)} ({whose})")

        return hook

    handles = [child.register_forward_hook(watch(name)) for name, child in module.named_children()]
    try:
        with torch.no_grad():
            predictions = module(batch)
    finally:
        for handle in handles:
            handle.remove()
    for name, value in predictions.items():
        if not bool(value.isfinite().all()):
            found.append(f"prediction `{name}` is the first that is not finite")
    return found


def _gradients(module: nn.Module, graph: Graph) -> str:
    for name, parameter in reversed(list(module.named_parameters())):
        grad = parameter.grad
        values = grad._values() if grad is not None and grad.is_sparse else grad
        if values is not None and not bool(values.isfinite().all()):
            return f"the gradient of {_node(name.split('.')[0], graph)} ({name})"
    return "the outputs of all nodes are finite"


def _node(child: str, graph: Graph) -> str:
    for node in graph.nodes:
        if node.name.replace(".", "_") == child:
            return f"node `{node.name}`" + (f" ({node.span})" if node.span else "")
    return f"node `{child}`"


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.ndim:
            yield value
    elif isinstance(value, Jagged):
        yield from _tensors(value.values)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _all_finite(value: Any) -> bool:
    return all(bool(t.isfinite().all()) for t in _tensors(value))


def _rows(at: Tensor) -> str:
    rows = sorted(set(at.tolist()))
    shown = ", ".join(str(row) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
    return f"row{'s' if len(rows) > 1 else ''} {shown}"


def _flat(batch: Batch) -> Iterator[tuple[str, Tensor]]:
    for name, value in batch.features.items():
        if isinstance(value, Jagged):
            yield f"features/{name}.values", value.values
            yield f"features/{name}.lengths", value.lengths
            if value.weights is not None:
                yield f"features/{name}.weights", value.weights
        else:
            yield f"features/{name}", value
    for kind, tensors in (("labels", batch.labels), ("weights", batch.weights)):
        for name, value in tensors.items():
            yield f"{kind}/{name}", value
