"""A step taken apart is the same step, and its parts are all of it."""

import time

import pytest
import torch

from bench.cases import batches, compiled
from bench.profile import Profile, table
from bench.step_parts import PARTS, Clock, taken_apart
from bench.steps import trainer_of
from bench.work import work_of

SMALL = [f"features.{n}.vocab=50" for n in ("user_id", "adgroup_id", "campaign_id", "brand")]


def test_a_step_taken_apart_is_the_same_step() -> None:
    model = compiled("dbmtl", SMALL)
    data = batches(model, 32, count=2)
    whole, apart = (trainer_of(model, model.module()) for _ in range(2))
    clock = Clock()
    for one in data:
        whole._train(one.batch)
    start = time.perf_counter()
    with taken_apart(apart, clock):
        clock.start()
        for one in data:
            apart._train(one.batch)
        clock.stop()
    elapsed = time.perf_counter() - start
    assert set(clock.spent) == set(PARTS) - {"loader"}
    assert 0.5 * elapsed < sum(wall for wall, _ in clock.spent.values()) <= elapsed
    for key, weight in whole.module.state_dict().items():
        torch.testing.assert_close(apart.module.state_dict()[key], weight, rtol=0, atol=0)
    assert "part" not in repr(apart.forward)  # nothing is timed any more


def test_work_of_a_step() -> None:
    """Products of DBMTL, counted by hand; the first layer's input has a gradient, for the tables."""
    model = compiled("dbmtl", SMALL)
    work = work_of(model.module(), batches(model, 32, count=1)[0].batch)
    bottom = 256 * 1024 + 1024 * 512 + 512 * 256
    towers = 2 * (256 * 256 + 256 * 128 + 128 * 64) + (64 + 64) * 64
    heads = 2 * 64
    assert work.forward == 2 * 32 * (bottom + towers + heads)
    assert work.backward == 2 * work.forward
    assert work.lookups == 32 * 16


def test_table_of_a_profile() -> None:
    parts = dict.fromkeys(PARTS, 1.0)
    one = Profile("ple", "bf16", 64, 10.0, 6.0, parts, {"forward": 0.5})
    assert one.sum == pytest.approx(0.8)
    last = table([one]).splitlines()[-1]
    assert last.startswith("| ple B 64 | bf16 | 10.00 | 6.00 | 10.0% (50%) | 10.0% |")
    assert last.endswith("| 0.800 | 5% |")
