"""The addresses: /v1/predict, /v1/score, /health, /ready, /metrics, /docs, /openapi.json."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException

from graphrec.data.raw_cells import BadCell
from graphrec.export.server.answers import Engine
from graphrec.export.server.batching import Answer, Batcher, Overloaded
from graphrec.export.server.body import Limits, Refused, parse_predict, parse_score
from graphrec.export.server.openapi import (
    error_schema,
    examples,
    predict_schema,
    score_schema,
    scores_schema,
)
from graphrec.ground.version import __version__

__all__ = ["Holder", "make_app"]

_REFUSALS = {
    400: "no JSON, or nested too deeply",
    404: "no such address",
    405: "another method is needed",
    408: "took too long",
    413: "too many rows or bytes",
    422: "a field or cell that can't be used",
    500: "an error of the server",
    503: "too much is waiting, or the server is ending",
}


class Holder:
    """The engine of the moment; another one may take its place between two batches."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ready = False

    def current(self) -> Engine:
        return self.engine


class _Metrics:
    def __init__(self, holder: Holder) -> None:
        self.registry = CollectorRegistry()
        names: dict[str, Any] = {"registry": self.registry, "namespace": "graphrec"}
        self.requests = Counter("requests", "Requests answered", ["path", "status"], **names)
        self.seconds = Histogram("request_seconds", "Time of a request", ["path"], **names)
        self.rows = Counter("rows", "Rows scored", **names)
        self.batch = Histogram(
            "batch_rows", "Rows scored together", buckets=[2**n for n in range(15)], **names
        )
        Gauge("model_step", "Step of the checkpoint", **names).set_function(
            lambda: holder.engine.step
        )

    def batched(self, rows: int) -> None:
        self.rows.inc(rows)
        self.batch.observe(rows)


def make_app(
    holder: Holder, limits: Limits, most: int = 4096, seconds: float = 0.0, watch: Any = None
) -> FastAPI:
    """The application; `watch` is a coroutine function that runs as long as it."""
    metrics = _Metrics(holder)
    batcher = Batcher(holder.current, most, seconds, limits.waiting_rows, metrics.batched)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        watching = asyncio.create_task(watch()) if watch is not None else None
        holder.ready = True
        yield
        holder.ready = False
        if watching is not None:
            watching.cancel()
        await batcher.stop()

    app = FastAPI(title=f"graphrec: {holder.engine.name}", version=__version__, lifespan=lifespan)
    _add_errors(app)
    _add_scores(app, holder, batcher, limits)
    _add_health(app, holder, metrics)

    @app.middleware("http")
    async def measure(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        start = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get("route")
        path = getattr(route, "path", "other")
        metrics.requests.labels(path, str(response.status_code)).inc()
        metrics.seconds.labels(path).observe(time.perf_counter() - start)
        return response

    return app


def _add_scores(app: FastAPI, holder: Holder, batcher: Batcher, limits: Limits) -> None:
    engine = holder.engine
    whole, parts = examples(engine.features, engine.score is not None)
    names = sorted(engine.predict(whole["rows"]))

    async def answer(request: Request, request_row: Any, rows: list[Any], place: str) -> Response:
        try:
            async with asyncio.timeout(limits.seconds):
                scores = await batcher.ask(request_row, rows)
        except TimeoutError:
            raise Refused(408, f"took longer than {limits.seconds:g} seconds") from None
        except Overloaded:
            raise Refused(503, "too many rows are waiting: try again in a moment") from None
        except BadCell as bad:
            raise _bad_cell(bad, request_row, place) from None
        return _scores(scores, engine.name)

    @app.post(
        "/v1/predict", summary="Scores of rows", **_told(predict_schema, whole, engine, names)
    )
    async def predict(request: Request) -> Response:
        rows = parse_predict(await _body(request, limits), limits)
        return await answer(request, None, rows, "rows")

    if parts is not None:
        described = _told(score_schema, parts, engine, names)

        @app.post("/v1/score", summary="Scores of the candidates of one request", **described)
        async def score(request: Request) -> Response:
            request_row, candidates = parse_score(await _body(request, limits), limits)
            return await answer(request, request_row, candidates, "candidates")


def _add_health(app: FastAPI, holder: Holder, metrics: _Metrics) -> None:
    @app.get("/health", summary="Whether the process lives")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready", summary="Whether requests are answered", responses=_refusals(503))
    async def ready() -> dict[str, Any]:
        if not holder.ready:
            raise Refused(503, "the server is starting or ending")
        return {"status": "ready", "model": holder.engine.name, "step": holder.engine.step}

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
    async def numbers() -> Response:
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        headers = {"Retry-After": "1"} if error.status == 503 else None
        return _error(error.status, error.field, error.message, headers)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return _error(error.status_code, "", str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return _error(500, "", "an error of the server; its log says more")


async def _body(request: Request, limits: Limits) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.bytes:
                    raise Refused(413, f"the body has more than {limits.bytes:,} bytes")
    except TimeoutError:
        raise Refused(408, f"the body took longer than {limits.seconds:g} seconds") from None
    return bytes(body)


def _bad_cell(bad: BadCell, request_row: Any, place: str) -> Refused:
    in_request = request_row is not None and bad.column in request_row
    field = f"request.{bad.column}" if in_request else f"{place}.{bad.row}.{bad.column}"
    return Refused(422, bad.why, field)


def _scores(answer: Answer, name: str) -> Response:
    scores = {key: values.tolist() for key, values in answer.scores.items()}
    return JSONResponse({"scores": scores, "model": {"name": name, "step": answer.step}})


def _error(
    status: int, field: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    content = {"error": {"field": field, "message": message}}
    return JSONResponse(content, status, headers=headers)


def _told(
    schema: Callable[[Any], dict[str, Any]], example: Any, engine: Engine, names: list[str]
) -> dict[str, Any]:
    """What the OpenAPI page says of an address with a body."""
    content = {"application/json": {"schema": schema(engine.features), "example": example}}
    answer = {"application/json": {"schema": scores_schema(names)}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {
            200: {"description": "Scores, in the order of the rows", "content": answer},
            **_refusals(400, 408, 413, 422, 500, 503),
        },
        "response_class": JSONResponse,
    }


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": error_schema()}}
    return {n: {"description": _REFUSALS[n], "content": content} for n in statuses}
