"""Training steps of FuxiCTR and DeepCTR-Torch on their own classes, from bench/.peers.

Their loops' own steps, less reading of data, progress bars and metrics; their defaults for the
optimizer (Adam over all tables, dense gradients), without regularisation. What they import to read
data or to ask for newer versions of themselves is replaced by empty modules.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.cases import Data, columns
from bench.get_peers import FOLDER
from graphrec.compiler.pipeline import Compiled

__all__ = ["NAMES", "load", "make"]

NAMES = ("FuxiCTR", "DeepCTR-Torch")
RAY = ("ray.data", "ray.data.datasource", "ray.data.datasource.filename_provider")
NOT_RUN = {"ray": RAY, "polars": (), "h5py": (), "pandas": (), "requests": ()}
WIDTH, LR = 16, 1e-3
DEEP, EXPERT, TOWER, EXPERTS = [512, 256, 128], [512, 256, 128], [256, 128, 64], 3

Step = Callable[[], None]


def load() -> str:
    """Make the peers importable; why they are not, or an empty text."""
    if not FOLDER.is_dir():
        return "not downloaded: python bench/get_peers.py"
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    wanted = [name for name in NOT_RUN if importlib.util.find_spec(name) is None]
    empty = {part: _empty(part) for name in wanted for part in (name, *NOT_RUN[name])}
    sys.modules.update(empty)
    try:
        for module in ("fuxictr.pytorch.models", "fuxictr.pytorch.layers", "deepctr_torch.models"):
            importlib.import_module(module)
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        for name in empty:  # nobody else is to find them
            del sys.modules[name]
    return ""


def make(peer: str, case: str, model: Compiled, data: Sequence[Data]) -> Step:
    """A step of `case` (`deepfm`, `mmoe`) on a peer's classes."""
    return {"FuxiCTR": _fuxictr, "DeepCTR-Torch": _deepctr}[peer](case, model, data)


# ---- FuxiCTR ------------------------------------------------------------------------------------


def _fuxictr(case: str, model: Compiled, data: Sequence[Data]) -> Step:
    from fuxictr.features import FeatureMap

    rows, numbers = columns(model)
    labels = sorted(model.recipe.tasks)
    known = FeatureMap("bench", tempfile.gettempdir())
    for name, count in rows.items():
        known.features[name] = {"source": "", "type": "categorical", "vocab_size": count}
    for name in numbers:
        known.features[name] = {"source": "", "type": "numeric"}
    known.num_fields, known.labels, known.default_emb_dim = len(known.features), labels, WIDTH
    made: Any = (_fuxi_deepfm if case == "deepfm" else _fuxi_mmoe)(known)
    made.compile("adam", "binary_crossentropy", LR)
    made.reset_parameters()
    made._max_gradient_norm = 10.0  # the default of its `fit`
    made.train()
    inputs = itertools.cycle(
        {
            **dict(zip(rows, one.ids.unbind(), strict=True)),
            **dict(zip(numbers, one.numbers.unbind(1), strict=True)),
            **dict(zip(labels, one.labels, strict=True)),
        }
        for one in data
    )
    return lambda: float(made.train_step(next(inputs)).item()) and None


def _settings() -> dict[str, Any]:
    return {"verbose": 0, "metrics": ["AUC"], "model_root": tempfile.gettempdir()}


def _fuxi_deepfm(known: Any) -> nn.Module:
    """As in its model zoo, which the wheel does not hold."""
    from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    class DeepFM(BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(known, **_settings())
            self.embedding_layer = FeatureEmbedding(known, WIDTH)
            self.fm = FactorizationMachine(known)
            width = known.sum_emb_out_dim()
            self.mlp = MLP_Block(input_dim=width, output_dim=1, hidden_units=DEEP)

        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            x = self.get_inputs(inputs)
            vectors = self.embedding_layer(x)
            found = self.fm(x, vectors) + self.mlp(vectors.flatten(start_dim=1))
            return {"y_pred": self.output_activation(found)}

    return DeepFM()


def _fuxi_mmoe(known: Any) -> nn.Module:
    """As in its model zoo, which the wheel does not hold."""
    from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import MultiTaskModel

    class MMoE(MultiTaskModel):  # type: ignore[misc]
        def __init__(self) -> None:
            count = len(known.labels)
            tasks = ["binary_classification"] * count
            super().__init__(known, task=tasks, num_tasks=count, **_settings())
            self.embedding_layer = FeatureEmbedding(known, WIDTH)
            width = known.sum_emb_out_dim()
            self.experts = nn.ModuleList(
                MLP_Block(input_dim=width, hidden_units=EXPERT) for _ in range(EXPERTS)
            )
            self.gates = nn.ModuleList(nn.Linear(width, EXPERTS) for _ in known.labels)
            self.towers = nn.ModuleList(
                MLP_Block(input_dim=EXPERT[-1], output_dim=1, hidden_units=TOWER)
                for _ in known.labels
            )

        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
            experts = torch.stack([expert(x) for expert in self.experts], dim=1)
            found = {}
            for at, label in enumerate(known.labels):
                gate = torch.softmax(self.gates[at](x), dim=-1)
                mixed = torch.sum(gate.unsqueeze(-1) * experts, dim=1)
                found[f"{label}_pred"] = self.output_activation[at](self.towers[at](mixed))
            return found

    return MMoE()


# ---- DeepCTR-Torch ------------------------------------------------------------------------------


def _deepctr(case: str, model: Compiled, data: Sequence[Data]) -> Step:
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models import DeepFM
    from deepctr_torch.models.multitask import MMOE

    rows, numbers = columns(model)
    given = [SparseFeat(name, count, embedding_dim=WIDTH) for name, count in rows.items()]
    given += [DenseFeat(name, 1) for name in numbers]
    labels = tuple(sorted(model.recipe.tasks))
    plain = {"l2_reg_linear": 0, "l2_reg_embedding": 0}
    if case == "deepfm":
        made = DeepFM(given, given, dnn_hidden_units=DEEP, **plain)
        made.compile("adam", "binary_crossentropy")
    else:
        made = MMOE(
            given,
            num_experts=EXPERTS,
            expert_dnn_hidden_units=EXPERT,
            gate_dnn_hidden_units=(),
            tower_dnn_hidden_units=TOWER,
            task_names=labels,
            **plain,
        )
        made.compile("adam", ["binary_crossentropy"] * len(labels))
    made.train()
    # Its loader hands over one matrix of floats; ids are read back from it.
    pairs = itertools.cycle(
        (
            torch.cat([one.ids.t().float(), one.numbers], dim=1),
            torch.stack(one.labels, dim=1),
        )
        for one in data
    )

    def step() -> None:
        x, y = next(pairs)
        predicted = made(x)
        made.optim.zero_grad()
        if isinstance(made.loss_func, list):
            terms = [
                loss(predicted[:, at], y[:, at], reduction="sum")
                for at, loss in enumerate(made.loss_func)
            ]
            total = torch.stack(terms).sum()
        else:
            total = made.loss_func(predicted.squeeze(-1), y[:, 0], reduction="sum")
        total = total + made.get_regularization_loss() + made.aux_loss
        float(total.detach())
        total.backward()
        made.optim.step()

    return step


class _Empty(types.ModuleType):
    """A module that has everything, and nothing in it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # Capitals are classes: others are derived from them.
        return type(name, (), {}) if name[0].isupper() else _Empty(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


def _empty(name: str) -> types.ModuleType:
    found = _Empty(name)
    found.__path__ = []
    return found
