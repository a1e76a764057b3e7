"""The comparisons compare the same models: hand-written modules equal generated ones."""

import pytest
import torch

from bench.cases import CASES, batches, compiled
from bench.goals import attention
from bench.options import Options
from bench.results import Row, page, text
from bench.steps import by_hand, check_equal, generated, missing

SMALL = {
    "deepfm": [f"features.C{n}.vocab=50" for n in range(1, 27)],
    "dbmtl": [f"features.{n}.vocab=50" for n in ("user_id", "adgroup_id", "campaign_id", "brand")],
}


@pytest.mark.parametrize("tables", ["TBE", "sparse"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_model_by_hand_trains_as_the_generated_one(case: str, tables: str) -> None:
    why = missing(tables)
    if why:
        pytest.skip(why)
    model = compiled(case, SMALL.get(case, SMALL["dbmtl"]))
    data = batches(model, 64, count=2)
    ours = generated(model, data)
    theirs = by_hand(case, model, data, tables=tables, weights=ours.module)
    before = ours.logits()
    check_equal(ours, theirs)
    assert not torch.equal(before[0], ours.logits()[0]), "three steps changed nothing"


def test_a_model_with_other_weights_is_noticed() -> None:
    model = compiled("dbmtl", SMALL["dbmtl"])
    data = batches(model, 16, count=1)
    ours = generated(model, data)
    theirs = by_hand("dbmtl", model, data, tables="sparse", weights=ours.module)
    with torch.no_grad():
        theirs.module.head_ctr.bias.add_(0.01)
    with pytest.raises(ValueError, match="differ by .* before training"):
        check_equal(ours, theirs)


def test_the_attention_block_is_compared_on_equal_outputs() -> None:
    rows = attention.rows(Options(threads=1, windows=1, seconds=0.0, quick=True))
    assert {row.goal for row in rows} == {"P1", "P2", "P5"}
    assert all(row.value and row.value > 0 for row in rows)


def test_a_row_says_whether_the_goal_is_reached() -> None:
    rows = [
        Row("P3", "deepfm", 5.1, wanted=5.0),
        Row("P9", "compile", 1.6, "s", 1.5, most=True),
        Row("P6", "deepfm", None, wanted=9.0, how="not measured"),
    ]
    assert [row.reached for row in rows] == [True, False, None]
    assert text(rows).splitlines()[2].split() == ["P9", "compile", "1.6", "s", "<=", "1.5", "no"]
    about = {"processor": "CPU", "cores": 2, "bf16": [], "threads": 2, "load": 0.1}
    about |= {"openmp": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": None}}
    shown = page(rows, {**about, "commit": "abc", "changed": False, "versions": {"torch": "2"}})
    assert "command line: `OMP_WAIT_POLICY=PASSIVE`." in shown
    assert "| P6 | deepfm | - | >= 9 |  | not measured |" in shown
