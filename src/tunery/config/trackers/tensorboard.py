"""The light half of TensorBoard."""

from __future__ import annotations

from pathlib import Path

from tunery.config.trackers.base import TrackerKind


class TensorboardConfig(TrackerKind):
    """TensorBoard event files: curves, sample answers and settings."""

    build = "tunery.track.tensorboard:Tensorboard"
    extra = "track"
    packages = ("tensorboard",)

    folder: Path | None = None
    """Folder for the event files, one subfolder per run; null keeps them in the run folder."""
