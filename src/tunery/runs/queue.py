"""The queue of runs that wait for a device, and how to reorder it.

A queue consists of tickets (``runs.device``): files that the waiting workers keep locked. Another
order is stored in a file next to them, which every waiting worker reads before it takes the device;
tickets not listed there come last, by time of arrival. So reordering needs no messages to workers,
and the order outlives the process that set it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunery import env
from tunery.errors import RunError
from tunery.i18n import t
from tunery.runs.device import read_order
from tunery.workers.folder import read_json, write_json
from tunery.workers.process import is_locked


@dataclass(frozen=True)
class Waiting:
    """A run that waits for a device.

    Args:
        run: Its name.
        pid: Process id of its worker.
        device: The device, as named in its lock file: ``cpu``, ``cuda-0``.
        position: Position in the queue; 1 is next.
        ticket: File name of its ticket.
    """

    run: str
    pid: int
    device: str
    position: int
    ticket: str


def waiting() -> list[Waiting]:
    """Every waiting run, by device and then by position."""
    found: list[Waiting] = []
    for queue in sorted(env.locks_dir().glob("device-*.queue")):
        found += _of_queue(queue)
    return found


def holders() -> dict[str, str]:
    """The run that holds each device in use, by the device's name in its lock file."""
    held: dict[str, str] = {}
    for lock in sorted(env.locks_dir().glob("device-*.lock")):
        if is_locked(lock):
            held[_device(lock)] = str(read_json(lock).get("run") or "")
    return held


def reorder(runs: Sequence[str]) -> list[Waiting]:
    """Move the given runs to the front of their device's queue, in this order.

    Returns:
        The new queue.

    Raises:
        RunError: One of the runs is not waiting.
    """
    known = waiting()
    missing = [name for name in runs if name not in {w.run for w in known}]
    if missing:
        raise RunError(
            t("Run {run} is not queued.", run=missing[0]),
            fix=t("It may have started in the meantime; check the queue again."),
            run=missing[0],
        )
    for device in {w.device for w in known if w.run in runs}:
        mine = {w.run: w.ticket for w in known if w.device == device}
        first = [mine[name] for name in runs if name in mine]
        rest = [ticket for ticket in mine.values() if ticket not in first]
        write_json(env.locks_dir() / f"device-{device}.order", {"tickets": [*first, *rest]})
    return waiting()


def _of_queue(queue: Path) -> list[Waiting]:
    order = read_order(queue)
    tickets = sorted((p for p in queue.iterdir() if is_locked(p)), key=lambda p: order(p.name))
    if not tickets:
        return []
    said = [(ticket, _ticket(ticket)) for ticket in tickets]
    device = _device(queue)
    # A worker that gets the device at once also holds a ticket briefly; it is not waiting.
    holder = read_json(queue.with_suffix(".lock")).get("run") if said else None
    waits = [(ticket, run, pid) for ticket, (run, pid) in said if run and run != holder]
    return [
        Waiting(run=run, pid=pid, device=device, position=i, ticket=ticket.name)
        for i, (ticket, run, pid) in enumerate(waits, start=1)
    ]


def _ticket(path: Path) -> tuple[str, int]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return str(said["run"]), int(said["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0


def _device(path: Path) -> str:
    return path.stem.removeprefix("device-")
