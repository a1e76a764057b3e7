"""The house holds: one direction of imports, no hidden execution, nothing too long.

The checks walk the `ast`, so they see imports inside functions too, and import nothing.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "graphrec"

# The road of a recipe, in its order: a layer may import those before it, never one after it.
# A room with floors of its own names them with a dot.
ROAD = (
    "ground",
    "recipe",
    "blocks",
    "graph",
    "compiler.layer_args",
    "compiler.kernel_lock",
    "compiler.target",
    "compiler.frontend",
    "compiler.memory",
    "compiler.requests",
    "compiler.passes",
    "compiler.codegen",
    "compiler.loader",
    "compiler.pipeline",
)
# What generated code imports: it must run without the compiler. C++ lies below the layers, and
# the layers below their faster twins.
RUNTIME = ("nn.native", "nn", "kernels")


def _before(layer: str, order: tuple[str, ...] = ROAD) -> frozenset[str]:
    return frozenset(order[: order.index(layer)])


_COMPILER = frozenset(ROAD)
_RUN = frozenset({"nn", "nn.native", "kernels"})

# layer -> the layers it may import besides itself; each stands below the line that names it.
LAYERS: dict[str, frozenset[str]] = {
    **{layer: _before(layer) for layer in ROAD},
    # Makes modules of generated code, which imports the layers.
    "compiler.loader": frozenset({*_before("compiler.loader"), "nn"}),
    # Read without knowing a block.
    "recipe": frozenset({"ground"}),
    # What a name like `relu` means is data that declarations and layers share.
    **{layer: _before(layer, RUNTIME) | {"ground"} for layer in RUNTIME},
    # The package's own face and the road's: neither imports anything at its own import.
    "compiler": frozenset(),
    # Read-only: what a recipe, a graph or a library looks like.
    "views": frozenset(_COMPILER | _RUN),
    # Configs of another system, columns of data files: both become the text of a recipe.
    "importers.tzrec": frozenset({"ground", "recipe"}),
    "importers.from_data": frozenset({"ground", "recipe", "data"}),
    "importers.easyrec": frozenset({"ground", "importers.tzrec"}),
    "importers": frozenset({"ground", "recipe", "importers.tzrec", "importers.easyrec"}),
    # Rows become batches; what a batch's columns mean is the recipe's business.
    "data": frozenset({"ground", "recipe", "compiler.loader", "nn"}),
    "train": frozenset(_COMPILER | _RUN | {"views", "data"}),
    "distributed": frozenset(_COMPILER | _RUN | {"views", "data", "train"}),
    "verify": frozenset(_COMPILER | _RUN | {"views", "data", "train"}),
    # Scores, files for other programs, a server.
    "export": frozenset(_COMPILER | _RUN | {"views", "data", "train"}),
    "api": frozenset(_COMPILER | _RUN | {"views", "data", "train", "distributed", "export"}),
    "cli": frozenset(
        _COMPILER
        | _RUN
        | {"api", "views", "data", "train", "distributed", "verify", "export"}
        | {"importers", "importers.tzrec", "importers.from_data"}
    ),
    "__main__": frozenset({"cli"}),
    # The public names, loaded when asked for.
    "__init__": frozenset(_COMPILER | {"api", "views", "data", "train", "nn"}),
}

_WITH_FLOORS = frozenset(layer.partition(".")[0] for layer in LAYERS if "." in layer)

HEAVY = frozenset({"fbgemm_gpu", "tensordict", "torch", "torchmetrics", "torchrec", "triton"})
# Everything up to the generated text works where torch is not installed.
TORCH_FREE = frozenset({*_before("compiler.loader"), "importers.tzrec"})
# Import these late: `graphrec --help` and `import graphrec` must not wait for torch.
TORCH_LATE = frozenset({"__init__", "__main__", "cli", "views", "compiler.pipeline"})
RUNTIME_LIBRARIES = HEAVY | {"numpy", "typing_extensions"} | sys.stdlib_module_names

# The one place that executes what was generated.
EXECUTES = "compiler/loader.py"
EXECUTING = frozenset({"eval", "exec", "exec_module"})
PICKLING = frozenset({"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"})

FILE_LINES = 300
# A kernel stands with its gradient and its launchers: cut in two it would be read twice.
KERNEL_FILE_LINES = 400
FUNCTION_LINES = 50

MODULES = sorted(PACKAGE.rglob("*.py"))
each_module = pytest.mark.parametrize(
    "path", MODULES, ids=[path.relative_to(PACKAGE).as_posix() for path in MODULES]
)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def layer_of(path: Path) -> str:
    """`recipe` for graphrec/recipe/reader.py, `compiler.passes` for graphrec/compiler/passes/."""
    return layer_named(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def layer_named(dotted: str) -> str:
    """The layer of a module, named below the package: a floor of its room, else the room."""
    parts = dotted.removesuffix(".__init__").split(".")
    floor = ".".join(parts[:2])
    return floor if floor in LAYERS else parts[0]


def imports(path: Path, nodes: Iterator[ast.AST]) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that `nodes` import."""
    package = path.relative_to(ROOT).parent.parts  # of `from . import x` in this file
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from graphrec.compiler import passes` names a layer; other names live in their module.
            if module == "graphrec" or module.removeprefix("graphrec.") in _WITH_FLOORS:
                for alias in node.names:
                    yield node.lineno, f"{module}.{alias.name}"
            else:
                yield node.lineno, module


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: no function bodies, no TYPE_CHECKING."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def layer_imported(name: str) -> str | None:
    """The layer behind a dotted name; nothing for a foreign one or a name of the package."""
    first, _, rest = name.partition(".")
    if first != "graphrec":
        return None
    room = rest.split(".")[0]
    is_module = room in LAYERS or (PACKAGE / f"{room}.py").exists() or (PACKAGE / room).is_dir()
    return layer_named(rest) if is_module and room else "__init__"


def import_problems(path: Path) -> list[str]:
    """Every import of this file that goes against the direction."""
    layer, tree, problems = layer_of(path), parse(path), []
    allowed = LAYERS[layer] | {layer}
    for line, name in imports(path, ast.walk(tree)):
        target = layer_imported(name)
        # The version, kept in __init__, is nobody's dependency.
        if target is not None and target not in allowed and name != "graphrec.__version__":
            problems.append(f"{path.name}:{line}: {layer} must not import {name}")
        library = name.split(".")[0]
        if layer in TORCH_FREE and library in HEAVY:
            problems.append(f"{path.name}:{line}: {layer} works without torch, not with {name}")
        if layer in RUNTIME and target is None and library not in RUNTIME_LIBRARIES:
            problems.append(f"{path.name}:{line}: generated code would need {name}")
    if layer in TORCH_LATE:
        problems += [
            f"{path.name}:{line}: import {name} inside the function that needs it"
            for line, name in imports(path, at_import(tree))
            if name.split(".")[0] in HEAVY
        ]
    return problems


def execution_problems(tree: ast.Module) -> list[str]:
    """Calls and imports that could run what a file or a recipe says."""
    problems = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [module or ""] if module else [alias.name for alias in node.names]
            problems += [f"{node.lineno}: {n}" for n in names if n.split(".")[0] in PICKLING]
        elif isinstance(node, ast.Call):
            callee = ast.unparse(node.func)
            name = callee.removeprefix("builtins.")
            # `.eval()` of a module, `re.compile` and the like are other things.
            if name in EXECUTING | {"compile"} or callee.endswith(".exec_module"):
                problems.append(f"{node.lineno}: {callee}()")
            safe = any(k.arg == "weights_only" and _is_true(k.value) for k in node.keywords)
            if callee == "torch.load" and not safe:
                problems.append(f"{node.lineno}: torch.load without weights_only=True unpickles")
    return problems


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def test_the_layers_have_no_cycle() -> None:
    standing: set[str] = set()
    waiting = dict(LAYERS)
    while waiting:
        ready = [layer for layer, below in waiting.items() if below <= standing]
        assert ready, f"these layers stand on each other: {sorted(waiting)}"
        standing.update(ready)
        for layer in ready:
            del waiting[layer]


def test_every_layer_is_there() -> None:
    missing = [
        layer
        for layer in LAYERS
        if not (PACKAGE / layer.replace(".", "/")).is_dir()
        and not (PACKAGE / f"{layer.replace('.', '/')}.py").is_file()
    ]
    assert not missing, "LAYERS names what does not exist"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Nor when a function runs, nor for annotations alone."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    reads: dict[str, set[str]] = {}
    for name, path in names.items():
        found: set[str] = set()
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
        reads[name] = {other for other in found if other in names and other != name}
    # What is left when files that import none of the rest are taken away again and again.
    while free := [name for name, others in reads.items() if not others & reads.keys()]:
        for name in free:
            del reads[name]
    assert not reads, f"in a circle, or above one: {sorted(reads)}"


@each_module
def test_every_module_belongs_to_a_layer(path: Path) -> None:
    layer = layer_of(path)
    assert layer in LAYERS, f"graphrec/{layer} belongs to no layer: give it one in LAYERS, here"


@each_module
def test_imports_go_one_way(path: Path) -> None:
    if layer_of(path) in LAYERS:
        assert not import_problems(path)


@each_module
def test_one_place_executes(path: Path) -> None:
    if path != PACKAGE / EXECUTES:
        assert not execution_problems(parse(path)), f"only graphrec/{EXECUTES} may"


@each_module
def test_no_global_state(path: Path) -> None:
    found = [node.lineno for node in ast.walk(parse(path)) if isinstance(node, ast.Global)]
    assert not found, f"global statement on line {found}"


@each_module
def test_nothing_is_too_long(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    limit = KERNEL_FILE_LINES if layer_of(path) == "kernels" else FILE_LINES
    assert lines <= limit, f"{lines} lines: a concept is hiding in it"
    functions = [
        node
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {f.name: _length(f) for f in functions}
    long = {name: length for name, length in lengths.items() if length > FUNCTION_LINES}
    assert not long, f"functions of more than {FUNCTION_LINES} lines: {long}"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function; of a Triton kernel those of its body.

    A kernel's parameters stand one a line and can't be put into an object, and a part that is cut
    out of it takes all of them again.
    """
    is_kernel = any("triton.jit" in ast.unparse(one) for one in function.decorator_list)
    first = function.body[0] if is_kernel else function
    return (function.end_lineno or 0) - first.lineno + 1


# A layer's declaration, layer, C++, twin, operator and Triton kernel bear its name.
TWINS = frozenset({"blocks", "nn", "nn/native", "kernels", "kernels/ops", "kernels/triton"})
# The same on many processes.
MIRRORED = frozenset({"data", "train"})
SAME_THING = {
    "loader.py": "the field's two: a DataLoader of batches, and the loader of generated modules",
    "remarks.py": "what a careful person should hear: of the data, and of the run",
    "terms.py": "an expression's terms, and the code of them",
}


def test_a_file_name_is_used_once() -> None:
    """But where the files are about one thing; of commands by the name of what they call."""
    folders: dict[str, set[str]] = {}
    for path in MODULES:
        if path.name not in ("__init__.py", "__main__.py"):
            room = path.relative_to(PACKAGE).parent.as_posix()
            room = "a layer" if room in TWINS else room
            folders.setdefault(path.name, set()).add(room)
    repeated = {}
    for name, rooms in folders.items():
        mirrored = {"distributed"} if rooms & MIRRORED else set()
        if len(others := rooms - {"cli"} - mirrored) > 1:
            repeated[name] = sorted(others)
    unexplained = {name: rooms for name, rooms in repeated.items() if name not in SAME_THING}
    assert not unexplained, "name each by what it alone is about"
    assert SAME_THING.keys() <= repeated.keys(), "SAME_THING names what is used once"


VAGUE = frozenset({"found", "made", "said", "asked"})


@each_module
def test_names_say_what_they_are(path: Path) -> None:
    """Not what was done to them: parameters and variables of functions."""
    functions = [
        node
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    names = [
        (inner.lineno, inner.id if isinstance(inner, ast.Name) else inner.arg)
        for function in functions
        for inner in ast.walk(function)
        if (isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store))
        or isinstance(inner, ast.arg)
    ]
    assert not [(line, name) for line, name in names if name in VAGUE]


@each_module
def test_every_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(parse(path)), "say in one sentence what the module is for"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("eval('1')", 1),
        ("builtins.exec(code)", 1),
        ("spec.loader.exec_module(module)", 1),
        ("compile(text, 'f', 'exec')", 1),
        ("import pickle", 1),
        ("from pickle import loads", 1),
        ("torch.load(path)", 1),
        ("torch.load(path, weights_only=False)", 1),
        ("torch.load(path, weights_only=True)", 0),
        ("model.eval(); re.compile('x'); torch.compile(model)", 0),
    ],
)
def test_the_check_of_execution_sees(text: str, count: int) -> None:
    assert len(execution_problems(ast.parse(text))) == count


@pytest.mark.parametrize(
    ("where", "text", "said"),
    [
        ("ground/errors.py", "from graphrec.recipe import parse", "ground must not import"),
        ("graph.py", "def f():\n    from .compiler.passes import cse", "graph must not import"),
        ("nn/dense.py", "from ..blocks import Block", "nn must not import"),
        ("nn/dense.py", "import pydantic", "generated code would need pydantic"),
        ("nn/dense.py", "from . import batch\nfrom graphrec.nn.native import rows", ""),
        ("nn/dense.py", "from graphrec.kernels import mlp", "nn must not import"),
        ("compiler/codegen/a.py", "def f():\n    import torch", "works without torch"),
        ("compiler/codegen/a.py", "from graphrec.compiler import passes", ""),
        ("compiler/passes/a.py", "from graphrec.compiler.codegen import lower", "must not import"),
        ("cli/train.py", "import torch", "inside the function"),
        ("cli/train.py", "def f():\n    import torch", ""),
        (
            "graph.py",
            "from graphrec import __version__\nfrom graphrec.ground.shapes import Shape",
            "",
        ),
        ("graph.py", "from graphrec import compile_recipe", "graph must not import"),
    ],
)
def test_the_check_of_imports_sees(
    where: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "graphrec"
    for name in ("errors", "shapes", "graph"):
        package.mkdir(exist_ok=True)
        (package / f"{name}.py").touch()
    for name in ("blocks", "kernels", "compiler"):
        (package / name).mkdir()
    (package / where).parent.mkdir(parents=True, exist_ok=True)
    (package / where).write_text(text)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", package)
    problems = import_problems(package / where)
    assert bool(problems) == bool(said)
    assert all(said in problem for problem in problems)
