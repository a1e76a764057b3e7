"""The server: a real client, hostile input, its own description, kills, and newer checkpoints."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

import graphrec  # noqa: E402
from graphrec.data.raw_cells import BadCell  # noqa: E402
from graphrec.export.server.answers import load_engine  # noqa: E402
from graphrec.export.server.app import Holder, make_app  # noqa: E402
from graphrec.export.server.batching import Batcher, Overloaded  # noqa: E402
from graphrec.export.server.body import Limits  # noqa: E402

Rows = Callable[..., pa.Table]
LIMITS = Limits(rows=600, bytes=200_000, depth=6, seconds=5.0)


class Process:
    """A server in a process of its own."""

    def __init__(self, path: Path, *words: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "graphrec", "serve", str(path), "--port", str(self.port)]
        self.process = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        until = time.time() + 120
        while time.time() < until and self.process.poll() is None:
            try:
                if self.client.get("/ready").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.client.close()
        self.process.send_signal(how)
        status = self.process.wait(timeout=60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@pytest.fixture(scope="module")
def copied(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "run"
    shutil.copytree(run, folder)
    return folder


@pytest.fixture(scope="module")
def server(copied: Path) -> Iterator[Process]:
    process = Process(copied, "--watch", "0.5", "--max-rows", "600", "--max-bytes", "200000")
    yield process
    assert process.end() in (0, -signal.SIGTERM)


def parted(rows: list[dict[str, Any]], run: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    request = {column: rows[0][column] for column in run.request_columns}
    return request, [{c: row[c] for c in run.candidate_columns} for row in rows]


def test_scores_are_those_of_the_run(server: Process, run: Path, make_rows: Rows) -> None:
    served, rows = graphrec.load_run(run), make_rows(40, seed=6).to_pylist()
    answer = server.client.post("/v1/predict", json={"rows": rows})
    assert answer.status_code == 200 and answer.json()["model"] == {"name": "small", "step": 6}
    for name, values in served.predict(rows).items():
        np.testing.assert_allclose(np.array(answer.json()["scores"][name]), values, atol=1e-6)
    request, candidates = parted(rows, served)
    answer = server.client.post("/v1/score", json={"request": request, "candidates": candidates})
    for name, values in served.score(request, candidates).items():
        np.testing.assert_allclose(np.array(answer.json()["scores"][name]), values, atol=1e-6)


def test_no_request_is_lost_under_load(server: Process, run: Path, make_rows: Rows) -> None:
    rows = make_rows(60, seed=7).to_pylist()
    expected = graphrec.load_run(run).predict(rows)["probs_click"]

    def ask(number: int) -> bool:
        place = number % 60
        answer = server.client.post("/v1/predict", json={"rows": [rows[place]]})
        return abs(answer.json()["scores"]["probs_click"][0] - float(expected[place])) < 1e-6

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(400)))
    text = server.client.get("/metrics").text
    assert 'graphrec_requests_total{path="/v1/predict",status="200"}' in text
    assert "graphrec_batch_rows_bucket" in text and "graphrec_model_step 6.0" in text


@pytest.mark.parametrize(
    ("path", "body", "status", "field", "said"),
    [
        ("predict", b"", 400, "", "is not JSON"),
        ("predict", b"{", 400, "", "is not JSON"),
        ("predict", b"\xff\xfe{}", 400, "", "UTF-8"),
        ("predict", b'{"rows": [NaN]}', 400, "", "NaN is no JSON"),
        ("predict", b"[" * 100_000, 400, "", "nested deeper than 6"),
        ("predict", b'{"rows": "' + b"x" * 300_000 + b'"}', 413, "", "more than 200,000 bytes"),
        ("predict", b"[]", 422, "", "the body is a list"),
        ("predict", b"{}", 422, "rows", "is missing"),
        ("predict", b'{"rows": []}', 422, "rows", "is empty"),
        ("predict", b'{"rows": [1]}', 422, "rows.0", "is a number"),
        ("predict", b'{"rows": [{}]}', 422, "rows.0.age", "is missing"),
        ("predict", b'{"rows": [{}], "more": 1}', 422, "more", "is not known"),
        ("predict", json.dumps({"rows": [{}] * 601}).encode(), 413, "rows", "at most 600"),
        ("score", b'{"request": [], "candidates": [{}]}', 422, "request", "is a list"),
        ("nothing", b"{}", 404, "", "Not Found"),
    ],
)
def test_hostile_bodies_are_told_what_is_wrong(
    server: Process, path: str, body: bytes, status: int, field: str, said: str
) -> None:
    answer = server.client.post(f"/v1/{path}", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (status, field) and said in error["message"]


def test_bad_cells_are_named(server: Process, run: Path, make_rows: Rows) -> None:
    served, rows = graphrec.load_run(run), make_rows(3, seed=8).to_pylist()
    rows[2]["price"] = "dear"
    answer = server.client.post("/v1/predict", json={"rows": rows})
    assert answer.status_code == 422
    assert answer.json()["error"] == {"field": "rows.2.price", "message": "'dear' is not a number"}
    request, candidates = parted(rows, served)
    request["age"] = [1]
    answer = server.client.post("/v1/score", json={"request": request, "candidates": candidates})
    assert answer.status_code == 422 and answer.json()["error"]["field"] == "request.age"


def test_a_newer_checkpoint_is_taken_up_without_a_lost_request(
    server: Process, copied: Path, make_rows: Rows
) -> None:
    rows = make_rows(20, seed=3).to_pylist()
    steps: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        saved = pool.submit(save_step, copied, 7)
        until = time.time() + 60
        while time.time() < until and (not steps or steps[-1] == 6):
            answer = server.client.post("/v1/predict", json={"rows": rows})
            assert answer.status_code == 200
            steps.append(answer.json()["model"]["step"])
        saved.result()
    assert steps[0] == 6 and steps[-1] == 7 and sorted(steps) == steps
    assert server.client.get("/ready").json()["step"] == 7


def test_its_own_description_holds(run: Path) -> None:
    """Schemathesis makes requests from the OpenAPI page and compares the answers with it."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, settings

    app = make_app(Holder(load_engine(str(run))), LIMITS)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    checks = schemathesis.checks.CHECKS.get_by_names(
        ["not_a_server_error", "status_code_conformance", "content_type_conformance"]
        + ["response_schema_conformance"]
    )
    seen: set[str] = set()
    for operation in schema.get_all_operations():
        api = operation.ok()
        seen.add(api.path)

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @_given(api)
        def try_one(case: Any) -> None:
            case.call_and_validate(checks=checks)

        try_one()
    assert {"/v1/predict", "/v1/score", "/ready", "/health"} <= seen


def _given(api: Any) -> Any:
    from hypothesis import given

    return given(case=api.as_strategy())


def test_the_page_has_the_fields_of_the_recipe(server: Process) -> None:
    page = server.client.get("/openapi.json").json()
    body = page["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]
    fields = body["schema"]["properties"]["rows"]["items"]["properties"]
    assert {"user", "hour", "item", "tags", "price", "taste", "past__item"} <= fields.keys()
    assert server.client.post("/v1/predict", json=body["example"]).status_code == 200
    score = page["paths"]["/v1/score"]["post"]["requestBody"]["content"]["application/json"]
    assert server.client.post("/v1/score", json=score["example"]).status_code == 200


def test_a_bundle_is_served_and_ends_after_the_answers(
    bundle: Path, run: Path, make_rows: Rows
) -> None:
    served, process = graphrec.load_run(run), Process(bundle)
    rows = make_rows(500, seed=2).to_pylist()
    request, candidates = parted(rows, served)
    answer = process.client.post("/v1/score", json={"request": request, "candidates": candidates})
    for name, values in served.score(request, candidates).items():
        np.testing.assert_allclose(np.array(answer.json()["scores"][name]), values, atol=1e-6)
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(httpx.post, f"{process.url}/v1/predict", json={"rows": rows}, timeout=60)
            for _ in range(4)
        ]
        while 'path="/v1/predict"' not in process.client.get("/metrics").text:
            time.sleep(0.01)
        assert process.end() in (0, -signal.SIGTERM)
        done = [future for future in waiting if future.exception() is None]
        assert done and all(future.result().status_code == 200 for future in done)


def test_an_onnx_bundle_gives_the_scores_of_the_run(
    onnx_bundle: Path, run: Path, make_rows: Rows
) -> None:
    """In this process: what `serve` asks of onnxruntime."""
    engine, served = load_engine(str(onnx_bundle)), graphrec.load_run(run)
    rows = make_rows(30, seed=5).to_pylist()
    request, candidates = parted(rows, served)
    assert engine.score is not None and (engine.name, engine.step) == ("small", 6)
    for name, values in served.predict(rows).items():
        np.testing.assert_allclose(engine.predict(rows)[name], values, rtol=1e-5, atol=1e-5)
    for name, values in served.score(request, candidates).items():
        found = engine.score(request, candidates)[name]
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-5)


def test_killed_it_starts_again(run: Path, soak: bool) -> None:
    if not soak:
        pytest.skip("two more processes: part of make soak")
    killed = Process(run)
    assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    again = Process(run)
    assert again.client.get("/health").status_code == 200
    again.end()


def test_no_request_is_lost_for_minutes(
    run: Path, make_rows: Rows, soak: bool, tmp_path: Path
) -> None:
    """Eight clients, right and hostile requests, and newer checkpoints all the while.

    GRAPHREC_SOAK_SECONDS says how long, 600 if it doesn't.
    """
    if not soak:
        pytest.skip("ten minutes: part of make soak")
    shutil.copytree(run, tmp_path / "run")
    process = Process(tmp_path / "run", "--watch", "1", "--max-rows", "600")
    end = time.time() + float(os.environ.get("GRAPHREC_SOAK_SECONDS", "600"))
    rows = make_rows(40, seed=4).to_pylist()
    answers: Counter[tuple[int, bool]] = Counter()
    steps: set[int] = set()
    lock = threading.Lock()

    def ask(number: int) -> None:
        with httpx.Client(base_url=process.url, timeout=60) as client:
            while time.time() < end:
                number += 1
                wrong = number % 5 == 0
                body = (
                    b'{"rows": [{"age": ' + b"[" * (number % 50)
                    if wrong
                    else json.dumps({"rows": rows[: 1 + number % 40]}).encode()
                )
                answer = client.post("/v1/predict", content=body)
                with lock:
                    answers[answer.status_code, wrong] += 1
                    if answer.status_code == 200:
                        steps.add(answer.json()["model"]["step"])

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask, number) for number in range(8)]
        step = 6
        while time.time() < end:
            step += 1
            save_step(tmp_path / "run", step)
            time.sleep(5)
        for one in clients:
            one.result()
    print(dict(answers), f"{len(steps)} checkpoints")
    alive = process.client.get("/health").status_code
    assert process.end() in (0, -signal.SIGTERM)
    assert set(answers) == {(200, False), (400, True)}, dict(answers)
    assert len(steps) > 2 and alive == 200


def save_step(run: Path, step: int) -> None:
    """One more checkpoint: the weights of step 6, halved."""
    from graphrec.train import checkpoint

    given = checkpoint.load(run / "checkpoints" / "step-00000006")
    state = {name: tensor * 0.5 for name, tensor in given.model().items()}
    position = checkpoint.Position(**{**vars(given.position), "step": step})
    checkpoint.save(run / "checkpoints", state, given.optim(), position, given.recipe)


class _Slow:
    """An engine whose rows are numbers; it takes its time."""

    name, step, score = "slow", 1, None

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predict(self, rows: Any) -> dict[str, np.ndarray]:
        self.sizes.append(len(rows))
        time.sleep(0.02)
        for place, row in enumerate(rows):
            if row["x"] < 0:
                raise BadCell(place, "x", "is negative")
        return {"y": np.array([row["x"] for row in rows], np.float32)}


def test_waiting_requests_are_scored_together() -> None:
    async def main() -> None:
        engine = _Slow()
        batcher = Batcher(lambda: engine, most=8, seconds=0.0, waiting_rows=30)  # type: ignore[arg-type,return-value]
        batcher.start()
        asks = [batcher.ask(None, [{"x": n}]) for n in range(20)]
        answers = await asyncio.gather(*asks)
        assert [float(answer.scores["y"][0]) for answer in answers] == list(range(20))
        assert sum(engine.sizes) == 20 and max(engine.sizes) == 8 and len(engine.sizes) <= 5
        mixed = [batcher.ask(None, [{"x": n}]) for n in (1, -1, 2)]
        found = await asyncio.gather(*mixed, return_exceptions=True)
        assert isinstance(found[1], BadCell) and found[1].row == 0
        assert [float(one.scores["y"][0]) for one in (found[0], found[2])] == [1.0, 2.0]
        many = [batcher.ask(None, [{"x": 1}] * 10) for _ in range(5)]
        found = await asyncio.gather(*many, return_exceptions=True)
        assert sum(isinstance(one, Overloaded) for one in found) == 2
        assert batcher.waiting == 0
        await batcher.stop()

    asyncio.run(main())
