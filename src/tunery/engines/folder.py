"""An engine's folder: TUNERY_HOME/engines/ID, its process, and the location of its socket.

    engine.json   what it serves, and its process: pid, boot id, start time
    engine.lock   locked (flock) by the process while it runs
    holders/      the processes that need it: an engine started by a server for itself ends with it
    exit.json     how it ended, if the process that started it saw it end
    worker.log    its stdout and stderr

The socket is beside them, or in a private folder in the temporary directory if the path would be
longer than the kernel allows.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery import env
from tunery.workers.folder import read_json, write_json
from tunery.workers.process import boot_id, is_alive, start_time

MAX_SOCKET_PATH = 100
IDLE_SECONDS = 1800.0
"""An engine exits after this long without requests."""
ABANDONED_SECONDS = 60.0
"""An engine exits this long after losing its last holder; until then, servers can find it."""


def engines_dir() -> Path:
    """Folder of all engines."""
    return env.home() / "engines"


@dataclass(frozen=True)
class EngineFolder:
    """The paths of one engine.

    Args:
        path: The folder; it may not exist yet.
    """

    path: Path

    @classmethod
    def of(cls, base: Path, *, dtype: str = "auto", device: str = "auto") -> EngineFolder:
        """The engine folder of a base model; always the same for the same arguments."""
        base = base.resolve()
        key = hashlib.sha256(f"{base}\0{dtype}\0{device}".encode()).hexdigest()[:8]
        name = re.sub(r"[^a-z0-9]+", "-", base.name.lower()).strip("-")[:40] or "model"
        return cls(engines_dir() / f"{name}-{key}")

    @property
    def card_file(self) -> Path:
        """engine.json."""
        return self.path / "engine.json"

    @property
    def lock_file(self) -> Path:
        """engine.lock."""
        return self.path / "engine.lock"

    @property
    def holders_dir(self) -> Path:
        """The processes that need the engine: one file per process, named by its pid."""
        return self.path / "holders"

    @property
    def exit_file(self) -> Path:
        """exit.json."""
        return self.path / "exit.json"

    @property
    def log_file(self) -> Path:
        """worker.log."""
        return self.path / "worker.log"

    @property
    def socket_file(self) -> Path:
        """The socket on which the process listens."""
        near = self.path / "socket"
        if len(os.fsencode(near)) <= MAX_SOCKET_PATH:
            return near
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tunery-{os.getuid()}" / f"{name}.socket"

    def make(self) -> None:
        """Create the folder and the socket's folder, both private."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = self.socket_file.parent.stat()
        if owner.st_uid != os.getuid():
            raise PermissionError(f"{self.socket_file.parent} belongs to another user")

    def read(self) -> dict[str, Any]:
        """Read engine.json; empty if there is none."""
        return read_json(self.card_file)

    def write(self, **facts: Any) -> None:
        """Add facts to engine.json."""
        write_json(self.card_file, {**self.read(), **facts})

    def sign(self) -> None:
        """Record this process as the one that runs the engine."""
        pid = os.getpid()
        self.write(pid=pid, boot_id=boot_id(), start_time=start_time(pid))

    def hold(self, *, keep: bool) -> None:
        """Record that this process needs the engine while it runs.

        Args:
            keep: Whether to keep the engine running even without requests.
        """
        pid = os.getpid()
        self.holders_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        who = {"pid": pid, "boot_id": boot_id(), "start_time": start_time(pid), "keep": keep}
        write_json(self.holders_dir / f"{pid}.json", who)

    def holders(self) -> list[dict[str, Any]]:
        """The running processes that hold the engine; entries of ended processes are removed."""
        living: list[dict[str, Any]] = []
        for file in self.holders_dir.glob("*.json"):
            who = read_json(file)
            if is_alive(who):
                living.append(who)
            else:
                file.unlink(missing_ok=True)
        return living

    def alive(self) -> bool:
        """Whether the recorded process is running."""
        return is_alive(self.read())


def folders() -> list[EngineFolder]:
    """All existing engine folders."""
    place = engines_dir()
    found = sorted(place.iterdir()) if place.is_dir() else []
    return [EngineFolder(path) for path in found if (path / "engine.json").is_file()]
