"""Finds an engine for a program: one that is already running, or a new one in this process."""

from __future__ import annotations

import importlib
from pathlib import Path

from tunery.engines.base import Engine
from tunery.engines.folder import EngineFolder
from tunery.engines.process import ProcessEngine
from tunery.workers.entry import ENTRY
from tunery.workers.spinning import settle_by_load


def running(base: Path, *, dtype: str = "auto", device: str = "auto") -> Engine | None:
    """The engine of a base model started by another program; None if there is none."""
    folder = EngineFolder.of(base, dtype=dtype, device=device)
    return ProcessEngine(folder) if folder.alive() else None


def here(base: Path, *, dtype: str = "auto", device: str = "auto") -> Engine:
    """Load a base model in this process, which must be allowed to import the heavy libraries.

    Raises:
        ModelError: It cannot be loaded, or there is no such device.
    """
    settle_by_load()
    module, _, name = ENTRY["engine_here"].partition(":")
    return getattr(importlib.import_module(module), name)(base, dtype=dtype, device=device)
