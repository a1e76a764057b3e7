"""Activations inside a Triton kernel, and their slopes.

Written for real and interpreted kernels alike: no libdevice (the interpreter has none). NaN passes
through every one of them, as in torch: a maximum would turn it into 0.
"""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

__all__ = ["activate", "slope", "activation_backward", "activation_backward_at"]


@triton.jit
def activate(x, ACT: tl.constexpr):
    """ACT of x, by its name."""
    if ACT == "relu":
        y = tl.where(x < 0.0, 0.0, x)
    elif ACT == "leaky_relu":
        y = tl.where(x < 0.0, 0.01 * x, x)
    elif ACT == "sigmoid":
        y = tl.sigmoid(x)
    elif ACT == "tanh":
        # Near 0 the difference would cancel; there the series is exact to the last bits.
        LIMIT: tl.constexpr = 1e-3 if x.dtype == tl.float64 else 0.25
        near = tl.abs(x) < LIMIT
        v = tl.where(near, x, 0.0)
        s = v * v
        s *= -1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))
        y = tl.where(near, v + v * s, 2.0 * tl.sigmoid(2.0 * x) - 1.0)
    elif ACT == "silu":
        y = x * tl.sigmoid(x)
    elif ACT == "gelu":
        y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    else:
        tl.static_assert(ACT == "none")
        y = x
    return y


@triton.jit
def slope(kept, ACT: tl.constexpr):
    """d ACT / d input; `kept` is the input for silu and gelu, the output for the others."""
    if ACT == "relu":
        d = tl.where(kept <= 0.0, 0.0, 1.0)
    elif ACT == "leaky_relu":
        # A bare 0.01 would be rounded to fp32, in fp64 kernels too.
        d = tl.where(kept > 0.0, 1.0, tl.full(kept.shape, 0.01, kept.dtype))
    elif ACT == "sigmoid":
        d = kept * (1.0 - kept)
    elif ACT == "tanh":
        d = 1.0 - kept * kept
    elif ACT == "silu":
        s = tl.sigmoid(kept)
        d = s * (1.0 + kept * (1.0 - s))
    else:
        tl.static_assert(ACT == "gelu")
        density = 0.3989422804014327 * tl.exp(-0.5 * kept * kept)
        d = 0.5 * (1.0 + tl.erf(kept * 0.7071067811865476)) + kept * density
    return d


@triton.jit
def activation_backward(d, kept, ACT: tl.constexpr):
    """The gradient d behind ACT, carried to its input; `kept` as in `slope`, not "none"."""
    if ACT == "relu":
        # Not a product: what is not finite must not pass a unit that is off.
        d = tl.where(kept <= 0.0, 0.0, d)
    else:
        d *= slope(kept, ACT)
    return d


@triton.jit
def activation_backward_at(d, x, ACT: tl.constexpr):
    """`activation_backward` at the input x, whichever activation it is."""
    kept = x
    if ACT == "sigmoid" or ACT == "tanh":
        kept = activate(x, ACT)
    return activation_backward(d, kept, ACT)
