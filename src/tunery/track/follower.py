"""The process of one tracker: ``python -m tunery.track.follower RUN_FOLDER TRACKER``.

It reads events.jsonl as it grows and passes every valid event to the tracker exactly once. It exits
when no process works in the run folder any more, however the run ended. The run does not depend on
it: a failure is recorded in ``track/NAME.json`` and shown with the run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunery.config.frozen import read_frozen
from tunery.runs.events import History
from tunery.runs.folder import RunFolder
from tunery.runs.status import derive
from tunery.track.base import Tracker
from tunery.workers import local
from tunery.workers.folder import read_json, write_json
from tunery.workers.log import follow
from tunery.workers.process import try_lock

LOOK_SECONDS = 1.0
END_SECONDS = 300.0
"""Time limit for a tracker after the end of its run; then its process exits."""
CHUNK_BYTES = 16 * 2**20


def main(argv: list[str]) -> int:
    """Feed one tracker of one run until the run has ended."""
    run, name = RunFolder(Path(argv[0]).absolute()), argv[1]
    lock = _alone(run, name)
    try:
        threading.Thread(target=_end_a_hanging_one, args=(run,), daemon=True).start()
        config = read_frozen(run.config_file)
        feed(run, name, config.track.chosen()[name].make(), config.model_dump(mode="json"))
    except BaseException as error:
        text = str(error).strip().splitlines()
        said = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
        _note(run, name, state="failed", error=said)
        raise
    finally:
        os.close(lock)
    return 0


def feed(
    run: RunFolder,
    name: str,
    tracker: Tracker,
    config: dict[str, Any],
    *,
    done: Callable[[], bool] | None = None,
) -> None:
    """Pass every valid event to a tracker, in order and exactly once, until the run has ended.

    If a resumed run invalidates earlier events, the tracker starts over.

    Args:
        run: The run.
        name: The tracker's name.
        tracker: The tracker.
        config: The run's settings, as plain data.
        done: Whether the run has ended; by default, whether no process works in its folder.
    """
    done = done or (lambda: not local.at_work(run))
    while True:
        history = History()
        for events in follow(run.events_file, done=lambda: True, limit=CHUNK_BYTES):
            for event in events:
                history.take(event)
        known = str(read_json(run.track_file(name)).get("id") or "")
        _note(run, name, id=tracker.begin(run, config, known_id=known), state="following", error="")
        if _gave_all(run, tracker, history, done):
            break
    tracker.end(derive(run).status)
    _note(run, name, state="ended")


def _gave_all(run: RunFolder, tracker: Tracker, history: History, done: Callable[[], bool]) -> bool:
    """Pass all events from the first one; False if a new event invalidates earlier ones."""
    for events in follow(run.events_file, done=done, interval=LOOK_SECONDS, limit=CHUNK_BYTES):
        for event in events:
            if event["seq"] > history.seq and history.take(event):
                return False
            if history.counts(event):
                tracker.take(event)
    return True


def _alone(run: RunFolder, name: str) -> int:
    """Lock this tracker, waiting for the process of an earlier session that is still exiting."""
    run.track_dir.mkdir(exist_ok=True)
    while (lock := try_lock(run.track_lock(name))) is None:
        time.sleep(LOOK_SECONDS)
    return lock


def _end_a_hanging_one(run: RunFolder) -> None:
    ended: float | None = None
    while ended is None or time.monotonic() - ended < END_SECONDS:
        time.sleep(min(LOOK_SECONDS, END_SECONDS))
        ended = None if local.at_work(run) else ended or time.monotonic()
    print(f"The run has ended and the tracker still hangs after {END_SECONDS:g} s.", flush=True)
    os._exit(1)


def _note(run: RunFolder, name: str, **said: Any) -> None:
    """Record where the tracker shows the run, and its status."""
    write_json(run.track_file(name), {**read_json(run.track_file(name)), **said})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
