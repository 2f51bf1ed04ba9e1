"""The folder of one worker: the names of the files that every worker has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tunery import atomic


@dataclass(frozen=True)
class WorkFolder:
    """The paths inside the folder of one worker.

    Args:
        path: The folder, absolute; it may not exist yet.
    """

    path: Path

    @property
    def name(self) -> str:
        """The name of the work, which is the name of its folder."""
        return self.path.name

    @property
    def events_file(self) -> Path:
        """events.jsonl, written only by the worker."""
        return self.path / "events.jsonl"

    @property
    def worker_log(self) -> Path:
        """worker.log: stdout and stderr of the worker."""
        return self.path / "worker.log"

    @property
    def worker_file(self) -> Path:
        """worker.json: identity of the worker; its mtime is the heartbeat."""
        return self.path / "worker.json"

    @property
    def exit_file(self) -> Path:
        """exit.json: how the worker ended, written by its supervisor."""
        return self.path / "exit.json"

    @property
    def lock_file(self) -> Path:
        """run.lock: locked (flock) while any process works in this folder."""
        return self.path / "run.lock"

    @property
    def control_dir(self) -> Path:
        """Folder of request files (stop, save)."""
        return self.path / "control"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if it is missing, truncated or not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically (temporary name, fsync, rename)."""
    atomic.write(path, json.dumps(value, ensure_ascii=False, indent=1))
