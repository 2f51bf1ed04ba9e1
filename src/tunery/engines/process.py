"""An engine in its own process, reached over its Unix socket.

The process is detached: it outlives the server that started it and is found again by engine.json.
It exits when it has been idle for a while, or when asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from tunery.engines import wire
from tunery.engines.base import (
    EVERYTHING,
    Capability,
    Ended,
    EngineEvent,
    EngineStatus,
    GenerateRequest,
)
from tunery.engines.embed import Embedded
from tunery.engines.folder import EngineFolder, folders
from tunery.engines.lines import QUIET_SECONDS, Refusal, lines
from tunery.engines.spawning import begin
from tunery.errors import EngineError, TuneryError
from tunery.i18n import t
from tunery.workers.folder import read_json
from tunery.workers.process import is_alive

STOP_SECONDS = 10.0
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used on a local socket; passed so that httpx does not load the certificates each time."""
STATUS_SECONDS = 2.0
"""Maximum wait for an engine's status: one that hangs must not delay the others."""
SILENT_SECONDS = 120.0
"""Maximum time without a response before waiting for an engine is abandoned."""


async def start(
    base: Path,
    dtype: str = "auto",
    *,
    device: str = "auto",
    held: bool = False,
    idle_seconds: float | None = None,
) -> ProcessEngine:
    """Find the engine of a base model or start it, and wait until it is loaded.

    Args:
        base: The base model's folder.
        dtype: Dtype of its weights.
        device: Device it runs on.
        held: Whether an engine started here ends with this process; without ``idle_seconds`` it
            stays loaded until then, even if it was already running.
        idle_seconds: Seconds without requests after which it exits; half an hour by default.

    Raises:
        LaunchError: The process cannot be started.
        TuneryError: It cannot be loaded; with the loader's own message.
    """
    folder = await asyncio.to_thread(
        begin, base, dtype, device=device, held=held, idle_seconds=idle_seconds
    )
    engine = ProcessEngine(folder)
    await engine.ready()
    return engine


async def running() -> dict[Path, ProcessEngine]:
    """The engines with a running process, by the folder of their base model; also loading ones."""
    found = await asyncio.to_thread(folders)
    return {Path(each.read()["base"]): ProcessEngine(each) for each in found if each.alive()}


class ProcessEngine:
    """The client of the engine in a folder.

    Args:
        folder: The engine's folder.
    """

    def __init__(self, folder: EngineFolder) -> None:
        self.folder = folder
        self.base = str(folder.read().get("base", ""))

    @property
    def can(self) -> frozenset[Capability]:
        """All capabilities."""
        return EVERYTHING

    async def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Generate answers; see ``Engine.generate``. Closing the iterator cancels."""
        ended = 0
        try:
            async with aclosing(
                lines(self.folder.socket_file, "/generate", wire.request_to_dict(request))
            ) as said:
                async for line in said:
                    event = wire.event_from_dict(json.loads(line))
                    ended += isinstance(event, Ended)
                    yield event
        except Refusal as refusal:
            raise _refusal(refusal.body) from refusal
        except (OSError, TimeoutError) as error:
            raise await self._lost() from error
        if ended < request.num_answers:
            raise await self._lost()

    async def count_tokens(self, request: GenerateRequest) -> int:
        """The number of tokens of the rendered prompt."""
        answer = await self._ask("POST", "/count", wire.request_to_dict(request))
        return int(answer["num_tokens"])

    async def score(self, ids: Sequence[int], *, adapter: str | None = None) -> list[float]:
        """Compute the log-probabilities of given tokens; see ``Engine.score``."""
        answer = await self._ask("POST", "/score", {"ids": list(ids), "adapter": adapter})
        return [float(value) for value in answer["logprobs"]]

    async def embed(self, text: str | Sequence[int], *, adapter: str | None = None) -> Embedded:
        """Compute the embedding of a text or of token ids; see ``engines.embed.Embeds``."""
        body = {"text": text if isinstance(text, str) else list(text), "adapter": adapter}
        return Embedded.of(await self._ask("POST", "/embed", body))

    def is_alive(self) -> bool:
        """Whether its process is running."""
        return self.folder.alive()

    async def status(self) -> EngineStatus:
        """The status of the engine; if its process has exited, ``failed`` with the cause."""
        try:
            said = await self._ask("GET", "/status", seconds=STATUS_SECONDS)
            status = wire.status_from_dict(said)
            return replace(status, text=_translated(status.text))
        except TimeoutError:
            return EngineStatus(self.base, "loading", t("not responding"))
        except EngineError as error:
            if not self.folder.alive():
                return EngineStatus(self.base, "failed", str(error))
            return EngineStatus(self.base, "loading", t("starting"))

    async def ready(self, *, on_status: Any = None) -> EngineStatus:
        """Wait until it is loaded.

        Raises:
            EngineError: It could not be loaded; with the loader's own message.
        """
        heard = time.monotonic()
        while True:
            asked = time.monotonic()
            status = await self.status()
            if time.monotonic() - asked < STATUS_SECONDS:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENT_SECONDS:
                raise EngineError(
                    t("The engine is not responding."),
                    fix=t(
                        "Unload the model and load it again. Log: {path}",
                        path=self.folder.log_file,
                    ),
                    code="gone",
                )
            if on_status is not None:
                on_status(status)
            if status.state == "ready":
                return status
            if status.state == "failed":
                error = self.failure()
                await self.close()
                raise error
            await asyncio.sleep(0.1)

    def failure(self) -> TuneryError:
        """Return why the process failed or ended, and what to do."""
        said = self.folder.read().get("failed")
        if isinstance(said, dict):
            return wire.error_from_dict(said)
        return ended_error(self.folder)

    async def close(self) -> None:
        """Stop the process; answers in progress end as interrupted."""
        with contextlib.suppress(EngineError, TimeoutError):
            await self._ask("POST", "/close", seconds=STATUS_SECONDS)
        await asyncio.to_thread(stop, self.folder)

    async def _ask(
        self, method: str, path: str, body: Any = None, *, seconds: float | None = None
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds), self._http() as http:
                answer = await http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise await self._lost() from error
        if answer.status_code != 200:
            raise _refusal(answer.content)
        return answer.json()

    async def _lost(self) -> TuneryError:
        """The error for a broken connection; waits briefly for a process that is ending."""
        for _ in range(20):
            if not self.folder.alive():
                return ended_error(self.folder)
            if not self.folder.socket_file.exists():
                break
            await asyncio.sleep(0.05)
        return EngineError(t("The engine is not responding yet."), code="gone")

    def _http(self) -> httpx.AsyncClient:
        # One connection per request: a local socket costs microseconds, and nothing stays open.
        transport = httpx.AsyncHTTPTransport(
            uds=str(self.folder.socket_file), limits=httpx.Limits(max_connections=None), verify=_TLS
        )
        timeout = httpx.Timeout(QUIET_SECONDS, connect=5.0)
        return httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=timeout)


def stop(folder: EngineFolder, *, seconds: float = STOP_SECONDS) -> None:
    """Stop an engine's process with SIGTERM, then with SIGKILL after a timeout."""
    who = folder.read()
    if not is_alive(who):
        return
    for sent, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, seconds)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(who["pid"]), sent)
        if _gone_within(who, patience):
            return


def ended_error(folder: EngineFolder) -> EngineError:
    """Describe how an engine's process ended, and what to do."""
    code = read_json(folder.exit_file).get("code")
    if code == -signal.SIGKILL:
        return EngineError(
            t("The engine was killed by signal 9, usually because it ran out of memory."),
            fix=t("Close other programs or use a smaller model, then load it again."),
            code="gone",
        )
    if code == -signal.SIGABRT:
        return EngineError(
            t("A native library aborted the engine (signal 6)."),
            fix=t(
                "Usually a file of the model, such as tokenizer.json, is damaged or "
                "needs too much memory. Log: {path}",
                path=folder.log_file,
            ),
            code="gone",
        )
    if code in (0, -signal.SIGTERM):
        return EngineError(
            t("The engine has stopped."), fix=t("Load the model again."), code="gone"
        )
    how = t("with signal {number}", number=-code) if isinstance(code, int) and code < 0 else ""
    how = how or (
        t("with status {number}", number=code) if code is not None else t("cause unknown")
    )
    return EngineError(
        t("The engine exited unexpectedly ({how}).", how=how),
        fix=t("Load the model again. Log: {path}", path=folder.log_file),
        code="gone",
    )


def _translated(doing: str) -> str:
    """What an engine is doing while it loads, in the language of whoever asks, not the engine's."""
    match doing:
        case "loading libraries":
            return t("loading libraries")
        case "loading weights":
            return t("loading weights")
        case _:
            return doing


def _refusal(body: bytes) -> TuneryError:
    try:
        return wire.error_from_dict(json.loads(body))
    except ValueError:
        return EngineError(t("The engine rejected the request."))


def _gone_within(who: dict[str, Any], seconds: float) -> bool:
    for _ in range(int(seconds / 0.05)):
        if not is_alive(who):
            return True
        threading.Event().wait(0.05)
    return not is_alive(who)
