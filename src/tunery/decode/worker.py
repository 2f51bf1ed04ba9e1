"""One engine process: ``python -m tunery.decode.worker FOLDER`` serves one base on a Unix socket.

It listens at once, loads beside that, and answers ``/status`` meanwhile. NDJSON streams; a client
that hangs up cancels its request. It ends by itself when nobody asked anything for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tunery.engines import wire
from tunery.engines.base import EngineEvent, EngineStatus
from tunery.engines.folder import EngineFolder
from tunery.engines.process import IDLE_SECONDS
from tunery.errors import EngineError, TuneryError
from tunery.i18n import t
from tunery.kernels.cpu import ready
from tunery.workers.process import try_lock
from tunery.workers.spinning import SPIN_SHORTLY, settle

if TYPE_CHECKING:
    from tunery.decode.local import LocalEngine

log = logging.getLogger("tunery.decode.worker")
T = TypeVar("T")

MAX_BODY_BYTES = 8 * 2**20
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWNET = 0x40000000
STATUS = {"queue_full": 429, "too_long": 413}


class Worker:
    """The process: the model once it is loaded, and its HTTP face.

    Args:
        folder: The engine's folder.
    """

    def __init__(self, folder: EngineFolder) -> None:
        card = folder.read()
        self.folder = folder
        self.base = Path(card["base"])
        self.dtype = str(card.get("dtype", "auto"))
        self.device = str(card.get("device", "auto"))
        self.idle_seconds = float(card.get("idle_seconds", IDLE_SECONDS))
        self.held = bool(card.get("held"))
        self.doing = t("starting")
        self.error: TuneryError | None = None
        self.engine: LocalEngine | None = None
        self.loaded = asyncio.Event()
        self.open_requests = 0
        self.asked = time.monotonic()
        self.server: uvicorn.Server | None = None

    def app(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/generate", self.generate, methods=["POST"]),
                Route("/score", self.score, methods=["POST"]),
                Route("/embed", self.embed, methods=["POST"]),
                Route("/count", self.count, methods=["POST"]),
                Route("/status", self.status),
                Route("/close", self.close, methods=["POST"]),
            ],
            exception_handlers={TuneryError: _refuse},
        )

    def load(self, loop: asyncio.AbstractEventLoop) -> None:
        """Load the model; runs on a thread of its own."""
        try:
            self.doing = t("importing the libraries")
            from tunery.decode.local import LocalEngine

            self.doing = t("loading the weights")
            engine = LocalEngine(self.base, dtype=self.dtype, device=self.device)
            model = engine.model
            self.folder.write(device=model.device, fast=model.fast is not None)
            self.engine = engine
        except TuneryError as error:
            log.warning("%s", error)
            self._fail(error)
        except MemoryError:
            self._fail(EngineError(t("There is not enough memory for this model.")))
        except BaseException as error:  # a panic of a native library is no Exception
            log.exception("loading failed")
            self._fail(_panicked(error, self.folder))
        self.asked = time.monotonic()
        loop.call_soon_threadsafe(self.loaded.set)

    def _fail(self, error: TuneryError) -> None:
        # Written before it is told: who hears of it reads the file next.
        self.folder.write(failed=wire.error_to_dict(error))
        self.error = error

    async def generate(self, request: Request) -> Response:
        """Stream the events of a request."""
        asked = await self._read(request, wire.request_from_dict)
        engine = await self._ready()
        events = engine.generate(asked)
        started = await anext(events)  # a refusal is raised here
        self.open_requests += 1
        lines = self._lines(started, events)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def count(self, request: Request) -> Response:
        """Count a prompt's tokens."""
        asked = await self._read(request, wire.request_from_dict)
        engine = await self._ready()
        return JSONResponse({"num_tokens": await engine.count_tokens(asked)})

    async def score(self, request: Request) -> Response:
        """Score given tokens."""
        asked = await self._read(request, dict)
        engine = await self._ready()
        logprobs = await engine.score(asked.get("ids", ()), adapter=asked.get("adapter"))
        return JSONResponse({"logprobs": logprobs})

    async def embed(self, request: Request) -> Response:
        """Make the vector of a text."""
        asked = await self._read(request, dict)
        engine = await self._ready()
        found = await engine.embed(asked.get("text", ""), adapter=asked.get("adapter"))
        return JSONResponse(found.as_dict())

    async def status(self, request: Request) -> Response:
        """Say how things are."""
        return JSONResponse(asdict(await self._status()))

    async def close(self, request: Request) -> Response:
        """End, once this answer is out."""
        self.end()
        return JSONResponse({})

    def end(self) -> None:
        """Let the server finish."""
        if self.server is not None:
            self.server.should_exit = True

    async def watch(self) -> None:
        """End when idle for long, soon where loading failed, and with the server it is for."""
        while True:
            await asyncio.sleep(min(1.0, self.idle_seconds / 4))
            patience = 60.0 if self.error is not None else self.idle_seconds
            idle = time.monotonic() - self.asked
            if not self.folder.path.is_dir():  # TUNERY_HOME was taken away
                self.end()
            holders = await asyncio.to_thread(self.folder.holders)
            if self.held and not holders:
                log.info("the server that started it has ended: ending")
                self.end()
            if any(who.get("keep") for who in holders) and self.error is None:
                continue
            if not self.open_requests and self.loaded.is_set() and idle > patience:
                log.info("idle for %.0f s: ending", idle)
                self.end()

    async def _lines(
        self, started: EngineEvent, events: AsyncGenerator[EngineEvent]
    ) -> AsyncIterator[bytes]:
        try:
            async with contextlib.aclosing(events):
                yield _line(wire.event_to_dict(started))
                async for event in events:
                    yield _line(wire.event_to_dict(event))
        except EngineError as error:
            yield _line(wire.error_to_dict(error))
        finally:
            self.open_requests -= 1
            self.asked = time.monotonic()

    async def _ready(self) -> LocalEngine:
        await self.loaded.wait()
        self.asked = time.monotonic()
        if self.error is not None:
            raise self.error
        assert self.engine is not None
        return self.engine

    async def _read(self, request: Request, make: Callable[[Any], T]) -> T:
        self.asked = time.monotonic()
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise EngineError(t("The request is larger than 8 MiB."), code="too_long")
        try:
            return make(json.loads(body))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise EngineError(t("The request cannot be read: {why}", why=error)) from error

    async def _status(self) -> EngineStatus:
        if self.engine is not None:
            return await self.engine.status()
        memory = psutil.Process().memory_info().rss
        if self.error is not None:
            return EngineStatus(str(self.base), "failed", str(self.error), memory_bytes=memory)
        return EngineStatus(str(self.base), "loading", self.doing, memory_bytes=memory)


def confine() -> None:
    """Give up what an engine never needs: core dumps, privileges, where allowed a network."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        log.warning("no_new_privs cannot be set")
    if libc.unshare(CLONE_NEWNET) != 0:
        log.info("the network stays reachable: %s", os.strerror(ctypes.get_errno()))


async def serve(folder: EngineFolder) -> None:
    """Serve until told to end."""
    worker = Worker(folder)
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(
        worker.app(), uds=str(folder.socket_file), log_level="warning", lifespan="off",
        timeout_graceful_shutdown=2, timeout_keep_alive=75,
    )  # fmt: skip
    worker.server = uvicorn.Server(config)
    threading.Thread(target=worker.load, args=(loop,), name="load", daemon=True).start()
    watch = asyncio.create_task(worker.watch())
    try:
        await worker.server.serve()
    finally:
        watch.cancel()
        if worker.engine is not None:
            await worker.engine.close()
        folder.socket_file.unlink(missing_ok=True)


def main() -> None:
    """The process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settle(SPIN_SHORTLY)
    folder = EngineFolder(Path(sys.argv[1]))
    folder.make()
    lock = try_lock(folder.lock_file)
    if lock is None:
        log.info("another process serves %s already", folder.path)
        return
    card = folder.read()
    if card.get("dtype") != "fp32" and card.get("device", "auto") in ("auto", "cpu"):
        ready.begin()
    confine()
    os.umask(0o077)
    folder.sign()
    folder.socket_file.unlink(missing_ok=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve(folder))
    logging.shutdown()
    # Threads of the libraries may still be in the middle of something; nothing is left to save.
    os._exit(0)


def _panicked(error: BaseException, folder: EngineFolder) -> EngineError:
    """The sentence for what nobody foresaw while loading, such as a panic over a tokenizer."""
    return EngineError(
        t(
            "The model cannot be loaded: {kind}: {why}.",
            kind=type(error).__name__,
            why=str(error).strip().rstrip(".")[:300],
        ),
        fix=t(
            "Most often a file of the model is damaged, such as tokenizer.json. Its log: {path}",
            path=folder.log_file,
        ),
        code="damaged",
    )


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, TuneryError)
    return JSONResponse(wire.error_to_dict(error), status_code=STATUS.get(error.code, 422))


def _line(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    main()
