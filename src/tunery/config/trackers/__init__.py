"""Where else a run is shown: one file per tracker, each switched on by its own section."""

from __future__ import annotations

from typing import get_args

from tunery.config.base import Section
from tunery.config.trackers.base import TrackerKind as TrackerKind
from tunery.config.trackers.tensorboard import TensorboardConfig


class TrackConfig(Section):
    """Trackers that show the run in addition to Tunery; several can be enabled."""

    tensorboard: TensorboardConfig | None = None

    def chosen(self) -> dict[str, TrackerKind]:
        """The trackers that are enabled, by name."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: kind for name, kind in found.items() if kind is not None}


TRACKERS: tuple[type[TrackerKind], ...] = tuple(
    get_args(info.annotation)[0] for info in TrackConfig.model_fields.values()
)
