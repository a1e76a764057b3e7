"""The methods of a model for retrieval: a vector for each query, and one for each item."""

from __future__ import annotations

from dataclasses import replace

from graphrec.compiler.codegen.identifiers import Names
from graphrec.compiler.codegen.methods import body, stores_read
from graphrec.compiler.codegen.reads import Batches
from graphrec.compiler.codegen.state import METHODS, State
from graphrec.compiler.codegen.writer import Call, Raw, literal, quoted
from graphrec.graph import Ref
from graphrec.ground.shapes import B

__all__ = ["vectors"]

_TOLD = {"query": "What looks for items: {}, a row each.", "item": "What is found: {}, a row each."}


def vectors(state: State) -> None:
    """Write both methods, and `forward`, which calls them."""
    ends = state.graph.vectors
    assert ends is not None
    for word, ref in (("query", ends.query), ("item", ends.item)):
        _method(state, word, ref, ends.cosine)
    writer = state.writer
    writer.line()
    writer.line("def forward(self, batch: Batch) -> dict[str, Tensor]:", 4)
    writer.line('"""The queries of a batch, and the items that they are compared with."""', 8)
    writer.line("return {", 8)
    for word, batch in (("query", "batch"), ("item", "batch.candidates()")):
        writer.line(f"{quoted(word)}: self.{METHODS[word]}({batch}),", 12)
    writer.line("}", 8)


def _method(state: State, word: str, ref: Ref, cosine: bool) -> None:
    """One side of the graph as a method of its own: it never sees the columns of the other."""
    wanted = state.graph.behind([ref])
    nodes = [node for node in state.graph.nodes if node.name in wanted]
    part = replace(state.graph, outputs=(), exports=(ref,), vectors=None).with_nodes(nodes)
    state.locals = Names("batch", "embedded", "first")
    writer = state.writer
    writer.line()
    writer.line(f"def {METHODS[word]}(self, batch: Batch) -> Tensor:", 4)
    writer.line(f'"""{_TOLD[word].format(part.shape(ref))}"""', 8)
    batches, like = Batches(whole=False), dict[str, Raw]()
    for store in ("embeddings", "first_order"):
        if (store, B) in stores_read(part):
            variable = batches.variables[store, B]
            call = Call(f"self.{store}", [Raw("batch.features")], {"partial": True, **like})
            state.statement(variable, call)
            like = {"like": Raw(variable)}
    body(state, part, batches)
    value = Raw(state.variable(ref))
    state.uses_functions |= cosine
    if cosine:
        writer.line(f"return {literal(state.function('normalize', value))}", 8)
        return
    # The last statement gives it: what is returned needs no name.
    head = f"        {value.text} = "
    last = max(i for i, line in enumerate(writer.lines) if line.startswith(head))
    writer.lines[last] = f"        return {writer.lines[last].removeprefix(head)}"
