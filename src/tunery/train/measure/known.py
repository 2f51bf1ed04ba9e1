"""A cache of measurements of the unmodified base model, shared between runs.

A second run with the same model reads them instead of computing them again. The key covers
everything that determines the value to the last bit (weights, template, dtype, libraries, our own
code, processor, threads, the question), so a cached value equals a computed one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import tunery
from tunery import env
from tunery.train.state.drift import cpu_name, versions
from tunery.workers.folder import read_json, write_json

log = logging.getLogger(__name__)

MAX_FILES = 200
"""The oldest files are deleted; each is a few kilobytes."""


class Known:
    """The cached values of one model on this machine.

    Args:
        facts: Values that identify the model and how it is computed; see ``build``.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts: dict[str, Any] = {
            **facts,
            "versions": versions(),
            "code": _code(),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
        }

    def with_adapter(self, **adapter: Any) -> Known:
        """The cache of the same model with a new adapter attached."""
        return Known({**self._facts, "adapter": adapter})

    def recall(self, **question: Any) -> Any | None:
        """The cached value of a question; None if it is not cached or cannot be read."""
        return read_json(self._file(question)).get("value")

    def keep(self, value: Any, **question: Any) -> None:
        """Cache a value; if it cannot be written, the next run computes it again."""
        file = self._file(question)
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(file, {"value": value})
            kept = sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
            for old in kept[:-MAX_FILES]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be kept: %s", file, error)

    def _file(self, question: Mapping[str, Any]) -> Path:
        about = json.dumps([self._facts, question], sort_keys=True)
        return env.cache_dir() / "known" / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.json"


def _processor() -> list[str]:
    """The processor and accelerators: sums are rounded differently on other hardware."""
    accelerators = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return [
        cpu_name(),
        torch.backends.cpu.get_cpu_capability(),
        *(torch.cuda.get_device_name(number) for number in accelerators),
    ]


@functools.cache
def _code() -> str:
    """Identify our code by file size and time: the version does not change during development."""
    digest = hashlib.sha256()
    for file in sorted(Path(tunery.__file__).parent.rglob("*.py")):
        about = file.stat()
        digest.update(f"{file} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()
