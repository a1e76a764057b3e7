"""P3: training steps against FuxiCTR and DeepCTR-Torch on their own classes, in own processes."""

from __future__ import annotations

import gc

from bench import peers
from bench.cases import batches, compiled
from bench.elsewhere import Elsewhere
from bench.options import Options
from bench.results import Row, ratio
from bench.steps import generated
from bench.timing import Step, measure

__all__ = ["rows"]

WANTED = {"deepfm": (4096, 5.0), "mmoe": (1024, 7.0)}


def rows(options: Options) -> list[Row]:
    """A figure for each model and peer."""
    why, found = peers.load(), []
    for case, (batch, wanted) in WANTED.items():
        where = f"{case} B {options.batch(batch)}"
        if why:
            names = [f"{where}: ours / {peer}" for peer in peers.NAMES]
            found += [Row("P3", name, None, wanted=wanted, how=why) for name in names]
            continue
        model = compiled(case)
        data = batches(model, options.batch(batch))
        theirs = {
            peer: Elsewhere(_step, peer, case, options.batch(batch), threads=options.threads)
            for peer in peers.NAMES
        }
        steps: dict[str, Step] = {**theirs, "ours": generated(model, data).step}
        times = measure(steps, options.windows, options.seconds)
        for one in theirs.values():
            one.close()
        found += [
            ratio("P3", f"{where}: ours / {peer}", times["ours"], times[peer], wanted)
            for peer in peers.NAMES
        ]
        del steps
        gc.collect()
    return found


def _step(peer: str, case: str, batch: int) -> Step:
    """A step of the peer, made in its own process."""
    peers.load()
    model = compiled(case)
    return peers.make(peer, case, model, batches(model, batch))
