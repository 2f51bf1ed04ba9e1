"""The interface of a tracker, and the numbers that all trackers show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from tunery.measures import Measure
from tunery.runs.events import measured
from tunery.runs.folder import RunFolder
from tunery.workers.log import Event, number

STEP_NUMBERS = ("learning_rate", "grad_norm", "tokens_per_second")
"""Numbers of a step besides the measures that the run declares."""
EVAL_NUMBERS = ("perplexity", "forgetting")
"""Numbers of an evaluation besides those measures."""


class Tracker(Protocol):
    """Reports one run to another tool. If it fails, hangs or crashes, the run is not affected."""

    def begin(self, run: RunFolder, config: dict[str, Any], *, known_id: str) -> str:
        """Start or restart reporting a run; all valid events follow, from the first one.

        Data written by an earlier process, which may have been killed at any point, must not appear
        twice. A file-based tracker rewrites its files; one with a server must track what it sent.

        Args:
            run: The run folder.
            config: The run's settings, as plain data.
            known_id: The value that ``begin`` last returned for this run; empty the first time.

        Returns:
            Where the run is shown: a folder, an address or an id.
        """
        ...

    def take(self, event: Event) -> None:
        """Report one event; events invalidated by a resumed run are never passed."""
        ...

    def end(self, status: str) -> None:
        """Handle the end of the run's session; ``finished`` means that the run is complete."""
        ...


def scalars(event: Event, measures: Sequence[Measure]) -> Iterator[tuple[str, float]]:
    """The numbers of a step or an evaluation, by name; they may be non-finite.

    Args:
        event: A ``step`` or an ``eval`` event.
        measures: The measures that the run declares.
    """
    others = STEP_NUMBERS if event["type"] == "step" else EVAL_NUMBERS
    told = {measure.name: measured(event, measure.name) for measure in measures}
    told |= {name: number(event.get(name)) for name in others}
    yield from ((name, value) for name, value in told.items() if value is not None)
