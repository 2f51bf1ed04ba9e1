"""Starts an engine's process; ``engines.process`` is the client for its requests.

Kept separate because an HTTP client takes longer to import than a process takes to start.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tunery.engines.folder import IDLE_SECONDS, EngineFolder
from tunery.errors import LaunchError
from tunery.i18n import language, t
from tunery.workers.entry import command
from tunery.workers.environment import worker_env
from tunery.workers.folder import write_json
from tunery.workers.process import boot_id, start_time, try_lock


def begin(
    base: Path,
    dtype: str = "auto",
    *,
    device: str = "auto",
    held: bool = False,
    idle_seconds: float | None = None,
) -> EngineFolder:
    """Start the engine of a base model if none is running; see ``process.start``.

    Raises:
        LaunchError: The process cannot be started.
    """
    folder = EngineFolder.of(base, dtype=dtype, device=device)
    folder.hold(keep=held and idle_seconds is None)
    spawn(
        folder, base.resolve(), dtype=dtype, device=device, held=held,
        idle_seconds=IDLE_SECONDS if idle_seconds is None else idle_seconds,
    )  # fmt: skip
    return folder


def spawn(folder: EngineFolder, base: Path, **settings: Any) -> None:
    """Start the engine's process if none is running; it loads in the background.

    Args:
        folder: The engine's folder.
        base: The base model's folder.
        settings: ``dtype``, ``device``, ``idle_seconds``, ``held``.

    Raises:
        LaunchError: The process cannot be started.
    """
    try:
        folder.make()
        with _starting(folder) as mine:
            if not mine or folder.alive():
                return
            folder.exit_file.unlink(missing_ok=True)
            folder.write(base=str(base), pid=None, failed=None, **settings)
            with folder.log_file.open("wb") as log:
                process = subprocess.Popen(
                    command("engine", str(folder.path)),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env=engine_env(), start_new_session=True,
                )  # fmt: skip
            folder.write(**_identity(process.pid))
    except OSError as error:
        raise LaunchError(
            t("The engine for {base} cannot be started: {why}.", base=base, why=error.strerror),
            fix=t("See {path}.", path=folder.path),
        ) from error
    waiter = threading.Thread(target=_wait, args=(process, folder), daemon=True)
    waiter.start()


def engine_env() -> dict[str, str]:
    """The environment of an engine process: no secrets, no hub access."""
    return {**worker_env(), "TUNERY_LANG": language()}


@contextlib.contextmanager
def _starting(folder: EngineFolder) -> Generator[bool]:
    """Let only one process at a time start an engine; yields whether this one may."""
    lock = try_lock(folder.path / "start.lock")
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def _identity(pid: int) -> dict[str, Any]:
    return {"pid": pid, "boot_id": boot_id(), "start_time": start_time(pid)}


def _wait(process: subprocess.Popen[bytes], folder: EngineFolder) -> None:
    code = process.wait()
    with contextlib.suppress(OSError):
        write_json(folder.exit_file, {"pid": process.pid, "code": code})
