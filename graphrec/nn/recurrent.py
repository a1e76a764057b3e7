"""Recurrent layers over histories: GRU, and GRU whose update gate is told by attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop

from graphrec.nn.batch import Jagged
from graphrec.nn.dense import Linear
from graphrec.nn.segments import as_jagged, longest, places

__all__ = ["AUGRU", "GRU"]


class _Padded:
    """The steps of a history as [B, N, D], and back."""

    def __init__(self, steps: Jagged) -> None:
        self.rows, self.length = steps.num_rows, longest(steps)
        rows = steps.rows()
        self.at = rows * self.length + places(steps, rows)

    def whole(self, x: Tensor) -> Tensor:
        flat = x.new_zeros(self.rows * self.length, x.shape[-1]).index_copy(0, self.at, x)
        return flat.reshape(self.rows, self.length, x.shape[-1])

    def steps(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).index_select(0, self.at)


class GRU(nn.Module):
    """The state after every step of a history, from a state of zeros: [T, D] -> [T, units].

    State: that of torch's GRU of one layer. What stands behind a row's last step is not read, so
    padding changes nothing. Cho et al., Learning Phrase Representations using RNN
    Encoder-Decoder, 2014.
    """

    def __init__(self, in_features: int, units: int) -> None:
        super().__init__()
        self.gru = nn.GRU(in_features, units, batch_first=True)

    def forward(self, keys: Tensor | Jagged) -> Tensor | Jagged:
        steps = as_jagged(keys)
        if torch.compiler.is_exporting():
            values = self._looped(steps)
        else:
            padded = _Padded(steps)
            values = padded.steps(self.gru(padded.whole(steps.values))[0])
        if isinstance(keys, Jagged):
            return keys.replace(values)
        return values.reshape(*keys.shape[:2], values.shape[-1])

    def _looped(self, steps: Jagged) -> Tensor:
        of_input, of_state, input_bias, state_bias = self.gru.parameters()
        given = F.linear(steps.values, of_input, input_bias)

        def step(state: Tensor, one: Tensor) -> Tensor:
            reset, update, new = one.chunk(3, dim=1)
            was = F.linear(state, of_state, state_bias)
            old_reset, old_update, old_new = was.chunk(3, dim=1)
            candidate = torch.tanh(new + torch.sigmoid(reset + old_reset) * old_new)
            return candidate + torch.sigmoid(update + old_update) * (state - candidate)

        return _loop(step, steps.replace(given), self.gru.hidden_size)[1]


class AUGRU(nn.Module):
    """The last state [B, units] of a GRU whose update gate is scaled by a weight of each step.

    u = weight * sigmoid(W_u [x, h]), r = sigmoid(W_r [x, h]), c = tanh(W_c x + r * (V_c h)),
    h <- (1 - u) h + u c: a step of weight 0 changes nothing. weights [T, 1], keys [T, D]; a row
    without steps gives zeros. Zhou et al., Deep Interest Evolution Network, AAAI 2019.
    """

    def __init__(self, in_features: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.of_input = Linear(in_features, 3 * units)
        self.of_state = Linear(units, 3 * units)

    def forward(self, weights: Tensor | Jagged, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        scale, given = as_jagged(weights).values, self.of_input(steps.values)
        if torch.compiler.is_exporting():
            both = steps.replace(torch.cat([given, scale], dim=1))
            return _loop(lambda h, x: self._step(h, x[:, :-1], x[:, -1:]), both, self.units)[0]
        padded = _Padded(steps)
        # A step that is padding has weight 0 and leaves the state as it is.
        scale, given = padded.whole(scale), padded.whole(given)
        state = given.new_zeros(steps.num_rows, self.units)
        for n in range(padded.length):
            state = self._step(state, given[:, n], scale[:, n])
        return state

    def _step(self, state: Tensor, given: Tensor, scale: Tensor) -> Tensor:
        update, reset, new = given.chunk(3, dim=1)
        old_update, old_reset, old_new = self.of_state(state).chunk(3, dim=1)
        candidate = torch.tanh(new + torch.sigmoid(reset + old_reset) * old_new)
        gate = scale * torch.sigmoid(update + old_update)
        return state + gate * (candidate - state)


def _loop(
    step: Callable[[Tensor, Tensor], Tensor], steps: Jagged, units: int
) -> tuple[Tensor, Tensor]:
    """The last states [B, units], and those after every step [T, units], of `step(state, x)`.

    For torch.export, where a loop of Python, and torch's own GRU, would keep the number of steps
    of the example. Nothing is padded: the n-th steps of all rows go together, and rows that have
    none read a row of zeros behind the others and write there.
    """
    total = steps.values.shape[0]
    starts = steps.lengths.cumsum(0) - steps.lengths
    x = F.pad(steps.values, (0, 0, 0, 1))
    lengths = steps.lengths

    def goes_on(n: Tensor, state: Tensor, states: Tensor) -> Tensor:
        return n < lengths.max()

    def body(n: Tensor, state: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        there = n < lengths
        at = torch.where(there, starts + n, total)
        after = torch.where(there.unsqueeze(1), step(state, x.index_select(0, at)), state)
        return n + 1, after, states.index_copy(0, at, after)

    begin = (
        torch.zeros((), dtype=torch.int64, device=x.device),
        x.new_zeros(lengths.shape[0], units),
        x.new_zeros(total + 1, units),
    )
    looped: Any = while_loop
    _, last, states = looped(goes_on, body, begin)
    return last, states[:-1]
