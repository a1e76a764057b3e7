"""What a generated module returns for every row: names, widths, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass

from graphrec.graph import Graph, Output

__all__ = ["RowOutput", "row_outputs"]


@dataclass(frozen=True)
class RowOutput:
    """One entry of the module's result: a number for each row, or `dims` of them.

    `kind` is `logits`, `probs`, `probs1` (the second of two classes), `y` or `embedding`; `task` is
    empty for an embedding.
    """

    name: str
    kind: str
    task: str = ""
    dims: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Numbers of a row."""
        total = 1
        for size in self.dims:
            total *= size
        return total


def row_outputs(graph: Graph) -> tuple[RowOutput, ...]:
    """The entries of `forward` that have a row for each row of the batch, in its order.

    Raises ValueError for an exported node whose rows differ in size (a history).
    """
    outputs = [
        RowOutput(kind + output.suffix, kind, output.task, dims)
        for output in graph.outputs
        for kind, dims in _predictions(output)
    ]
    for ref in graph.exports:
        shape = graph.shape(ref)
        if shape.is_jagged:
            raise ValueError(f"`{ref}` is a history, {shape}: rows of different sizes")
        dims = tuple(size for size in shape.dims[1:] if isinstance(size, int))
        outputs.append(RowOutput(str(ref), "embedding", dims=dims))
    return tuple(outputs)


def _predictions(output: Output) -> list[tuple[str, tuple[int, ...]]]:
    if output.form == "softmax":
        wide = (output.classes,)
        second = [("probs1", ())] if output.classes == 2 else []
        return [("logits", wide), ("probs", wide), *second]
    if output.form == "lognormal":
        return [("logits", (output.classes,)), ("y", ())]
    if output.form == "regression":
        return [("y", ())]
    if output.form == "prob":
        return [("probs", ())]
    return [("logits", ()), ("probs", ())]
