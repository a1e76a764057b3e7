"""Run a bundle's own client on the rows of a proof, where nothing else can be imported.

python -I prove.py BUNDLE WORK FORBIDDEN...: reads WORK/rows.json and WORK/plan.json, writes
WORK/found.npz. Run in a process of its own, by path.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Without:
    """A finder of modules that does not find some packages, as if they were not installed."""

    def __init__(self, finder: Any, names: Iterable[str]) -> None:
        self.finder, self.names = finder, frozenset(names)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self.names:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def main(bundle: str, work: str, *forbidden: str) -> None:
    sys.meta_path[:] = [Without(finder, forbidden) for finder in sys.meta_path]
    sys.path.insert(0, bundle)
    import numpy as np
    from client import Model  # type: ignore[import-not-found]  # the bundle's

    model, outputs = Model(), {}
    rows = json.loads((Path(work) / "rows.json").read_text(encoding="utf-8"))
    plan = json.loads((Path(work) / "plan.json").read_text(encoding="utf-8"))
    for number, (start, stop) in enumerate(plan["batches"]):
        for name, values in model.predict(rows[start:stop]).items():
            outputs[f"forward/{number}/{name}"] = values
    for number, (request, start, stop) in enumerate(plan["requests"]):
        for name, values in model.score(rows[request], rows[start:stop]).items():
            outputs[f"score/{number}/{name}"] = values
    np.savez(Path(work) / "found.npz", **outputs)
    if set(forbidden) & {name.partition(".")[0] for name in sys.modules}:
        sys.exit("something was imported that must not be needed")


if __name__ == "__main__":
    main(*sys.argv[1:])
