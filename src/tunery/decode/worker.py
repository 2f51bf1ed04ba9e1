"""One engine process: ``python -m tunery.decode.worker FOLDER`` serves one base on a Unix socket.

It listens immediately and answers ``/status`` while the model loads. Responses stream as NDJSON; a
client that disconnects cancels its request. It exits when it has been idle for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psutil

from tunery import memory
from tunery.decode import socket_server
from tunery.decode.socket_server import Handler, Request
from tunery.engines import wire
from tunery.engines.base import Ended, EngineStatus
from tunery.engines.folder import ABANDONED_SECONDS, IDLE_SECONDS, EngineFolder
from tunery.errors import EngineError, TuneryError
from tunery.i18n import t
from tunery.kernels.cpu import ready
from tunery.workers.process import try_lock
from tunery.workers.spinning import SPIN_SHORTLY, settle

if TYPE_CHECKING:
    from tunery.decode.batch import Job, Output
    from tunery.decode.local import LocalEngine
    from tunery.engines.base import EngineEvent

log = logging.getLogger("tunery.decode.worker")
T = TypeVar("T")

GRACE_SECONDS = 2.0
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWNET = 0x40000000


class Worker:
    """The process: the model once it is loaded, and its HTTP handlers.

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
        self.last_request = time.monotonic()
        self.ending = asyncio.Event()

    def routes(self) -> dict[tuple[str, str], Handler]:
        """The handlers by method and path."""
        return {
            ("POST", "/generate"): self.generate,
            ("POST", "/score"): self.score,
            ("POST", "/embed"): self.embed,
            ("POST", "/count"): self.count,
            ("GET", "/status"): self.status,
            ("POST", "/close"): self.close,
        }

    def load(self, loop: asyncio.AbstractEventLoop) -> None:
        """Load the model; runs on its own thread."""
        gc.disable()  # imported objects stay alive; scanning them repeatedly takes 0.1 s
        try:
            self.doing = "loading libraries"  # translated for whoever asks, see engines.process
            from tunery.decode.local import LocalEngine

            self.doing = "loading weights"
            engine = LocalEngine(self.base, dtype=self.dtype, device=self.device)
            model = engine.model
            self.folder.write(device=model.device, fast=model.fast is not None)
            memory.release_unused()
            self.engine = engine
        except TuneryError as error:
            log.warning("%s", error)
            self._fail(error)
        except BaseException as error:  # a panic in a native library is not an Exception
            log.exception("loading failed")
            self._fail(_unexpected(error, self.folder))
        finally:
            gc.enable()
        self.last_request = time.monotonic()
        loop.call_soon_threadsafe(self.loaded.set)

    def _fail(self, error: TuneryError) -> None:
        # Written before the error is reported: clients read the file as soon as they see it.
        self.folder.write(failed=wire.error_to_dict(error))
        self.error = error

    async def generate(self, incoming: Request) -> None:
        """Stream the events of a request; the generating thread writes them directly."""
        request = self._read(incoming, wire.request_from_dict)
        engine = await self._ready()
        loop = asyncio.get_running_loop()
        complete = loop.create_future()
        left = request.num_answers
        job: Job | None = None

        def tell(outputs: list[Output] | EngineError) -> None:
            nonlocal left
            if isinstance(outputs, EngineError):
                left = 0
                incoming.lines.write(_line(wire.error_to_dict(outputs)))
            else:
                left -= sum(isinstance(event, Ended) for event in outputs)
                heard = incoming.lines.write(b"".join(map(_encoded, outputs)))
                if not heard and job is not None:  # before the event loop notices it
                    engine.scheduler.cancel(job)
            if left <= 0:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(_settle, complete)

        started, job = await engine.begin(request, tell)
        self.open_requests += 1
        try:
            incoming.lines.open(_line(wire.event_to_dict(started)))
            await complete
        finally:
            if not complete.done():
                engine.scheduler.cancel(job)
            self.open_requests -= 1
            self.last_request = time.monotonic()

    async def count(self, incoming: Request) -> dict[str, Any]:
        """Count a prompt's tokens."""
        request = self._read(incoming, wire.request_from_dict)
        engine = await self._ready()
        return {"num_tokens": await engine.count_tokens(request)}

    async def score(self, incoming: Request) -> dict[str, Any]:
        """Score given tokens."""
        said = self._read(incoming, dict)
        engine = await self._ready()
        logprobs = await engine.score(said.get("ids", ()), adapter=said.get("adapter"))
        return {"logprobs": logprobs}

    async def embed(self, incoming: Request) -> dict[str, Any]:
        """Compute the embedding of a text."""
        said = self._read(incoming, dict)
        engine = await self._ready()
        found = await engine.embed(said.get("text", ""), adapter=said.get("adapter"))
        return found.as_dict()

    async def status(self, incoming: Request) -> dict[str, Any]:
        """Return the status."""
        return asdict(await self._status())

    async def close(self, incoming: Request) -> dict[str, Any]:
        """Exit once this response has been sent."""
        self.end()
        return {}

    def end(self) -> None:
        """Ask the server to stop."""
        self.ending.set()

    async def watch(self) -> None:
        """Exit when long idle, sooner if no process needs it, or when the server it is for ends."""
        needed = 0.0  # when a process that needs it was last seen alive
        while True:
            await asyncio.sleep(min(1.0, self.idle_seconds / 4))
            if not self.folder.path.is_dir():  # TUNERY_HOME was removed
                self.end()
            holders = await asyncio.to_thread(self.folder.holders)
            now = time.monotonic()
            needed = now if holders else needed
            forsaken = not holders and needed > 0
            soon = self.error is not None or forsaken
            patience = min(ABANDONED_SECONDS, self.idle_seconds) if soon else self.idle_seconds
            idle = now - max(self.last_request, needed if forsaken else 0.0)
            if self.held and not holders:
                log.info("the server that started it has ended: ending")
                self.end()
            if any(who.get("keep") for who in holders) and self.error is None:
                continue
            if not self.open_requests and self.loaded.is_set() and idle > patience:
                log.info("idle for %.0f s: ending", idle)
                self.end()

    async def _ready(self) -> LocalEngine:
        await self.loaded.wait()
        self.last_request = time.monotonic()
        if self.error is not None:
            raise self.error
        assert self.engine is not None
        return self.engine

    def _read(self, incoming: Request, make: Callable[[Any], T]) -> T:
        self.last_request = time.monotonic()
        try:
            return make(incoming.body)
        except (ValueError, TypeError, AttributeError) as error:
            raise EngineError(t("The request cannot be parsed: {why}", why=error)) from error

    async def _status(self) -> EngineStatus:
        if self.engine is not None:
            return await self.engine.status()
        resident = psutil.Process().memory_info().rss
        if self.error is not None:
            return EngineStatus(str(self.base), "failed", str(self.error), memory_bytes=resident)
        return EngineStatus(str(self.base), "loading", self.doing, memory_bytes=resident)


def confine() -> None:
    """Drop what an engine never needs: core dumps, privileges and, if permitted, the network."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    memory.limit_to_machine()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        log.warning("no_new_privs cannot be set")
    if libc.unshare(CLONE_NEWNET) != 0:
        log.info("the network stays reachable: %s", os.strerror(ctypes.get_errno()))


async def serve(folder: EngineFolder) -> None:
    """Serve until stopped."""
    worker = Worker(folder)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.end)
    server = await socket_server.listen(folder.socket_file, worker.routes())
    threading.Thread(target=worker.load, args=(loop,), name="load", daemon=True).start()
    watch = asyncio.create_task(worker.watch())
    try:
        await worker.ending.wait()
    finally:
        watch.cancel()
        server.close()
        if worker.engine is not None:
            await worker.engine.close()
        await _settled()
        folder.socket_file.unlink(missing_ok=True)


async def _settled() -> None:
    """Give answers in progress a moment to send their last events."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=GRACE_SECONDS)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def main() -> None:
    """Run the process."""
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
    # Threads of the libraries may still be running; there is nothing left to save.
    os._exit(0)


def _unexpected(error: BaseException, folder: EngineFolder) -> EngineError:
    """The message for an unexpected failure while loading, such as a panic in a tokenizer."""
    if memory.is_out_of_memory(error):
        return EngineError(
            t("There is not enough memory for this model."),
            fix=t("Close other programs, or use a smaller model."),
        )
    return EngineError(
        t(
            "The model cannot be loaded: {kind}: {why}.",
            kind=type(error).__name__,
            why=str(error).strip().rstrip(".")[:300],
        ),
        fix=t(
            "Usually a file of the model, such as tokenizer.json, is damaged. Log: {path}",
            path=folder.log_file,
        ),
        code="damaged",
    )


def _encoded(output: Output) -> bytes:
    return _line(wire.event_to_dict(cast("EngineEvent", output)))  # never ``Scored`` here


def _line(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    main()
