"""A run as one zip: its configuration, metrics and logs; no weights."""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tunery.runs.events import step_history
from tunery.runs.folder import RunFolder, open_run
from tunery.workers.log import read_events

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
        packed.writestr(
            f"{folder.name}/metrics.csv", metrics_csv(read_events(folder.events_file)[0])
        )
        if left_out:
            packed.writestr(f"{folder.name}/{LEFT_OUT}", "".join(left_out))
    out.seek(0)
    return out


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file in chunks, then close it."""
    with file:
        while piece := file.read(_CHUNK):
            yield piece


def metrics_csv(events: Sequence[dict[str, Any]]) -> str:
    """Every step and evaluation as a table, one line per event; a repeated step counts once."""
    rows = [*step_history(events), *(event for event in events if event["type"] == "eval")]
    rows.sort(key=lambda event: (event.get("step") or 0, event["type"] == "eval"))
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _files(folder: RunFolder) -> list[Path]:
    """The existing files of a run that are not weights."""
    wanted = (folder.config_file, folder.events_file, folder.worker_log, folder.card_file,
              folder.report_file)  # fmt: skip
    return [path for path in wanted if path.is_file() and not path.is_symlink()]


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in event.items() if not isinstance(v, (dict, list)) and k != "seq"}
    return {**kept, **(event.get("measures") or {})}
