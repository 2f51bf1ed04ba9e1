"""The runs that wait for a device, and the order in which they get it.

A queue is its tickets (``launch.device``): files that the waiting workers hold locked. Putting
them in another order is one small file beside them, which every waiting worker reads before it
takes the device; tickets that are not in it come after, by time of arrival. So an order survives
the death of whoever gave it and is honoured by workers that nobody talks to.
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
    """A run that waits.

    Args:
        run: Its name.
        pid: Of its worker.
        device: What it waits for, as in the name of the lock: ``cpu``, ``cuda-0``.
        position: 1 is next.
        ticket: Name of its ticket.
    """

    run: str
    pid: int
    device: str
    position: int
    ticket: str


def waiting() -> list[Waiting]:
    """Every waiting run, by device and then in the order of their turns."""
    found: list[Waiting] = []
    for queue in sorted(env.locks_dir().glob("device-*.queue")):
        found += _of_queue(queue)
    return found


def holders() -> dict[str, str]:
    """Which run holds which device, by the device's name in its lock."""
    held: dict[str, str] = {}
    for lock in sorted(env.locks_dir().glob("device-*.lock")):
        if is_locked(lock):
            held[_device(lock)] = str(read_json(lock).get("run") or "")
    return held


def put_in_order(runs: Sequence[str]) -> list[Waiting]:
    """Let the named runs have their turns in this order, before all others of their device.

    Returns:
        The queue as it is now.

    Raises:
        RunError: One of them does not wait.
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
    # Whoever finds the device free holds a ticket for a moment too; it is not waiting.
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
