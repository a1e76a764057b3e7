"""What holds for every activation: what its row says of the layer, and that rows stay apart."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from graphrec.ground.activation_table import Activation
from graphrec.verify.block.conformance_report import Finding, Report
from graphrec.verify.block.verdict import Skipped, Unfit, reported

__all__ = ["check_activation"]

_WIDTH = 6
_SHAPES = ((5, _WIDTH), (1, _WIDTH), (0, _WIDTH), (3, 4, _WIDTH))


@dataclass(frozen=True)
class _Tried:
    """A row of the table, and values for its parameters."""

    row: Activation
    given: Mapping[str, Any]

    def layer(self, **more: Any) -> nn.Module:
        torch.manual_seed(0)
        module, _, name = self.row.layer.partition(":")
        kind = getattr(importlib.import_module(module), name)
        sizes = [_WIDTH] if self.row.width else []
        layer = reported("the layer can't be made", lambda: kind(*sizes, **self.given, **more))
        if not isinstance(layer, nn.Module):
            raise Unfit(f"the layer is {type(layer).__name__}, no torch nn.Module")
        return layer


def check_activation(
    name: str, row: Activation, given: Mapping[str, Any], *, stops_gradients: bool = False
) -> Report:
    """Run every check on an activation; ValueError for parameters that it does not take."""
    unknown = sorted(set(given) - set(row.parameters))
    if unknown:
        raise ValueError(f"{name} has no `{unknown[0]}`; it has {', '.join(row.parameters)}")
    defaults = {key: parameter.default for key, parameter in row.parameters.items()}
    checked = {key: row.parameters[key].check(value) for key, value in given.items()}
    tried = _Tried(row, defaults | checked)
    findings = [
        Finding(word, "skipped", about, "--stops-gradients")
        if word == "gradients" and stops_gradients
        else _finding(word, about, check, tried)
        for word, check in _CHECKS.items()
        for about in [(check.__doc__ or "").partition("\n")[0]]
    ]
    if not row.doc:
        findings.append(Finding("documents", "remark", "", "the row has no doc"))
    return Report(name, dict(tried.given), f"x [..., {_WIDTH}]", ("as x",), tuple(findings))


def _finding(name: str, about: str, check: Callable[[_Tried], None], tried: _Tried) -> Finding:
    try:
        check(tried)
    except Skipped as reason:
        return Finding(name, "skipped", about, str(reason))
    except Unfit as error:
        return Finding(name, "FAILED", about, str(error))
    except Exception as error:  # the author's code, whatever it raises
        return Finding(name, "FAILED", about, f"{type(error).__name__}: {error}")
    return Finding(name, "ok", about)


def _x(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def _shapes(tried: _Tried) -> None:
    """A finite result of the input's shape and type, for batches of every size."""
    for shape in _SHAPES:
        for dtype in (torch.float64, torch.float32):
            x = _x(*shape).to(dtype)
            y = tried.layer().to(dtype).eval()(x)
            if y.shape != x.shape or y.dtype != dtype:
                raise Unfit(f"{list(shape)} {dtype} gives {list(y.shape)} {y.dtype}")
            if not bool(y.isfinite().all()):
                raise Unfit(f"{list(shape)}: the result is not finite")


def _gradients(tried: _Tried) -> None:
    """Gradients of the input and the weights equal finite differences, in float64."""
    layer, x = tried.layer().double().eval(), _x(5, _WIDTH).requires_grad_()
    weights = dict(layer.named_parameters())

    def run(value: Tensor, *given: Tensor) -> Any:
        return torch.func.functional_call(layer, dict(zip(weights, given, strict=True)), (value,))

    try:
        torch.autograd.gradcheck(run, (x, *weights.values()), fast_mode=True)
    except GradcheckError as error:
        lines = [line.strip() for line in str(error).splitlines() if ":" in line]
        hint = "(stopped on purpose? --stops-gradients)"
        raise Unfit("\n".join(["not that of finite differences", *lines[:2], hint])) from None


def _rows(tried: _Tried) -> None:
    """In evaluation a row gives its own result, whatever rows are beside it."""
    layer, x = tried.layer().double().eval(), _x(5, _WIDTH)
    if not torch.allclose(torch.cat([layer(row[None]) for row in x]), layer(x)):
        raise Unfit("a row alone gives another result than among others")


def _lives(tried: _Tried) -> None:
    """`lives` says whether training draws numbers or moves statistics."""
    layer, x = tried.layer().double().train(), _x(5, _WIDTH)
    before = [b.clone() for b in layer.buffers()]
    first, second = layer(x), layer(x)
    moved = any(not torch.equal(a, b) for a, b in zip(before, layer.buffers(), strict=True))
    moved = moved or not torch.equal(first, second)
    if moved and not tried.row.lives:
        raise Unfit("two calls in training differ: say `lives=True`, or copies are computed once")


def _learns(tried: _Tried) -> None:
    """`learns` says how many weights there are: none, one, or one for each column."""
    count = sum(p.numel() for p in tried.layer().parameters())
    wanted = {"": 0, "one": 1, "each": _WIDTH}[tried.row.learns]
    if count != wanted:
        raise Unfit(f"the layer has {count} weights, `learns={tried.row.learns!r}` says {wanted}")


def _inplace(tried: _Tried) -> None:
    """With `inplace` the layer may overwrite its input, and gives the same."""
    if not tried.row.inplace:
        before = _x(5, _WIDTH)
        x = before.clone()
        tried.layer().double().eval()(x)
        if not torch.equal(x, before):
            raise Unfit("it writes into its input, which others read: that is for `inplace=True`")
        return
    plain, other = tried.layer().double()(_x(5, _WIDTH)), tried.layer(inplace=True).double()
    if not torch.equal(plain, other(_x(5, _WIDTH))):
        raise Unfit("inplace=True gives another result")


_CHECKS: Mapping[str, Callable[[_Tried], None]] = {
    "shapes": _shapes,
    "gradients": _gradients,
    "rows": _rows,
    "lives": _lives,
    "learns": _learns,
    "inplace": _inplace,
}
