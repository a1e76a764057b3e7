"""Source -> file -> class -> module: generated code is checked, written, imported and explained.

The only place that executes code made from a recipe. Before it does, the file's syntax tree must
consist of the few forms that `lower` writes: imports of known modules, constants, one class.
"""

from __future__ import annotations

import ast
import atexit
import functools
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from graphrec.compiler.codegen import Source
from graphrec.ground.text import write_text

if TYPE_CHECKING:
    from torch import nn

__all__ = ["UnsafeSource", "check_source", "load", "rows_needed", "write"]

_NODES = (
    *(ast.Module, ast.Expr, ast.Constant, ast.Import, ast.ImportFrom, ast.alias, ast.Assign),
    *(ast.Name, ast.Load, ast.Store, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg),
    *(ast.Return, ast.Call, ast.keyword, ast.Attribute, ast.Tuple, ast.List, ast.Dict),
    ast.Starred,
    *(ast.Subscript, ast.Slice, ast.UnaryOp, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult),
    *(ast.Div, ast.Compare, ast.Gt, ast.GtE, ast.Lt, ast.LtE, ast.If),
)
_MODULES = frozenset({"collections.abc", "torch", "graphrec.nn"})
_DUNDERS = frozenset({"__init__"})


class UnsafeSource(AssertionError):
    """Generated code holds a form that the compiler never writes: a bug of graphrec."""


def check_source(source: Source) -> None:
    """Raise UnsafeSource unless the text consists of allowed forms only."""
    allowed = _MODULES | {layer.partition(":")[0] for layer in source.layers}
    tree = ast.parse(source.text)
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise UnsafeSource(f"line {getattr(node, 'lineno', '?')}: {type(node).__name__}")
        if isinstance(node, ast.If) and ast.unparse(node.test) != "self.training":
            raise UnsafeSource(f"line {node.lineno}: if {ast.unparse(node.test)}")
        if isinstance(node, ast.ImportFrom) and node.module not in allowed:
            raise UnsafeSource(f"line {node.lineno}: import of {node.module}")
        if isinstance(node, ast.Import) and any(a.name != "torch" for a in node.names):
            raise UnsafeSource(f"line {node.lineno}: import of {node.names[0].name}")
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        if name.startswith("__") and name not in _DUNDERS:
            raise UnsafeSource(f"line {getattr(node, 'lineno', '?')}: {name}")
        if isinstance(node, ast.Call) and not isinstance(node.func, (ast.Name, ast.Attribute)):
            raise UnsafeSource(f"line {node.lineno}: a call of a call")
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if classes != [source.class_name]:
        raise UnsafeSource(f"expected one class {source.class_name}, found {classes}")


def write(source: Source, path: Path) -> Path:
    """Write the text at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_text(path, source.text)


def load(source: Source, path: Path | None = None) -> type[nn.Module]:
    """The generated class, imported from a real file: `path`, or one that the process removes.

    Exceptions raised inside it gain a note with the node and the recipe's line.
    """
    check_source(source)
    file = write(source, path or _scratch() / source.digest / "model.py")
    name = _module_name(source)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    generated: type[nn.Module] = getattr(module, source.class_name)
    _explain_calls(generated, source, str(file))
    generated.__reduce_ex__ = _reduced(source)  # type: ignore[method-assign]
    return generated


def _reduced(source: Source) -> Any:
    """How an instance is pickled: where its class is not known, the source makes it again."""

    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        return _new, (source,), self.__getstate__()  # type: ignore[no-untyped-call]

    return reduce


def _new(source: Source) -> nn.Module:
    known = getattr(sys.modules.get(_module_name(source)), source.class_name, None)
    generated: type[nn.Module] = known or load(source)
    return generated.__new__(generated)


def _module_name(source: Source) -> str:
    return f"graphrec_generated_{source.digest}"


@functools.cache
def _scratch() -> Path:
    """One folder of this process: a server that loads a run again and again adds no other."""
    folder = Path(tempfile.mkdtemp(prefix="graphrec-"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a fork that ends leaves it to its parent
        shutil.rmtree(folder, ignore_errors=True)


def _explain_calls(generated: Any, source: Source, file: str) -> None:
    """Wrap construction and calls of the generated class so that errors name their node."""
    generated.__init__ = _drawn_once(generated.__init__)
    for name in ("__init__", "__call__", *([source.score] if source.score else [])):
        setattr(generated, name, _explained(getattr(generated, name), source, file))


def _drawn_once(constructor: Any) -> Any:
    """A generated constructor ends with `initialize`: tables need not draw before it does."""
    from graphrec.nn.seeding import drawn_later

    @functools.wraps(constructor)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        with drawn_later():
            constructor(self, *args, **kwargs)

    return call


def _explained(plain: Any, source: Source, file: str) -> Any:
    @functools.wraps(plain)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return plain(self, *args, **kwargs)
        except Exception as error:
            _note(error, source, file)
            raise

    return call


def _note(error: Exception, source: Source, file: str) -> None:
    line = _deepest_line(error.__traceback__, file)
    node = source.owner.get(line) if line else None
    if node is not None:
        text = source.text.splitlines()[(line or 1) - 1].strip()
        error.add_note(f"graphrec: in node '{node}' ({source.places.get(node, 'recipe')}): {text}")


def _deepest_line(traceback: TracebackType | None, file: str) -> int | None:
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def rows_needed(source: Source, rows: Mapping[str, int] | None) -> tuple[Mapping[str, int], ...]:
    """Constructor arguments of the generated class: the fitted sizes, if it wants any."""
    return (rows or {},) if source.fitted else ()
