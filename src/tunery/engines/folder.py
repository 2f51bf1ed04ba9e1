"""An engine's folder: TUNERY_HOME/engines/ID, who runs there, and where its socket is.

    engine.json   what it serves, and the process: pid, boot id, start time
    engine.lock   held (flock) by the process as long as it lives
    holders/      the processes that need it: one that a server started for itself ends with it
    exit.json     how it ended, where the process that started it saw it
    worker.log    its stdout and stderr

The socket is beside them, or in a private folder under the temporary directory where the path would
be longer than the kernel allows.
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
"""An engine without requests ends after so long."""
ABANDONED_SECONDS = 60.0
"""One that nobody holds any more ends after so long; a restarted server finds it."""


def engines_dir() -> Path:
    """Folder of all engines."""
    return env.home() / "engines"


@dataclass(frozen=True)
class EngineFolder:
    """The paths of one engine.

    Args:
        path: The folder; it need not exist.
    """

    path: Path

    @classmethod
    def of(cls, base: Path, *, dtype: str = "auto", device: str = "auto") -> EngineFolder:
        """The folder of the engine of a base model; the same for the same base, always."""
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
        """Who needs it: a file for each process, named by its pid."""
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
        """Where the process listens."""
        near = self.path / "socket"
        if len(os.fsencode(near)) <= MAX_SOCKET_PATH:
            return near
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tunery-{os.getuid()}" / f"{name}.socket"

    def make(self) -> None:
        """Make the folder and the socket's, both private."""
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
        """Write this process down as the one that runs here."""
        pid = os.getpid()
        self.write(pid=pid, boot_id=boot_id(), start_time=start_time(pid))

    def hold(self, *, keep: bool) -> None:
        """Say that this process needs the engine as long as it lives.

        Args:
            keep: Keep it even without requests.
        """
        pid = os.getpid()
        self.holders_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        who = {"pid": pid, "boot_id": boot_id(), "start_time": start_time(pid), "keep": keep}
        write_json(self.holders_dir / f"{pid}.json", who)

    def holders(self) -> list[dict[str, Any]]:
        """The living processes that hold the engine; what dead ones left is removed."""
        living: list[dict[str, Any]] = []
        for file in self.holders_dir.glob("*.json"):
            who = read_json(file)
            if is_alive(who):
                living.append(who)
            else:
                file.unlink(missing_ok=True)
        return living

    def alive(self) -> bool:
        """Whether the process written down lives."""
        return is_alive(self.read())


def folders() -> list[EngineFolder]:
    """Every engine folder there is."""
    place = engines_dir()
    found = sorted(place.iterdir()) if place.is_dir() else []
    return [EngineFolder(path) for path in found if (path / "engine.json").is_file()]
