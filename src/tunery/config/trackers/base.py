"""What every tracker declares before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from tunery import env
from tunery.config.base import Kind


class TrackerKind(Kind):
    """One tool that shows a run. It reads the run's events in a process of its own."""

    def with_absolute_paths(self) -> Self:
        """Make its file and folder paths absolute."""
        paths = {name: value for name, value in self if isinstance(value, Path)}
        changed = {name: env.expanded(path).absolute() for name, path in paths.items()}
        return self.model_copy(update=changed)
