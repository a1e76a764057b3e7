"""Programs whose products go to oneDNN give the same numbers; one row alone stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphrec.export import onednn_products
from graphrec.export.onednn_products import give_products_to_onednn


class Scores(nn.Module):
    """One request beside many candidates."""

    def __init__(self) -> None:
        super().__init__()
        self.request, self.candidate = nn.Linear(8, 4), nn.Linear(6, 4, bias=False)
        self.out = nn.Linear(4, 1)

    def forward(self, request: Tensor, candidates: Tensor) -> Tensor:
        return self.out(torch.relu(self.candidate(candidates) + self.request(request)))


@pytest.mark.parametrize("wanted", [True, False])
def test_products_over_any_number_of_rows(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(onednn_products, "onednn_wanted", lambda: wanted)
    module, rows = Scores().eval(), {0: torch.export.Dim.DYNAMIC}
    request = torch.randn(1, 8)
    given = (request, torch.randn(5, 6))
    program = torch.export.export(module, given, dynamic_shapes=({}, rows))
    assert give_products_to_onednn(program) == (2 if wanted else 0)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets.count("aten.linear.default") == (1 if wanted else 3)
    candidates = torch.randn(300, 6)
    found = program.module()(request, candidates)
    torch.testing.assert_close(found, module(request, candidates), rtol=1e-5, atol=1e-6)
