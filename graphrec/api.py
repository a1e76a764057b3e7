"""From Python: `graphrec.load("deepfm.yaml").compile().module()`.

model = graphrec.load("recipes/shop.yaml", overrides=["train.batch=512"])
model.graph.dag          # networkx
print(model.source)      # the generated module
module = model.module()  # a torch nn.Module
run = model.train()      # a run folder, ready to predict
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from graphrec.blocks.library import Library as Library
from graphrec.blocks.library import load_library
from graphrec.compiler.passes import Pass
from graphrec.compiler.pipeline import Compiled as Compiled
from graphrec.compiler.pipeline import compile_recipe as compile_recipe
from graphrec.compiler.target import Purpose
from graphrec.views.catalog import find_recipe
from graphrec.views.describe import describe
from graphrec.views.flops import history_lengths, measure
from graphrec.views.pictures import frame, html, svg

if TYPE_CHECKING:
    # What the package hands out besides: it loads them late, by name, and knows their types here.
    from torch import nn

    from graphrec.blocks.base import Block as Block
    from graphrec.blocks.base import Kernel as Kernel
    from graphrec.blocks.base import Names as Names
    from graphrec.blocks.base import Widths as Widths
    from graphrec.blocks.library import BUILTIN as BUILTIN
    from graphrec.compiler.pipeline import Checked as Checked
    from graphrec.compiler.pipeline import check_recipe as check_recipe
    from graphrec.compiler.target import Target as Target
    from graphrec.data import DataSet, Encoder
    from graphrec.data.loops import batches as batches
    from graphrec.graph import Graph as Graph
    from graphrec.ground.activation_table import Activation as Activation
    from graphrec.ground.activation_table import Number as Number
    from graphrec.ground.errors import CheckpointError as CheckpointError
    from graphrec.ground.errors import DataError as DataError
    from graphrec.ground.errors import EnvironmentFault as EnvironmentFault
    from graphrec.ground.errors import GraphrecError as GraphrecError
    from graphrec.ground.errors import Problem as Problem
    from graphrec.ground.errors import RecipeError as RecipeError
    from graphrec.ground.shapes import Shape as Shape
    from graphrec.ground.shapes import ShapeError as ShapeError
    from graphrec.nn.batch import Batch as Batch
    from graphrec.recipe.loss_table import Loss as Loss
    from graphrec.recipe.metric_table import Metric as Metric
    from graphrec.recipe.model import Recipe
    from graphrec.recipe.training import Device
    from graphrec.train.inference import Served as Served
    from graphrec.train.inference import load_run as load_run

__all__ = ["Model", "fit", "load"]


class Model:
    """A recipe and what becomes of it; compiled when something is first asked of it.

    In a notebook it shows itself as its graph: a page to walk around in, or else a picture.
    """

    def __init__(
        self,
        path: str,
        overrides: tuple[str, ...],
        library: Library,
        allow_root: str | None,
        plugins: tuple[str, ...] = (),
        passes: tuple[Pass, ...] = (),
        allow_env: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.overrides = overrides
        self.library = library
        self.allow_root = allow_root
        self.allow_env = allow_env
        self.plugins = plugins
        self.passes = passes

    def __repr__(self) -> str:
        changes = "".join(f", -o {override}" for override in self.overrides)
        name = "a text" if "\n" in self.path else self.path
        return f"graphrec.Model({name}{changes})"

    def compile(self, purpose: Purpose = "train") -> Compiled:
        """The compiled recipe; raises RecipeError with every problem found.

        Compiled for "inference" its module has `score(request, candidates)` too, if features of
        the recipe say `side: user` (or context) and others do not.
        """
        return self._compiled if purpose == "train" else self._made_for(purpose)

    @cached_property
    def _compiled(self) -> Compiled:
        return self._made_for("train")

    def _made_for(self, purpose: Purpose) -> Compiled:
        return compile_recipe(
            self.path,
            overrides=self.overrides,
            library=self.library,
            allow_root=self.allow_root,
            allow_env=self.allow_env,
            purpose=purpose,
            extra_passes=self.passes,
        )

    @property
    def recipe(self) -> Recipe:
        """The recipe in full."""
        return self._compiled.recipe

    @property
    def graph(self) -> Graph:
        """The graph, after all passes; `.dag` is its networkx view."""
        return self._compiled.graph

    @property
    def source(self) -> str:
        """The generated Python text."""
        return self._compiled.source.text

    def module(self, rows: Mapping[str, int] | None = None, *, sparse: bool = False) -> nn.Module:
        """A new torch module with fresh weights; `rows` are the sizes of tables fitted to data.

        An ordinary one: parameters are named as in `state_dict`, gradients are dense, any optimizer
        of torch steps it. With `sparse` it is as our trainer has it: tables of a width are one
        parameter with a sparse gradient, for torch.optim.SparseAdam or `graphrec.train`.
        """
        from graphrec.nn import separate

        module = self._compiled.module(rows)
        return module if sparse else separate(module)

    def fit(self, data: Any = None) -> Encoder:
        """The encoder of raw rows: fitted to `data`, or to the recipe's training data.

        `data` are globs of files, a data frame, an Arrow table, or rows (`graphrec.data.as_table`).
        Raises DataError where there is something to learn, and no data.
        """
        from graphrec.data import fitted

        return fitted(self.recipe, data)

    def data(self) -> DataSet:
        """The rows to train on and to evaluate on, as the recipe names them; raises DataError."""
        from graphrec.data import open_data

        return open_data(self.recipe)

    def encode(self, rows: Any, *, labels: bool = True) -> Batch:
        """A batch of raw rows before any training, for recipes that learn nothing from data."""
        from graphrec.data import NoSource
        from graphrec.data.encoder import Encoder

        return Encoder.fit(self.recipe, NoSource()).encode(rows, labels=labels)

    def train(
        self,
        *,
        run_dir: str | os.PathLike[str] | None = None,
        device: Device | None = None,
        quiet: bool = False,
    ) -> Served:
        """Train the recipe and load the run, ready to predict; see `graphrec.train`."""
        if self.passes:
            raise ValueError(
                "a run is known by its recipe, and passes of your own are in no recipe: what is"
                " loaded again would be another model; train model.module() in a loop of your own"
            )
        from graphrec.train.from_python import train_recipe

        return train_recipe(
            self.path,
            self.overrides,
            run_dir=None if run_dir is None else os.fspath(run_dir),
            device=device,
            plugins=self.plugins,
            library=self.library,
            allow_root=self.allow_root,
            allow_env=self.allow_env,
            quiet=quiet,
        )

    def evaluate(
        self,
        run_dir: str | os.PathLike[str],
        data: str | Sequence[str] | None = None,
        checkpoint: str | int | None = None,
        *,
        device: Device = "auto",
    ) -> dict[str, Any]:
        """One evaluation record of a run of this recipe, with this model's blocks.

        `data` are globs of files (default: the run's evaluation data). Raises CheckpointError for a
        damaged run folder, DataError for data that does not fit.
        """
        from graphrec.train.evaluate_run import evaluate

        run = os.fspath(run_dir)
        return evaluate(run, data, checkpoint, library=self.library, device=device)

    def _repr_html_(self) -> str:
        costs, remarks = measure(self._compiled) if find_spec("torch") else (None, ())
        lengths = history_lengths(self.recipe)
        about = describe(self.graph, costs, lengths=lengths, remarks=remarks)
        return frame(html(self.graph, about, self.recipe))

    def _repr_svg_(self) -> str:
        return svg(self.graph)


def load(
    path: str | os.PathLike[str],
    overrides: Iterable[str] = (),
    *,
    plugins: Iterable[str] = (),
    library: Library | None = None,
    allow_root: str | os.PathLike[str] | None = None,
    allow_env: Iterable[str] = (),
    passes: Iterable[Pass] = (),
) -> Model:
    """The recipe at `path`, the shipped one of that bare name, or one given as text.

    `overrides` are `path=value` texts as behind `-o`; `plugins` are modules with blocks of your
    own, `library` a library you made yourself (`BUILTIN.with_blocks(Gated)`). `passes` are
    functions (graph, target) -> graph of your own, run before the compiler's. `allow_root` is a
    folder that its files may lie in, `allow_env` the environment variables that `$env` may read.
    Nothing is read before it is needed.
    """
    plugins = tuple(plugins)
    blocks = load_library(plugins) if library is None else library
    root = None if allow_root is None else os.fspath(allow_root)
    text = os.fspath(path)
    recipe = text if "\n" in text else find_recipe(text)
    allowed = tuple(allow_env)
    return Model(recipe, tuple(overrides), blocks, root, plugins, tuple(passes), allowed)


def fit(
    recipe: Model | str | os.PathLike[str], data: Any = None, *, overrides: Iterable[str] = ()
) -> Encoder:
    """The encoder of a recipe's raw rows: vocabularies and statistics of `data`.

    `data` are globs of files, a data frame, an Arrow table or rows in memory (default: the training
    data that the recipe names). `Batch.from_pandas(frame, encoder)` makes a batch, and
    `batches(encoder, data)` an epoch of them; `model.module(encoder.rows)` is the module that fits.
    Raises DataError.
    """
    model = recipe if isinstance(recipe, Model) else load(recipe, overrides)
    return model.fit(data)
