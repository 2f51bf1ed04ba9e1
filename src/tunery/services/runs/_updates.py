"""Updates of one run since an exact cursor: the topic ``run:NAME``.

A cursor identifies the last thing that was sent, so a client that returns with it receives
everything after it once and nothing twice. Steps are sent as columns; more than ``MOST_STEPS`` at
once are not sent but announced (``behind``), and the page fetches them downsampled: a message is
never large, however far a client has fallen behind.
"""

from __future__ import annotations

import zlib
from typing import Any

from tunery.errors import TuneryError
from tunery.runs.curves import RunLog
from tunery.runs.folder import open_run
from tunery.runs.status import RunStatus, derive
from tunery.services import access
from tunery.services.runs import _metrics
from tunery.workers.log import Event, plain

MOST_STEPS = 200
MOST_EVENTS = 200


class RunTopic:
    """Topic ``run:NAME``: the run's log after a cursor, and its state when it changes.

    Kinds: ``reset`` (another run has the name: start over), ``cut`` (steps after ``step`` are being
    repeated), ``steps`` (columns), ``behind`` (too many: fetch the metrics), ``event``, ``state``,
    ``removed``.
    """

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Return the messages after a cursor ``SEQ:INODE:STATE``, and the next cursor."""
        topic = f"run:{argument}"
        try:
            folder = open_run(access.run(argument))
        except TuneryError:
            removed = {"topic": topic, "kind": "removed", "name": argument}
            return ([] if cursor == "gone" else [removed]), "gone"
        told = _metrics.run_log(folder)
        with told.lock:
            seq, identity, status = _parse(cursor)
            messages: list[dict[str, Any]] = []
            if identity not in ("", str(told.identity[1])):
                messages.append({"kind": "reset"})
                seq = 0
            end = _append_events(told, seq, messages)
            now = f"{end}:{told.identity[1]}"
        state = derive(folder)
        if messages or status_digest(state) != status:
            messages.append({"kind": "state", "run": state.as_dict()})
        cursor = f"{now}:{status_digest(state)}"
        return [{"topic": topic, **message} for message in messages], cursor


def cursor_of(told: RunLog, seq: int, state: RunStatus | None = None) -> str:
    """The cursor of a client that has seen all events up to one, and the state if given."""
    return f"{seq}:{told.identity[1]}:{status_digest(state) if state else ''}"


def status_digest(state: RunStatus) -> str:
    """A digest of status and reason: a reason, such as that of a crash, may follow later."""
    return f"{state.status}-{zlib.crc32(f'{state.reason}|{state.fix}'.encode()):08x}"


def _append_events(told: RunLog, seq: int, messages: list[dict[str, Any]]) -> int:
    """Append what came after ``seq``; returns the last event sent."""
    fresh = [event for event in told.events if event["seq"] > seq]
    end = told.seq
    if len(fresh) > MOST_EVENTS:
        fresh = fresh[:MOST_EVENTS]
        end = fresh[-1]["seq"]
    cuts = [event["step"] for event in fresh if event["type"] == "resumed"]
    if cuts:
        messages.append({"kind": "cut", "step": min(cuts)})
    steps = _metrics.steps_since(told, seq, most=MOST_STEPS)
    if steps is None:
        messages.append({"kind": "behind", "last": told.curves.step[-1]})
    elif steps["step"]:
        messages.append({"kind": "steps", **steps})
    messages += [{"kind": "event", "seq": e["seq"], "event": _told(e)} for e in fresh]
    # Steps are always sent to the end; if events wait for the next read, those steps are sent
    # again then, and the page drops the duplicates.
    return max(seq, end)


def _told(event: Event) -> dict[str, Any]:
    return plain(event)


def _parse(cursor: str) -> tuple[int, str, str]:
    seq, _, rest = cursor.partition(":")
    identity, _, status = rest.partition(":")
    return (int(seq) if seq.isdigit() else 0), identity, status
