"""A run as one zip: its configuration, metrics and logs; no weights."""

from __future__ import annotations

import csv
import heapq
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tunery.runs.curves import CHUNK_BYTES
from tunery.runs.events import History
from tunery.runs.folder import RunFolder, open_run
from tunery.workers.log import Event, follow

MAX_FILE_BYTES = 64 * 1024**2
"""A larger file is left out and listed in the zip, to keep the download to a reasonable size."""
IN_MEMORY = 8 * 1024**2
_CHUNK = 1024 * 1024
LEFT_OUT = "left-out.txt"


def archive(name: str) -> IO[bytes]:
    """Pack the settings, metrics, events, log and report of a run into a zip.

    Args:
        name: The run.

    Returns:
        A zip file positioned at its beginning; the caller closes it.

    Raises:
        RunError: There is no such run.
    """
    folder = open_run(name)
    out = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the caller closes it
    left_out: list[str] = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as packed:
        for path in _files(folder):
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                left_out.append(f"{path.name}\t{size}\t{path}\n")
            else:
                packed.write(path, f"{folder.name}/{path.name}")
        with packed.open(f"{folder.name}/metrics.csv", "w", force_zip64=True) as table:
            for piece in metrics_csv(folder.events_file):
                table.write(piece.encode())
        if left_out:
            packed.writestr(f"{folder.name}/{LEFT_OUT}", "".join(left_out))
    out.seek(0)
    return out


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file in chunks, then close it."""
    with file:
        while piece := file.read(_CHUNK):
            yield piece


def metrics_csv(log: Path) -> Iterator[str]:
    """Every step and evaluation as a table, one line per event; a repeated one counts once.

    The log is read twice, a piece at a time: once for the columns and for what counts, once for
    the lines.
    """
    history, columns, evals = History(), dict[str, None](), list[Event]()
    for event in _events(log):
        history.take(event)
        if event["type"] == "eval":
            evals.append(event)
        if event["type"] in ("step", "eval"):
            columns.update(dict.fromkeys(_flat(event)))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    steps = (e for e in _events(log) if e["type"] == "step" and history.counts(e))
    evals = sorted((e for e in evals if history.counts(e)), key=_place)
    for event in heapq.merge(steps, evals, key=_place):
        writer.writerow(_flat(event))
        if text.tell() > _CHUNK:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _place(event: Event) -> tuple[int, bool]:
    return event.get("step") or 0, event["type"] == "eval"


def _events(log: Path) -> Iterator[Event]:
    for events in follow(log, done=lambda: True, limit=CHUNK_BYTES):
        yield from events


def _files(folder: RunFolder) -> list[Path]:
    """The existing files of a run that are not weights."""
    wanted = (folder.config_file, folder.events_file, folder.worker_log, folder.card_file,
              folder.report_file)  # fmt: skip
    return [path for path in wanted if path.is_file() and not path.is_symlink()]


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in event.items() if not isinstance(v, (dict, list)) and k != "seq"}
    return {**kept, **(event.get("measures") or {})}
