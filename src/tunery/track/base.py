"""What every tracker does, and the numbers that all of them show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from tunery.measures import Measure
from tunery.runs.events import measured
from tunery.runs.folder import RunFolder
from tunery.workers.log import Event, number

STEP_NUMBERS = ("learning_rate", "grad_norm", "tokens_per_second")
"""Numbers of a step beside the measures that the run declares."""
EVAL_NUMBERS = ("perplexity", "forgetting")
"""Those of an evaluation."""


class Tracker(Protocol):
    """Shows one run elsewhere. It may fail, hang or die: the run does not notice."""

    def begin(self, run: RunFolder, config: dict[str, Any], *, known_id: str) -> str:
        """Start or restart showing a run; all valid events follow again.

        What an earlier process wrote, which may have been killed anywhere, must not show twice. A
        tracker of files writes them anew; one with a server needs to know what it has sent.

        Args:
            run: Its folder.
            config: Its settings, as plain data.
            known_id: What ``begin`` returned for this run before; empty the first time.

        Returns:
            Where the run is shown: a folder, an address or an id.
        """
        ...

    def take(self, event: Event) -> None:
        """Show one event; those that a resumed run made void are never given."""
        ...

    def end(self, status: str) -> None:
        """The run has ended for now; with ``finished`` for good."""
        ...


def scalars(event: Event, measures: Sequence[Measure]) -> Iterator[tuple[str, float]]:
    """The numbers of a step or an evaluation by name; non-finite ones are legal.

    Args:
        event: A ``step`` or an ``eval`` event.
        measures: What the run declares.
    """
    others = STEP_NUMBERS if event["type"] == "step" else EVAL_NUMBERS
    told = {measure.name: measured(event, measure.name) for measure in measures}
    told |= {name: number(event.get(name)) for name in others}
    yield from ((name, value) for name, value in told.items() if value is not None)
