"""The run behind a resolved name."""

from __future__ import annotations

from tunery.config.config import Config
from tunery.config.frozen import read_frozen
from tunery.models.resolved import Resolved
from tunery.runs.folder import RunFolder


def trained_with(found: Resolved) -> Config | None:
    """The settings of the run that a resolved name belongs to; None for any other model."""
    if found.kind not in ("run", "checkpoint"):
        return None
    for place in (found.path.parent, found.path.parent.parent.parent):
        run = RunFolder(place)
        if run.config_file.is_file():
            return read_frozen(run.config_file)
    return None
