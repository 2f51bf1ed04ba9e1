"""The output of a run: the lines of its worker.log, and its events as sentences."""

from __future__ import annotations

from pathlib import Path

from tunery.runs.curves import RunLog
from tunery.services import words

LOG_BYTES = 256 * 1024


def log_lines(path: Path, *, after: int = 0, tail: int = 0) -> tuple[list[str], int, bool]:
    """Read worker.log.

    Args:
        path: The file; a missing one is empty.
        after: Byte offset to start at; one beyond the end (the log was rotated) starts over.
        tail: If above 0, only this many of the last lines.

    Returns:
        The complete lines, the offset to continue from, and whether earlier lines were left out.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            begin = after if after <= size else 0
            cut = size - begin > LOG_BYTES
            if cut:
                begin = size - LOG_BYTES
            file.seek(begin)
            data = file.read(LOG_BYTES)
    except OSError:
        return [], 0, False
    end = data.rfind(b"\n") + 1 if not tail else len(data)
    lines = data[:end].decode("utf-8", "replace").removesuffix("\n").split("\n") if end else []
    if cut and lines:
        lines = lines[1:]
    shown = lines[-tail:] if tail else lines
    # Progress bars overwrite themselves: keep what would be visible at the end.
    shown = [line.rstrip("\r").rsplit("\r", 1)[-1][:2000] for line in shown]
    return shown, begin + end, cut or len(shown) < len(lines)


def event_lines(told: RunLog, after: int = 0) -> list[tuple[float, str]]:
    """The events after a given one as sentences, with their times in seconds since the epoch."""
    with told.lock:
        events = [event for event in told.events if event["seq"] > after]
    said = [
        (event["time"], words.event_line(event, told.declared, checked=False)) for event in events
    ]
    return [(time, text.strip()) for time, text in said if text]
