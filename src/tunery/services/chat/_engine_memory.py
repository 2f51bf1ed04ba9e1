"""Memory for one more engine: what a base model needs, and which idle engines to unload."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import psutil

from tunery import env
from tunery.engines.base import Engine
from tunery.errors import EngineError, ModelError
from tunery.i18n import joined, t
from tunery.models import files
from tunery.runs.device import DeviceLock

INTERPRETER_BYTES = 600 * 2**20
"""Python, torch and transformers, plus the caches of a few conversations."""


async def make_room(folder: Path, running: Mapping[Path, Engine], *, name: str) -> None:
    """Ensure that a base model fits into free memory; unload idle engines, longest idle first.

    Args:
        folder: The base model's folder.
        running: The engines in memory.
        name: What to call the base model in messages.

    Raises:
        EngineError: It does not fit, even with every idle engine unloaded.
    """
    wanted = await asyncio.to_thread(needed_bytes, folder)
    idle: list[Engine] = []
    freed = 0
    states = await asyncio.gather(*(engine.status() for engine in running.values()))
    for engine, status in zip(running.values(), states, strict=True):
        if status.state == "ready" and not status.num_running and not status.num_waiting:
            idle.append(engine)
            freed += status.memory_bytes
    free = psutil.virtual_memory().available
    if wanted > free + freed:
        raise _does_not_fit(name, wanted, free)
    for engine in idle:
        if wanted <= psutil.virtual_memory().available:
            return
        await engine.close()


def needed_bytes(folder: Path) -> int:
    """Estimate the memory of an engine of this base: weights in blocked copies, and the rest."""
    try:
        size = files.check_weights(folder).size_bytes
    except ModelError:  # the loader reports what is wrong
        return 0
    return size + INTERPRETER_BYTES


def training_on(device: str) -> str:
    """Return the name of the run that is training on a device; empty if there is none."""
    if device == "cpu":
        return ""
    holder = DeviceLock(device).holder()
    return holder.run if holder else ""


def _does_not_fit(name: str, wanted: int, free: int) -> EngineError:
    training = training_on("cuda:0")
    why = t("Run {run} is training on {device} now.", run=training, device="cuda:0")
    message = t(
        "{name} needs about {wanted} of memory; only {free} is free.",
        name=name,
        wanted=env.human_bytes(wanted),
        free=env.human_bytes(free),
    )
    return EngineError(
        joined(message, why) if training else message,
        fix=t("Unload another model, wait for the run to finish, or use a smaller model."),
        code="no_memory",
    )
