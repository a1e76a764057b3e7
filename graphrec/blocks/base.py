"""What a block author subclasses: parameters as fields, shapes by `infer`, a layer named by path.

    class Gated(Block):
        '''Gate a vector by itself: sigmoid(W1 x) * (W2 x).'''

        kernels = {"torch": "my_layers:Gated"}
        units: PositiveInt
        bias: bool = True

        def infer(self, x: Shape) -> Shape:
            return x.resize(self.units)

        def args(self, x: Shape) -> dict[str, Any]:
            return {"in_features": x.width, "units": self.units, "bias": self.bias}

Ports are the parameters of `infer`: `x: Shape` is required, `mask: Shape | None = None` optional,
`*xs: Shape` variadic; a returned dict is a bundle of named outputs. `args` are the constructor
arguments of the layer; they are the same for every kernel, and so are the layer's state_dict keys.
`is_pure`, `repeats` and `parameters` tell the compiler what it may compute once and what it costs.
Nothing here imports torch.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PositiveInt

from graphrec.blocks.weight_counts import guess
from graphrec.ground.shapes import Shape
from graphrec.recipe.names import node_name

__all__ = ["RESERVED", "Block", "Kernel", "Name", "Names", "Port", "TaskNames", "Widths"]

RESERVED = frozenset(
    {"block", "in", "each", "parallel", "join", "repeat", "carry", "tied", "share"}
    | {"residual", "enabled", "kernel", "was", "note", "when"}
)
"""Words of a node that are not parameters of its block."""


class TaskNames:
    """Marks a `list of names` parameter that also takes the word `tasks`: all tasks, by name."""


def _tuple(value: Any) -> Any:
    """YAML gives lists; blocks are values, so they keep tuples."""
    return tuple(_tuple(item) for item in value) if isinstance(value, list) else value


def _legal(name: str) -> str:
    why = node_name(name, task=True)
    if why is not None:
        raise ValueError(why)
    return name


def _by_name(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("needs at least one name")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"`{repeated[0]}` is named twice")
    return tuple(sorted(names))


Name = Annotated[str, AfterValidator(_legal)]
"""A name of the author's choice that becomes an output and part of weights' keys."""

Names = Annotated[
    tuple[Name, ...],
    BeforeValidator(_tuple),
    AfterValidator(_by_name),
    TaskNames,
]
"""Names of outputs, kept in the order of the alphabet; in a recipe also the word `tasks`."""

Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(_tuple)]
"""A list of layer widths."""


@dataclass(frozen=True)
class Kernel:
    """One implementation of a block, with the conditions under which it may be chosen.

    `allow` maps a parameter to the values the kernel knows; `limit` maps one to its largest value
    (for a list, each element); `needs` are importable modules; `devices` those it runs on. `splits`
    says that the layer keeps the promises of `Block.splits` and `Block.spreads`; torch's always do.
    `together` is a function `module:name` that computes several nodes of equal settings at once,
    from the list of their layers and, for each port, the list of their inputs or the one they all
    read; `layer` is then the torch layer.
    """

    layer: str
    devices: tuple[str, ...] = ("cpu", "cuda")
    needs: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")
    allow: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    limit: Mapping[str, int] = field(default_factory=dict)
    splits: bool = False
    together: str = ""

    def refusal(
        self, block: Block, device: str, precision: str, modules: frozenset[str]
    ) -> str | None:
        """Why this kernel can't serve `block` there, or None when it can."""
        for name, allowed in self.allow.items():
            value = getattr(block, name)
            if value not in allowed:
                return f"no kernel for {name} `{value}`"
        for name, largest in self.limit.items():
            value = getattr(block, name)
            if max(value if isinstance(value, tuple) else (value,), default=0) > largest:
                return f"{name} {value} is above {largest}"
        if precision not in self.precisions:
            return f"no kernel for precision {precision}"
        if device not in self.devices:
            return f"{' and '.join(name.upper() for name in self.devices)} only"
        missing = [module for module in self.needs if module not in modules]
        return f"{missing[0]} is not installed" if missing else None


@dataclass(frozen=True)
class Port:
    """An input of a block: `required`, or `variadic` (takes a list)."""

    name: str
    required: bool
    variadic: bool


class Block(BaseModel):
    """One configured, reusable part of a model; subclass it to add your own, as shown above."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    kernels: ClassVar[Mapping[str, str | Kernel]] = {}
    block_name: ClassVar[str] = ""
    _ports: ClassVar[tuple[Port, ...]] = ()
    is_loss: ClassVar[bool] = False
    """Whether the output is a term of the loss, a number (`Shape(())`): a root, as a task is."""
    is_concat: ClassVar[bool] = False
    """Whether the output is the inputs side by side, and nothing else."""
    is_pure: ClassVar[bool] = False
    """Whether the layer has no weights, draws nothing and counts nothing: it is a function."""
    splits: ClassVar[tuple[str, ...]] = ()
    """Ports that also take a `graphrec.nn.Split`, which their layer gives to a Linear first."""
    spreads: ClassVar[tuple[str, ...]] = ()
    """Ports where, in evaluation, one row may stand for all the rows of the other ports."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.block_name = cls.__dict__.get("block_name") or _snake(cls.__name__)
        clash = sorted(RESERVED & set(cls.model_fields))
        if clash:
            raise TypeError(f"{cls.__name__}: parameter `{clash[0]}` is a reserved word of nodes")
        if cls.kernels and "torch" not in cls.kernels:
            raise TypeError(f"{cls.__name__}: `kernels` needs an entry `torch`")
        parameters = list(inspect.signature(cls.infer).parameters.values())[1:]
        cls._ports = tuple(
            Port(
                name=p.name,
                required=p.default is inspect.Parameter.empty,
                variadic=p.kind is inspect.Parameter.VAR_POSITIONAL,
            )
            for p in parameters
        )

    def infer(self, *inputs: Any, **named: Any) -> Shape | dict[str, Shape]:
        """Shapes of the outputs; raises ShapeError when the inputs can't be used."""
        raise TypeError(f"{type(self).__name__} must define infer()")

    def args(self, *inputs: Any, **named: Any) -> dict[str, Any]:
        """Constructor arguments of the layer, for these input shapes."""
        raise TypeError(f"{type(self).__name__} must define args()")

    def longest(self) -> int | None:
        """Most steps of a history that the layer takes, for these settings; None: any number."""
        return None

    def parameters(self, *inputs: Any, **named: Any) -> int:
        """Number of the layer's weights, for these input shapes.

        Unless a block says it, a guess from its settings; it serves to refuse models that no
        memory holds.
        """
        shapes = [shape for shape in (*inputs, *named.values()) if isinstance(shape, Shape)]
        last = [shape.dims[-1] for shape in shapes if shape.dims]
        return guess(self.model_dump(), [width for width in last if isinstance(width, int)])

    def repeats(self, training: bool) -> bool:
        """Whether applying the layer twice to equal inputs gives the same and leaves no trace.

        Dropout draws anew and batch statistics move, in training. A block that says nothing is
        trusted only where it is pure.
        """
        return self.is_pure

    @classmethod
    def ports(cls) -> tuple[Port, ...]:
        """The input ports, in the order the layer takes them."""
        return cls._ports

    @classmethod
    def spread(
        cls, shapes: Mapping[str, Shape | tuple[Shape, ...]]
    ) -> tuple[list[Shape], dict[str, Shape]]:
        """Shapes by port as arguments of `infer` and `args`; by place where a port is variadic."""
        positional: list[Shape] = []
        named = dict(shapes)
        if any(port.variadic for port in cls.ports()):
            for port in cls.ports():
                given = named.pop(port.name, ())
                positional.extend(given if isinstance(given, tuple) else (given,))
        return positional, {
            name: shape for name, shape in named.items() if isinstance(shape, Shape)
        }

    @classmethod
    def kernel(cls, name: str) -> Kernel | None:
        """The declared kernel of that name; a plain string is a kernel without conditions."""
        declared = cls.kernels.get(name)
        return Kernel(declared) if isinstance(declared, str) else declared


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
