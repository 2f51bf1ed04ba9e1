"""Typed, append-only event log of one worker: events.jsonl.

Only the worker writes it, with one ``os.write`` per line and a ``seq`` in each. Any process may
read it while it grows: a reader consumes whole lines and keeps an offset; a truncated last line is
left for the next read, and the writer removes it when it opens the file again. Non-finite numbers
are written as the strings ``"nan"``, ``"inf"`` and ``"-inf"``, because JSON has none and 0.0 would
be wrong.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tunery.i18n import english, phrase_of

Event = dict[str, Any]

_SYNCED = frozenset({"status", "checkpoint", "resumed", "result"})
_RESERVE_BYTES = 64 * 1024


class LogWriter:
    """Appends events to one worker's log; a context manager.

    Opening removes a truncated last line and continues the sequence. A small reserve file beside
    the log is deleted when the disk is full, so that the pause can still be recorded; events that
    cannot be written even then are kept and written, in order, with the next event.

    Args:
        path: The log; created if missing.
        required: The allowed event types, with the required fields of each.
        statuses: The allowed values of a ``status`` event.
    """

    def __init__(
        self,
        path: Path,
        *,
        required: Mapping[str, Sequence[str]],
        statuses: Sequence[str],
    ) -> None:
        self.path = path
        self._required = required
        self._statuses = statuses
        self._reserve = path.with_name(".reserve")
        self._unwritten: list[bytes] = []
        self.seq = repair(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._make_reserve()

    def write(self, type: str, /, **fields: Any) -> Event:
        """Append one event and return it; status, checkpoint and result are flushed (fsync).

        A sentence for users is written in English, together with its phrase, under ``phrases``;
        ``i18n.retold`` renders it in the reader's language.

        Raises:
            ValueError: The type is unknown or a required field is missing.
            OSError: The log cannot be written, for a reason other than a full disk.
        """
        if type not in self._required:
            raise ValueError(f"no such event type: {type}")
        missing = [name for name in self._required[type] if name not in fields]
        if missing:
            raise ValueError(f"event {type} lacks {', '.join(missing)}")
        if type == "status" and fields["status"] not in self._statuses:
            raise ValueError(f"no such status: {fields['status']}")
        self.seq += 1
        clock = round(time.monotonic(), 3)
        head = {"seq": self.seq, "time": round(time.time(), 3), "clock": clock, "type": type}
        event: Event = {**head, **plain(_for_machines(fields))}
        line = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._unwritten.append(line.encode("utf-8", "backslashreplace") + b"\n")
        self._flush(synced=type in _SYNCED)
        return event

    def close(self) -> None:
        """Close the log and delete the reserve."""
        if self._descriptor >= 0:
            self._flush(synced=True)
            os.close(self._descriptor)
            self._descriptor = -1
        self._reserve.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flush(self, *, synced: bool) -> None:
        try:
            while self._unwritten:
                self._append(self._unwritten[0])
                del self._unwritten[0]
            if synced:
                os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            if self._reserve.exists():
                self._reserve.unlink()
                self._flush(synced=synced)

    def _append(self, line: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        written = os.write(self._descriptor, line)
        if written != len(line):
            os.ftruncate(self._descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _make_reserve(self) -> None:
        try:
            self._reserve.write_bytes(b"\0" * _RESERVE_BYTES)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise


def _for_machines(fields: Mapping[str, Any]) -> dict[str, Any]:
    phrases = {n: phrase.stored() for n, v in fields.items() if (phrase := phrase_of(v))}
    spoken = {name: _english(value) for name, value in fields.items()}
    return {**spoken, "phrases": phrases} if phrases else spoken


def _english(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _english(item) for key, item in value.items()}  # pyright: ignore
    if isinstance(value, list | tuple):
        return [_english(item) for item in value]  # pyright: ignore
    return english(value)


def plain(value: Any) -> Any:
    """Convert a value to what JSON can represent exactly; non-finite floats become strings."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}  # pyright: ignore
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]  # pyright: ignore
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        return plain(value.item())
    return value


def number(value: Any) -> float | None:
    """Parse a number, including the strings for non-finite ones; None if it is not a number."""
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def repair(path: Path) -> int:
    """Remove a truncated last line and return the last ``seq``, 0 for a new log.

    Complete lines are never changed, whatever their content.
    """
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep = _end_of_last_line(file, size)
        if keep != size:
            file.truncate(keep)
            os.fsync(file.fileno())
        return _last_seq(path, keep)


def _end_of_last_line(file: Any, size: int) -> int:
    end = size
    while end > 0:
        begin = max(0, end - 65536)
        file.seek(begin)
        cut = file.read(end - begin).rfind(b"\n")
        if cut >= 0:
            return begin + cut + 1
        end = begin
    return 0


def _last_seq(path: Path, size: int) -> int:
    window = 65536
    while True:
        events, _ = read_events(path, max(0, size - window))
        if events or window >= size:
            return max((int(e["seq"]) for e in events), default=0)
        window *= 4


def read_events(path: Path, offset: int = 0, *, limit: int = -1) -> tuple[list[Event], int]:
    """Read the complete lines starting at an offset.

    Args:
        path: The log; a missing one is empty.
        offset: Where to start. If it is in the middle of a line, that line is skipped.
        limit: Maximum number of bytes to read; -1 for all.

    Returns:
        The events, and the offset to continue from (the end of the last complete line).
    """
    try:
        with path.open("rb") as file:
            if offset:
                file.seek(offset - 1)
                if file.read(1) != b"\n":
                    offset += len(file.readline())
            data = file.read(limit)
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    return _parsed(data[:end]), offset + end


def _parsed(lines: bytes) -> list[Event]:
    """The events in complete lines; lines that are not events are skipped."""
    try:  # parsing all at once takes two thirds of the time
        found = json.loads(b"[%b]" % lines.rstrip(b"\n").replace(b"\n", b","))
    except ValueError:
        found = [_value(line) for line in lines.split(b"\n")]
    return [event for event in found if _is_event(event)]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_event(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("seq"), int) and "type" in value  # pyright: ignore


def follow(
    path: Path,
    offset: int = 0,
    *,
    done: Callable[[], bool],
    wait: Callable[[float], object] = time.sleep,
    interval: float = 0.2,
    limit: int = -1,
) -> Iterator[list[Event]]:
    """Yield batches of new events until ``done()``; an empty batch means there is no news yet.

    Args:
        path: The log; it may appear later.
        offset: Where to start.
        done: Called before each read, so events written before it turned true are still yielded.
        wait: Waits between reads.
        interval: Seconds to wait if there was nothing new.
        limit: Maximum bytes to read at a time, more than the longest line; -1 for all.
    """
    while True:
        last = done()
        events, offset = read_events(path, offset, limit=limit)
        yield events
        if last and (limit < 0 or not events):
            return
        if not events:
            wait(interval)
