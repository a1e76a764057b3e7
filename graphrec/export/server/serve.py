"""The process of `graphrec serve`: starts, takes up newer checkpoints, ends without losing any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec

from graphrec.blocks.library import BUILTIN, Library
from graphrec.export.server.answers import Engine, load_engine, newest_step
from graphrec.export.server.body import Limits
from graphrec.ground.errors import EnvironmentFault, GraphrecError, Problem

__all__ = ["Settings", "check_packages", "serve"]

_NEEDS = ("fastapi", "uvicorn", "prometheus_client")


@dataclass(frozen=True)
class Settings:
    """Where to listen, how to batch, what to refuse, and how often to look for a checkpoint."""

    path: str
    host: str = "127.0.0.1"
    port: int = 8000
    checkpoint: str | int | None = None
    batch_rows: int = 4096
    wait_ms: float = 0.0
    watch_seconds: float = 5.0
    limits: Limits = field(default_factory=Limits)


def check_packages() -> None:
    """EnvironmentFault (GR821) unless what `graphrec[serve]` brings is there."""
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        what = f"graphrec serve needs {', '.join(missing)}, which is not installed"
        raise EnvironmentFault(Problem("GR821", what, help="pip install 'graphrec[serve]'"))


def serve(settings: Settings, say: Callable[[str], None], library: Library = BUILTIN) -> None:
    """Serve until SIGTERM or SIGINT; requests that were taken are answered first."""
    check_packages()
    import uvicorn

    from graphrec.export.server.app import Holder, make_app

    engine = load_engine(settings.path, settings.checkpoint, library)
    holder = Holder(engine)

    async def watch() -> None:
        while True:
            await asyncio.sleep(settings.watch_seconds)
            newer = await asyncio.to_thread(_newer, settings, holder.engine, library, say)
            if newer is not None:
                holder.engine = newer
                say(f"serving step {newer.step}")

    watching = settings.watch_seconds > 0 and settings.checkpoint is None
    app = make_app(
        holder,
        settings.limits,
        settings.batch_rows,
        settings.wait_ms / 1000,
        watch if watching and newest_step(settings.path) is not None else None,
    )
    say(
        f"serving {engine.name}, step {engine.step}, at http://{settings.host}:{settings.port}/docs"
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(settings.limits.seconds) + 5,
    )


def _newer(
    settings: Settings, engine: Engine, library: Library, say: Callable[[str], None]
) -> Engine | None:
    """The engine of a newer checkpoint; None where there is none, or it can't be used."""
    try:
        step = newest_step(settings.path)
        if step is None or step == engine.step:
            return None
        return load_engine(settings.path, step, library)
    except (GraphrecError, OSError) as error:
        say(f"the newer checkpoint can't be used, step {engine.step} serves on: {error}")
        return None
