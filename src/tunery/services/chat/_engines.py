"""The engine pool: one engine per base model in memory, found by the name of a model.

A run and its base share one engine; the adapter is activated per request. Which engines are loaded
is queried from them and never remembered, so that a restarted server finds them again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tunery.engines import spawning
from tunery.engines.base import Engine
from tunery.engines.folder import EngineFolder
from tunery.errors import TuneryError
from tunery.models import heads
from tunery.models.resolve import resolve
from tunery.models.resolved import Resolved
from tunery.services.chat._engine_memory import make_room, needed_bytes
from tunery.services.chat._trained import trained_with

log = logging.getLogger(__name__)

Starter = Callable[[Path, str], Awaitable[Engine]]
"""Returns the engine of a base model's folder in a dtype, loading it if necessary."""


@dataclass(frozen=True, slots=True)
class Target:
    """A resolved model name, ready to answer.

    Args:
        name: As requested.
        engine: The engine of its base model.
        adapter: Folder of the adapter to activate; None for a base model.
        template: The chat template it was trained with; None for the model's own.
        context_length: Maximum number of tokens of prompt and answer together.
        resolved: What the name resolves to.
    """

    name: str
    engine: Engine
    adapter: str | None
    template: str | None
    context_length: int
    resolved: Resolved


def _writer(name: str) -> Resolved:
    """Resolve a model that writes text.

    Raises:
        ModelError: There is no such model, or it is a reward model.
    """
    found = resolve(name)
    heads.require_writer(found)
    return found


class Pool:
    """The engines of this machine, by the folder of their base model.

    Args:
        start: Finds or loads an engine.
        running: The engines that are loaded now, by folder.
    """

    def __init__(
        self, start: Starter, running: Callable[[], Awaitable[Mapping[Path, Engine]]]
    ) -> None:
        self._start = start
        self._running = running
        self._locks: dict[Path, asyncio.Lock] = {}
        self._loaded: set[Path] = set()
        self._loading: dict[str, asyncio.Task[Target]] = {}

    async def ready(self, name: str) -> Target:
        """Resolve a name and return its engine, loading the base model if necessary.

        Raises:
            ModelError: There is no such model, or it cannot be loaded here.
            EngineError: Its process ended.
        """
        found = await asyncio.to_thread(_writer, name)
        config = trained_with(found)
        folder = found.model_folder.resolve()
        async with self._locks.setdefault(folder, asyncio.Lock()):
            others = await self._running()
            if folder not in others:
                if folder in self._loaded:
                    log.warning(
                        "%s was unloaded while idle, or its process has ended; it is loaded again",
                        name,
                    )
                await make_room(folder, others, name=name)
            engine = await self._start(folder, config.model.dtype if config else "auto")
        self._loaded.add(folder)
        status = await engine.status()
        return Target(
            name=name,
            engine=engine,
            adapter=str(found.path) if found.base is not None else None,
            template=config.model.template if config else None,
            context_length=status.context_length,
            resolved=found,
        )

    def start_ahead(self, name: str) -> bool:
        """Start loading a name's engine while this process still imports; ``ready`` finds it later.

        Returns:
            Whether loading was started: False if the engine is already running, or if memory must
            be freed for it first.

        Raises:
            ModelError: There is no such model.
            LaunchError: The process cannot be started.
        """
        found = _writer(name)
        config = trained_with(found)
        folder, dtype = found.model_folder.resolve(), config.model.dtype if config else "auto"
        if EngineFolder.of(folder, dtype=dtype).alive():
            return False
        if needed_bytes(folder) > psutil.virtual_memory().available:
            return False
        spawning.begin(folder, dtype, **_starting)
        return True

    def begin(self, name: str) -> None:
        """Start loading a name; a failure shows in ``statuses``."""
        running = self._loading.get(name)
        if running is None or running.done():
            self._loading[name] = asyncio.create_task(self.ready(name))

    async def statuses(self) -> list[dict[str, Any]]:
        """The status of every engine, and the names that failed to load."""
        said: list[dict[str, Any]] = []
        running = await self._running()
        states = await asyncio.gather(*(engine.status() for engine in running.values()))
        for folder, status in zip(running, states, strict=True):
            said.append({**asdict(status), "folder": str(folder)})
        for name, task in self._loading.items():
            error = task.exception() if task.done() and not task.cancelled() else None
            if isinstance(error, TuneryError):
                said.append({"base": name, "state": "failed", "text": str(error)})
        return said

    async def loading_step(self, name: str) -> str:
        """What the engine of a name is doing while it loads; empty if it is loaded or unknown."""
        try:
            found = await asyncio.to_thread(_writer, name)
        except TuneryError:  # ``ready`` reports it
            return ""
        engine = (await self._running()).get(found.model_folder.resolve())
        status = await engine.status() if engine is not None else None
        return status.text if status is not None and status.state == "loading" else ""

    async def unload(self, name: str) -> bool:
        """Stop the engine of a name's base model.

        Returns:
            Whether there was one.
        """
        found = await asyncio.to_thread(_writer, name)
        engine = (await self._running()).get(found.model_folder.resolve())
        if engine is None:
            return False
        await engine.close()
        return True


_pool: Pool | None = None
_starting: dict[str, Any] = {}


def engine_pool() -> Pool:
    """The engine pool of this process."""
    global _pool
    if _pool is None:
        _pool = Pool(_start, _running)
    return _pool


async def _start(folder: Path, dtype: str) -> Engine:
    from tunery.engines import process  # its HTTP takes a while to import

    return await process.start(folder, dtype, **_starting)


async def _running() -> Mapping[Path, Engine]:
    from tunery.engines import process

    return await process.running()


def hold_engines(idle_seconds: float | None) -> None:
    """Tie the engines that this process starts to its lifetime.

    Args:
        idle_seconds: Time without requests after which one is unloaded; None keeps it loaded.
    """
    _starting.update(held=True, idle_seconds=idle_seconds)


def use_pool(other: Pool | None) -> None:
    """Replace the pool of this process (for tests); None resets it."""
    global _pool
    _pool = other
