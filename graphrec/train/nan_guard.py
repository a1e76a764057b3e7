"""Who made a NaN: names the input, node, loss or gradient, and keeps the batch for replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphrec.graph import Graph
from graphrec.ground.errors import DataError, Problem
from graphrec.nn.batch import Batch, Jagged
from graphrec.nn.native.norm import norm_kernel
from graphrec.train.losses import Losses
from graphrec.train.tensors import write_tensors

__all__ = ["TOO_LARGE", "gradient_norm", "largest_gradient", "not_finite"]

TOO_LARGE = 1e18
"""Optimizers square gradients: from 1.8e19 on the square is infinite, and the update 0 for ever."""
_LARGE = 1e4
"""Of an input: a transformed number is near 1, so that one this large is worth naming."""


def gradient_norm(parameters: Iterable[nn.Parameter]) -> float:
    """The norm of all gradients together; NaN or infinite only where one of them is.

    In float32 the squares of finite numbers may be infinite: then they are summed in float64.
    """
    values = _gradient_values(parameters)
    kernel = norm_kernel()
    in_one_pass = None if kernel is None else kernel.norm(values)
    if in_one_pass is not None:
        return in_one_pass
    norm = float(nn.utils.get_total_norm(values)) if values else 0.0
    if math.isfinite(norm):
        return norm
    return float(torch.stack([v.double().norm() for v in values]).norm())


def largest_gradient(parameters: Iterable[nn.Parameter]) -> float:
    """The largest absolute entry of all gradients; slow, so only for what `gradient_norm` finds."""
    values = _gradient_values(parameters)
    return float(nn.utils.get_total_norm(values, math.inf)) if values else 0.0


def _gradient_values(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    grads = [p.grad for p in parameters if p.grad is not None]
    values = [g._values() if g.is_sparse else g for g in grads]
    return [value for value in values if value.numel()]


def not_finite(
    module: nn.Module,
    graph: Graph,
    batch: Batch,
    losses: Losses,
    step: int,
    folder: Path,
    replay: Callable[[], Tensor] | None = None,
) -> DataError:
    """The error (GR720) that says where NaN or Inf came from; the batch is saved in `folder`.

    `replay` computes the loss of the batch again, to see which node's gradient is the first.
    """
    parts = [name for name, value in losses.parts.items() if not bool(value.isfinite())]
    largest = largest_gradient(module.parameters())
    large = not parts and math.isfinite(largest) and largest > TOO_LARGE
    what = f"loss {', '.join(parts)} is not finite" if parts else "a gradient is not finite"
    if large:
        what = f"a gradient is {largest:.1e}, too large for its square,"
    path = folder / f"not-finite-step-{step:08d}.safetensors"
    kept = _keep(batch, path)
    causes = [*_inputs(batch), *_weights(module, graph), *_outputs(module, graph, batch)]
    if not causes and large:
        causes = [*_largest_inputs(batch)]
    cause = causes[0] if causes else _gradients(module, graph, replay)
    return DataError(
        Problem(
            "GR720",
            f"{what} in step {step}: {cause}",
            help=f"{kept}\ntry a smaller learning rate, train.clip, or a transform of the feature",
        )
    )


def _keep(batch: Batch, path: Path) -> str:
    """Save the batch for replay; a disk that is full must not hide what it was to be kept for."""
    try:
        path.unlink(missing_ok=True)
        write_tensors(path, dict(_flat(batch)))
    except OSError as error:
        return f"the batch could not be kept in {path}: {error.strerror or error}"
    return f"the batch is kept in {path}"


def _largest_inputs(batch: Batch) -> Iterator[str]:
    """The feature with the largest numbers, where they are larger than a layer can cope with."""
    largest: dict[str, tuple[float, Tensor]] = {}
    for name, value in batch.features.items():
        numbers = value.values if isinstance(value, Jagged) else value
        if isinstance(numbers, Tensor) and numbers.is_floating_point() and numbers.numel():
            flat = numbers.abs().reshape(len(numbers), -1).amax(1)
            top = flat.topk(min(5, len(flat))).indices
            at = value.rows()[top] if isinstance(value, Jagged) else top
            largest[name] = float(flat.max()), at
    if largest:
        name = max(largest, key=lambda name: largest[name][0])
        most, at = largest[name]
        if most > _LARGE:
            yield f"feature `{name}` comes to {most:.1e}, in {_rows(at)} of the batch"


def _inputs(batch: Batch) -> Iterator[str]:
    for name, value in sorted(batch.features.items()):
        numbers = value.values if isinstance(value, Jagged) else value
        # Steps that are lists of ids are no tensor.
        measured = isinstance(numbers, Tensor) and numbers.is_floating_point()
        if measured and not bool(numbers.isfinite().all()):
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
    first: list[str] = []

    def watch(child: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            odd = [t for t in _tensors(output) if not bool(t.isfinite().all())]
            if odd and not first:
                bad = (~odd[0].isfinite()).reshape(len(odd[0]), -1).any(1).nonzero()[:, 0]
                whose = "its inputs are finite" if _all_finite(inputs) else "so are its inputs"
                first.append(f"{_node(child, graph)} gives it first, in {_rows(bad)} ({whose})")

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
            first.append(f"prediction `{name}` is the first that is not finite")
    return first


def _gradients(module: nn.Module, graph: Graph, replay: Callable[[], Tensor] | None) -> str:
    """The node behind which gradients are no longer finite, or as near as can be told."""
    if replay is not None:
        child = _first_backward(module, replay)
        if child is not None:
            return f"the gradient of {_node(child, graph)}, where it comes in finite"
    for name, parameter in reversed(list(module.named_parameters())):
        if not _is_finite(parameter.grad):
            return f"the gradient of {_node(name.split('.')[0], graph)} ({name})"
    return "the outputs of all nodes are finite"


def _first_backward(module: nn.Module, replay: Callable[[], Tensor]) -> str | None:
    """The child that gets finite gradients for its outputs and hands on others."""
    culprits: list[str] = []
    given: dict[str, bool] = {}  # whether all gradients of its outputs so far are finite

    def inputs(child: str) -> Callable[..., Any]:
        def judge(grad: Tensor) -> None:
            if not culprits and given.get(child, True) and not bool(grad.isfinite().all()):
                culprits.append(child)

        def hook(_: nn.Module, args: Any, kwargs: Any) -> Any:
            # an alias of its own: a tensor's gradient is the sum over all who read it
            return _aliased(args, judge), _aliased(kwargs, judge)

        return hook

    def outputs(child: str) -> Callable[..., None]:
        def note(grad: Tensor) -> None:
            given[child] = given.get(child, True) and bool(grad.isfinite().all())

        def hook(_: nn.Module, args: Any, output: Any) -> None:
            for tensor in _tensors(output):
                if tensor.requires_grad:
                    tensor.register_hook(note)  # type: ignore[no-untyped-call]

        return hook

    handles = []
    for name, child in module.named_children():
        handles.append(child.register_forward_pre_hook(inputs(name), with_kwargs=True))
        handles.append(child.register_forward_hook(outputs(name)))
    try:
        replay().backward()  # type: ignore[no-untyped-call]
    except RuntimeError:  # a second one that can't be had says nothing
        return None
    finally:
        for handle in handles:
            handle.remove()
    if culprits:
        return culprits[0]
    # none hands on what is not finite: then it ends in the node's own parameters
    ill = [n.split(".")[0] for n, p in module.named_parameters() if not _is_finite(p.grad)]
    return next((name for name in ill if given.get(name, True)), None)


def _aliased(value: Any, hook: Callable[[Tensor], None]) -> Any:
    if isinstance(value, Tensor):
        if not value.requires_grad:
            return value
        alias = value.view_as(value)
        alias.register_hook(hook)  # type: ignore[no-untyped-call]
        return alias
    if isinstance(value, Jagged):
        return replace(value, values=_aliased(value.values, hook))
    if isinstance(value, dict):
        return {key: _aliased(item, hook) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_aliased(item, hook) for item in value)
    return value


def _is_finite(grad: Tensor | None) -> bool:
    values = grad._values() if grad is not None and grad.is_sparse else grad
    return values is None or bool(values.isfinite().all())


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
        yield from _parts(f"features/{name}", value)
    for kind, tensors in (("labels", batch.labels), ("weights", batch.weights)):
        for name, value in tensors.items():
            yield f"{kind}/{name}", value


def _parts(name: str, value: Tensor | Jagged) -> Iterator[tuple[str, Tensor]]:
    """The tensors of an entry; of a history whose steps are lists, those of the steps too."""
    if not isinstance(value, Jagged):
        yield name, value
        return
    yield from _parts(f"{name}.values", value.values)
    yield f"{name}.lengths", value.lengths
    if value.weights is not None:
        yield f"{name}.weights", value.weights
