"""Which runs have held-out rows: the rows that a run was measured on and never trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tunery.data.catalog import weight
from tunery.errors import ConfigError
from tunery.runs.folder import RunFolder, open_run
from tunery.workers.log import read_events

HEAD_BYTES = 1 << 16
"""Where the counts of rows are in a run's events: before its first step."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The rows of a run.

    Args:
        run: Its name.
        rows: Number of held-out rows; 0 if it has none, or did not get as far as reading its data.
        data: The datasets it trains on.
    """

    run: str
    rows: int
    data: list[str]


def held_out(speakers: Iterable[str]) -> list[HeldOut]:
    """The rows of the runs among models, each run once, in their order.

    Args:
        speakers: Runs and checkpoints of runs.
    """
    names = dict.fromkeys(name.partition("@")[0] for name in speakers)
    return [_of(open_run(name)) for name in names]


def _of(folder: RunFolder) -> HeldOut:
    events, _ = read_events(folder.events_file, limit=HEAD_BYTES)
    counts = [event.get("held_out") for event in events if event["type"] == "rows"]
    written: list[str] = folder.card().get("data") or []
    return HeldOut(folder.name, int(counts[-1] or 0) if counts else 0, list(map(_name, written)))


def _name(written: str) -> str:
    try:
        return weight(written)[0]
    except ConfigError:  # of a version that wrote repeats differently
        return written
