"""P15: latency over HTTP at half load: `graphrec serve`, its module on tiled rows, onnxruntime.

    python -m bench.serving [--seconds 8] [--windows 3]

One trained `multi_tower_din`, histories of 50 steps. Four servers of the same code, which differ in
what answers, each in a process of its own with one thread; they take turns. Requests come at random
(Poisson), as many for all as keep the slowest busy half the time, and are timed from when they were
due, so that waiting counts. Answers are compared first.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.options import Options
from bench.results import Row
from graphrec.train.process import prepare_process

__all__ = ["goal_rows", "main"]

ROOT = Path(__file__).resolve().parents[1]
CANDIDATES, STEPS, WANTED = 500, 50, 3.0
KINDS = ("graphrec", "tiled", "onnx", "onnx tiled")
"""A run; its module on rows that repeat the request; its ONNX bundle, as it is and on such rows."""


def goal_rows(options: Options) -> list[Row]:
    """p50 and p99 of both kinds of request."""
    seconds, windows = (2.0, 1) if options.quick else (8.0, 3)
    found, times = [], compare(seconds, windows)
    for what in ("500 candidates", "single row"):
        ours = times[what, "graphrec"]
        for kind in KINDS[1:] if what == "500 candidates" else ("onnx",):
            other = times[what, kind]
            wanted = WANTED if (what, kind) == ("500 candidates", "tiled") else None
            how = (
                f"p50 / p99 {ours[0]:.1f} / {ours[1]:.1f} against"
                f" {other[0]:.1f} / {other[1]:.1f} ms over HTTP, the slowest server at half load"
            )
            found.append(
                Row(
                    "P15",
                    f"{what}: {kind} / graphrec, p50",
                    other[0] / ours[0],
                    "x",
                    wanted,
                    how=how,
                )
            )
    return found


def compare(seconds: float, windows: int) -> dict[tuple[str, str], tuple[float, float]]:
    """p50 and p99 in ms, by the kind of request and of server; prints them."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        run, bundle = _prepared(Path(folder))
        ports = {kind: stack.enter_context(_server(kind, run, bundle)) for kind in KINDS}
        whole, parts = _bodies(run)
        asks = {"500 candidates": ("/v1/score", parts), "single row": ("/v1/predict", whole)}
        _same_answers(ports, asks)
        found = {}
        for what, (path, body) in asks.items():
            spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
            alone = {kind: _alone(port, path, body) for kind, port in ports.items()}
            rate = 0.5 / max(alone.values())
            for window in range(windows):
                for kind, port in ports.items():
                    spent[kind] += _at_load(port, path, body, rate, seconds, window)
            for kind, times in spent.items():
                cut = statistics.quantiles(times, n=100)
                found[what, kind] = (1e3 * cut[49], 1e3 * cut[98])
                print(
                    f"{what:15} {kind:11} alone {1e3 * alone[kind]:7.2f} ms, at {rate:.1f}/s"
                    f"  p50 {1e3 * cut[49]:7.2f}  p99 {1e3 * cut[98]:7.2f} ms ({len(times)})",
                    flush=True,
                )
    return found


class _Silent:
    """A console that says nothing."""

    quiet = True

    def result(self, text: str) -> None: ...

    def remark(self, text: str) -> None: ...


def _prepared(folder: Path) -> tuple[Path, Path]:
    """A trained run, and its bundle for onnxruntime."""
    from graphrec.compiler.pipeline import compile_recipe
    from graphrec.export.bundle import export_run
    from graphrec.export.order import Order
    from graphrec.train import train

    small = ["data.synthetic=4000", "train.batch=512", "train.steps=4", "train.epochs=null"]
    path = ROOT / "recipes" / "multi_tower_din.yaml"
    compiled = compile_recipe(path, overrides=[*small, f"features.clicked.max_len={STEPS}"])
    train(compiled, console=_Silent(), run_dir=folder / "run")
    export_run(Order(str(folder / "run"), str(folder / "onnx"), form="onnx", rows=600))
    return folder / "run", folder / "onnx"


def _bodies(run: Path) -> tuple[bytes, bytes]:
    """One row, and a request of a full history with its candidates."""
    from graphrec.export.proof_rows import proof_rows
    from graphrec.train.inference import load_run

    served = load_run(run, device="cpu")
    rows = proof_rows(served.trained.encoder.only(_columns(served)), CANDIDATES, seed=1)
    first = {
        name: (cell * STEPS)[:STEPS] if name.startswith("clicked") and cell else cell
        for name, cell in next(r for r in rows if r["clicked__item_id"]).items()
    }
    request = {column: first[column] for column in served.request_columns}
    candidates = [{c: row[c] for c in served.candidate_columns} for row in rows]
    whole = {"rows": [first]}
    parts = {"request": request, "candidates": candidates}
    return json.dumps(whole).encode(), json.dumps(parts).encode()


def _columns(served: Any) -> set[str]:
    return {entry["name"] for entry in served.reader.entries}


# ---- servers ------------------------------------------------------------------------------------


@contextmanager
def _server(kind: str, run: Path, bundle: Path) -> Iterator[int]:
    """The port of a server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bench.serving", "--serve", kind, str(port)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, str(run), str(bundle)], env=env, cwd=ROOT)
    try:
        while process.poll() is None:
            try:
                if _get(port, "/ready") == 200:
                    break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def serve(kind: str, port: int, run: str, bundle: str) -> None:
    """What such a process does."""
    import uvicorn

    from graphrec.export.server.answers import load_engine
    from graphrec.export.server.app import Holder, make_app
    from graphrec.export.server.body import Limits

    engine = load_engine(bundle if kind.startswith("onnx") else run)
    if kind.endswith("tiled"):
        predict = engine.predict
        engine = replace(
            engine,
            score=lambda request, candidates: predict([{**row, **request} for row in candidates]),
        )
    app = make_app(Holder(engine), Limits())
    uvicorn.run(app, port=port, log_level="warning", access_log=False, timeout_keep_alive=600)


def _get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


# ---- clients ------------------------------------------------------------------------------------


class _Client(threading.local):
    """A connection for each thread and server."""

    def __init__(self) -> None:
        self.connections: dict[int, http.client.HTTPConnection] = {}

    def post(self, port: int, path: str, body: bytes) -> bytes:
        if port not in self.connections:
            self.connections[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection = self.connections[port]
        connection.request("POST", path, body)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {text[:200]!r}")
        return text


_CLIENT = _Client()


def _same_answers(ports: dict[str, int], asks: dict[str, tuple[str, bytes]]) -> None:
    for path, body in asks.values():
        answers = {k: json.loads(_CLIENT.post(p, path, body))["scores"] for k, p in ports.items()}
        for name, values in answers["graphrec"].items():
            for kind, other in answers.items():
                gap = max(abs(a - b) for a, b in zip(values, other[name], strict=True))
                if gap > 1e-5:
                    raise ValueError(f"{path}, {name}: {kind} is off by {gap:.1e}")


def _alone(port: int, path: str, body: bytes) -> float:
    """Seconds of a request when there is no other."""
    times = []
    for _ in range(40):
        start = time.perf_counter()
        _CLIENT.post(port, path, body)
        times.append(time.perf_counter() - start)
    return statistics.median(times[10:])


def _at_load(
    port: int, path: str, body: bytes, rate: float, seconds: float, seed: int
) -> list[float]:
    """Seconds from when each request was due to its answer."""
    draw = random.Random(seed)
    start = time.perf_counter() + 0.05

    def ask(due: float) -> float:
        _CLIENT.post(port, path, body)
        return time.perf_counter() - due

    waiting: list[Callable[[], float]] = []
    with ThreadPoolExecutor(16) as pool:
        due = start
        while (due := due + draw.expovariate(rate)) < start + seconds:
            time.sleep(max(0.0, due - time.perf_counter()))
            waiting.append(pool.submit(ask, due).result)
        return [result() for result in waiting]


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8, help="of a window")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    prepare_process()
    if args.serve:
        kind, port, run, bundle = args.serve
        serve(kind, int(port), run, bundle)
    else:
        compare(args.seconds, args.windows)


if __name__ == "__main__":
    main()
