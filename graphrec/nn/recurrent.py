"""Recurrent layers over histories: GRU, and GRU whose update gate is told by attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        padded = _Padded(steps)
        states, _ = self.gru(padded.whole(steps.values))
        values = padded.steps(states)
        if isinstance(keys, Jagged):
            return keys.replace(values)
        return values.reshape(*keys.shape[:2], values.shape[-1])


class AUGRU(nn.Module):
    """The last state [B, units] of a GRU whose update gate is scaled by a weight of each step.

    u = weight * sigmoid(W_u [x, h]), r = sigmoid(W_r [x, h]), c = tanh(W_c x + r * (V_c h)),
    h <- (1 - u) h + u c: a step of weight 0 changes nothing. weights [T, 1], keys [T, D]; a row
    without steps gives zeros. The steps follow each other in a loop, so torch.export can't take it
    for histories of any length. Zhou et al., Deep Interest Evolution Network, AAAI 2019.
    """

    def __init__(self, in_features: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.of_input = Linear(in_features, 3 * units)
        self.of_state = Linear(units, 3 * units)

    def forward(self, weights: Tensor | Jagged, keys: Tensor | Jagged) -> Tensor:
        steps = as_jagged(keys)
        padded = _Padded(steps)
        # A step that is padding has weight 0 and leaves the state as it is.
        scale = padded.whole(as_jagged(weights).values)
        given = padded.whole(self.of_input(steps.values))
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
