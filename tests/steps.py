"""The steps of a run's log that count."""

from __future__ import annotations

from collections.abc import Iterable

from tunery.runs.events import History
from tunery.workers.log import Event


def step_history(events: Iterable[Event]) -> list[Event]:
    """The step events, strictly increasing: what a resumed run did again replaces the first try."""
    told, history = list(events), History()
    for event in told:
        history.take(event)
    return [event for event in told if event["type"] == "step" and history.counts(event)]
