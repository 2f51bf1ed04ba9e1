"""The engine in this process: one served model and its generating thread.

The worker serves it over HTTP; ``tunery chat`` and evaluation use it directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from tunery.decode.batch import Job, Output, Scored
from tunery.decode.embedding import Embedder
from tunery.decode.prompts import Prompt, check_scored, read_prompt
from tunery.decode.scheduler import Scheduler
from tunery.decode.served import ServedModel
from tunery.engines.base import (
    EVERYTHING,
    Capability,
    Ended,
    EngineEvent,
    EngineStatus,
    GenerateRequest,
    Started,
)
from tunery.engines.embed import Embedded
from tunery.errors import EngineError

SWITCH_SECONDS = 2e-4
"""The generating thread needs the GIL after each operation and must not wait long for it."""


class LocalEngine:
    """A model of transformers, loaded here; see ``engines.base.Engine``.

    Args:
        base: The base model's folder.
        dtype: As ``model.dtype``.
        device: As ``model.device``.

    Raises:
        ModelError: The folder cannot be loaded, or there is no such device.
    """

    def __init__(self, base: Path, *, dtype: str = "auto", device: str = "auto") -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        self.model = ServedModel(base, dtype=dtype, device=device)
        self.scheduler = Scheduler(self.model)

    @property
    def can(self) -> frozenset[Capability]:
        """All capabilities."""
        return EVERYTHING

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[EngineEvent]:
        """Generate answers; see ``Engine.generate``."""
        queue = _Queue()
        started, job = await self.begin(request, queue.tell)
        left = len(job.choosers)
        try:
            yield started
            while left:
                for event in await queue.next():
                    left -= isinstance(event, Ended)
                    yield event
        finally:
            if left:
                self.scheduler.cancel(job)

    async def begin(
        self, request: GenerateRequest, tell: Callable[[list[Output] | EngineError], object]
    ) -> tuple[Started, Job]:
        """Queue a request.

        Args:
            request: The request.
            tell: Called on the generating thread with the events after ``Started``, or with the
                error that ends the request; the first call may happen before this returns.

        Raises:
            EngineError: As ``Engine.generate``.
        """
        arrived = time.perf_counter()
        self.scheduler.check_room()
        prompt, adapter = await asyncio.to_thread(self._prompt, request)
        job = self.scheduler.submit(
            request, prompt, adapter=adapter, emit=tell, failed=tell, arrived=arrived
        )
        return Started(len(prompt.ids), prompt.text), job

    async def count_tokens(self, request: GenerateRequest) -> int:
        """The number of tokens of the rendered prompt."""
        prompt, _ = await asyncio.to_thread(self._prompt, request)
        return len(prompt.ids)

    async def score(self, ids: Sequence[int], *, adapter: str | None = None) -> list[float]:
        """Compute the log-probabilities of given tokens; see ``Engine.score``."""
        checked = check_scored(self.model, ids)
        attached = await asyncio.to_thread(self._attached, adapter)
        queue = _Queue()
        job = self.scheduler.score(checked, adapter=attached, emit=queue.tell, failed=queue.tell)
        try:
            while True:
                for output in await queue.next():
                    if isinstance(output, Scored):
                        return output.logprobs
        finally:
            self.scheduler.cancel(job)  # no effect if it has ended

    async def embed(self, text: str | Sequence[int], *, adapter: str | None = None) -> Embedded:
        """Compute the embedding of a text or of token ids; see ``engines.embed.Embeds``."""
        embedder = Embedder(self.model)
        attached = await asyncio.to_thread(self._attached, adapter)
        if isinstance(text, str):
            ids = await asyncio.to_thread(embedder.ids, text, attached)
        else:
            ids = embedder.check(text)
        return await asyncio.to_thread(self.scheduler.call, lambda: embedder.make(ids, attached))

    def is_alive(self) -> bool:
        """True: it runs in this process."""
        return True

    async def status(self) -> EngineStatus:
        """The status of the engine."""
        model, scheduler = self.model, self.scheduler
        return EngineStatus(
            base=str(model.folder),
            state="ready",
            device=model.device,
            dtype=model.dtype_name,
            context_length=model.context_length,
            memory_bytes=psutil.Process().memory_info().rss,
            adapters=[stamp.rsplit(":", 2)[0] for stamp in model.adapters],
            num_running=scheduler.num_running,
            num_waiting=scheduler.num_waiting,
            num_tokens=scheduler.batch.num_tokens,
        )

    async def close(self) -> None:
        """Stop the generating thread; answers in progress end as interrupted."""
        await asyncio.to_thread(self.scheduler.close)

    def _prompt(self, request: GenerateRequest) -> tuple[Prompt, str | None]:
        adapter = self._attached(request.adapter)
        return read_prompt(self.model, request, adapter), adapter

    def _attached(self, folder: str | None) -> str | None:
        if folder is None:
            return None
        model = self.model
        return model.attached(folder) or self.scheduler.call(lambda: model.attach(folder))


class _Queue:
    """Events from the generating thread, delivered on the requesting event loop."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def tell(self, outputs: list[Output] | EngineError) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no receiver is left
            self._loop.call_soon_threadsafe(self._queue.put_nowait, outputs)

    async def next(self) -> list[Any]:
        outputs = await self._queue.get()
        if isinstance(outputs, EngineError):
            raise outputs
        return outputs
