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
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tunery.engines import wire
from tunery.engines.base import Ended, EngineEvent, EngineStatus, GenerateRequest, Started
from tunery.engines.folder import EngineFolder
from tunery.engines.process import IDLE_SECONDS
from tunery.errors import EngineError, TuneryError
from tunery.i18n import t
from tunery.workers.process import try_lock

if TYPE_CHECKING:
    from tunery.decode.batch import Job
    from tunery.decode.scheduler import Scheduler
    from tunery.decode.served import ServedModel

log = logging.getLogger("tunery.decode.worker")

MAX_BODY_BYTES = 8 * 2**20
SWITCH_SECONDS = 2e-4
"""The generating thread asks for the interpreter after each operation; it must not wait long."""
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
        self.doing = t("starting")
        self.error: TuneryError | None = None
        self.model: ServedModel | None = None
        self.scheduler: Scheduler | None = None
        self.loaded = asyncio.Event()
        self.open_requests = 0
        self.asked = time.monotonic()
        self.server: uvicorn.Server | None = None

    def app(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/generate", self.generate, methods=["POST"]),
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
            if self.dtype != "fp32" and self.device in ("auto", "cpu"):
                # While the weights come, which takes as long.
                from tunery.kernels.cpu.ready import ready

                threading.Thread(target=ready, daemon=True).start()
            from tunery.decode.scheduler import Scheduler
            from tunery.decode.served import ServedModel

            self.doing = t("loading the weights")
            self.model = ServedModel(self.base, dtype=self.dtype, device=self.device)
            self.scheduler = Scheduler(self.model)
            self.folder.write(device=self.model.device, lean=self.model.lean is not None)
        except TuneryError as error:
            log.warning("%s", error)
            self._fail(error)
        except MemoryError:
            self._fail(EngineError(t("There is not enough memory for this model.")))
        self.asked = time.monotonic()
        loop.call_soon_threadsafe(self.loaded.set)

    def _fail(self, error: TuneryError) -> None:
        # Written before it is told: who hears of it reads the file next.
        self.folder.write(failed=wire.error_to_dict(error))
        self.error = error

    async def generate(self, request: Request) -> Response:
        """Stream the events of a request."""
        arrived = time.perf_counter()
        asked = await self._read(request)
        scheduler, _ = await self._ready()
        scheduler.check_room()
        prompt, adapter = await asyncio.to_thread(self._prompt, asked)
        queue: asyncio.Queue[list[EngineEvent] | EngineError] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(news: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(queue.put_nowait, news)

        job = scheduler.submit(asked, prompt, adapter=adapter, emit=tell, failed=tell)
        job.arrived = arrived
        self.open_requests += 1
        started = Started(len(prompt.ids), prompt.text)
        lines = self._lines(scheduler, job, started, queue)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def count(self, request: Request) -> Response:
        """Count a prompt's tokens."""
        asked = await self._read(request)
        await self._ready()
        prompt, _ = await asyncio.to_thread(self._prompt, asked)
        return JSONResponse({"num_tokens": len(prompt.ids)})

    async def status(self, request: Request) -> Response:
        """Say how things are."""
        return JSONResponse(asdict(self._status()))

    async def close(self, request: Request) -> Response:
        """End, once this answer is out."""
        self.end()
        return JSONResponse({})

    def end(self) -> None:
        """Let the server finish."""
        if self.server is not None:
            self.server.should_exit = True

    async def watch(self) -> None:
        """End when idle for long, and soon where loading failed."""
        while True:
            await asyncio.sleep(min(1.0, self.idle_seconds / 4))
            patience = 60.0 if self.error is not None else self.idle_seconds
            idle = time.monotonic() - self.asked
            if not self.open_requests and self.loaded.is_set() and idle > patience:
                log.info("idle for %.0f s: ending", idle)
                self.end()
            if not self.folder.path.is_dir():  # TUNERY_HOME was taken away
                self.end()

    async def _lines(
        self, scheduler: Scheduler, job: Job, started: Started, queue: asyncio.Queue[Any]
    ) -> AsyncIterator[bytes]:
        left = len(job.choosers)
        try:
            yield _line(wire.event_to_dict(started))
            while left:
                news = await queue.get()
                if isinstance(news, EngineError):
                    left = 0
                    yield _line(wire.error_to_dict(news))
                    return
                left -= sum(isinstance(event, Ended) for event in news)
                yield b"".join(_line(wire.event_to_dict(event)) for event in news)
        finally:
            if left:
                scheduler.cancel(job)
            self.open_requests -= 1
            self.asked = time.monotonic()

    def _prompt(self, asked: GenerateRequest) -> Any:
        from tunery.decode.prompts import read_prompt

        assert self.model is not None
        assert self.scheduler is not None
        adapter = None
        if asked.adapter is not None:
            model, folder = self.model, asked.adapter
            adapter = model.attached(folder) or self.scheduler.call(lambda: model.attach(folder))
        return read_prompt(self.model, asked, adapter), adapter

    async def _ready(self) -> tuple[Scheduler, ServedModel]:
        await self.loaded.wait()
        self.asked = time.monotonic()
        if self.error is not None:
            raise self.error
        assert self.scheduler is not None
        assert self.model is not None
        return self.scheduler, self.model

    async def _read(self, request: Request) -> GenerateRequest:
        self.asked = time.monotonic()
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise EngineError(t("The request is larger than 8 MiB."), code="too_long")
        try:
            return wire.request_from_dict(json.loads(body))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise EngineError(t("The request cannot be read: {why}", why=error)) from error

    def _status(self) -> EngineStatus:
        memory = psutil.Process().memory_info().rss
        if self.error is not None:
            return EngineStatus(str(self.base), "failed", str(self.error), memory_bytes=memory)
        model, scheduler = self.model, self.scheduler
        if model is None or scheduler is None:
            return EngineStatus(str(self.base), "loading", self.doing, memory_bytes=memory)
        return EngineStatus(
            base=str(self.base),
            state="ready",
            device=model.device,
            dtype=model.dtype_name,
            context_length=model.context_length,
            memory_bytes=memory,
            adapters=[stamp.rsplit(":", 2)[0] for stamp in model.adapters],
            num_running=scheduler.num_running,
            num_waiting=scheduler.num_waiting,
            num_tokens=scheduler.batch.num_tokens,
        )


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
        if worker.scheduler is not None:
            worker.scheduler.close()
        folder.socket_file.unlink(missing_ok=True)


def main() -> None:
    """The process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.setswitchinterval(SWITCH_SECONDS)
    folder = EngineFolder(Path(sys.argv[1]))
    folder.make()
    lock = try_lock(folder.lock_file)
    if lock is None:
        log.info("another process serves %s already", folder.path)
        return
    confine()
    os.umask(0o077)
    folder.sign()
    folder.socket_file.unlink(missing_ok=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve(folder))
    logging.shutdown()
    # Threads of the libraries may still be in the middle of something; nothing is left to save.
    os._exit(0)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, TuneryError)
    return JSONResponse(wire.error_to_dict(error), status_code=STATUS.get(error.code, 422))


def _line(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    main()
