"""The trackers of a run: started alongside its worker, and their status."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tunery.commands import quoted
from tunery.config.frozen import read_frozen
from tunery.errors import RunError
from tunery.i18n import t
from tunery.runs.folder import RunFolder, open_run
from tunery.services.settings import label_of
from tunery.workers import local
from tunery.workers.entry import command
from tunery.workers.folder import read_json, write_json
from tunery.workers.process import is_locked

START_SECONDS = 60.0
"""A tracker that has not reported anything after this time is considered dead."""


@dataclass(frozen=True)
class Tracked:
    """One tracker of a run.

    Args:
        name: Its name in the settings.
        label: Its display name.
        where: Where it shows the run: a folder, a URL or an id; empty until it knows.
        warning: What went wrong with it; empty if nothing did.
    """

    name: str
    label: str
    where: str
    warning: str


def start_trackers(folder: RunFolder) -> None:
    """Start a process for each tracker in the settings; the run never waits for them."""
    for name in read_frozen(folder.config_file).track.chosen():
        try:
            folder.track_dir.mkdir(exist_ok=True)
            before = read_json(folder.track_file(name))
            write_json(folder.track_file(name), {**before, "state": "starting", "error": ""})
            local.start_beside(command("track", str(folder.path), name), log=folder.track_log(name))
        except OSError as error:
            _note_failed(folder, name, error)


def track_again(name: str) -> list[Tracked]:
    """Restart the trackers of a run, running or not; each shows the run from its first step.

    Raises:
        RunError: There is no such run, or its settings name no tracker.
    """
    folder = open_run(name)
    if not read_frozen(folder.config_file).track.chosen():
        raise RunError(
            t("Run {run} has no trackers in its settings.", run=folder.name),
            fix=t("Trackers are set before a run starts: tunery config help track"),
            run=folder.name,
        )
    start_trackers(folder)
    return tracked(folder)


def _note_failed(folder: RunFolder, name: str, error: OSError) -> None:
    try:
        said = {"state": "failed", "error": error.strerror or str(error)}
        write_json(folder.track_file(name), {**read_json(folder.track_file(name)), **said})
    except OSError:  # a full disk, which the run itself reports
        return


def tracked(folder: RunFolder) -> list[Tracked]:
    """The trackers that were started for a run, by name."""
    found: list[Tracked] = []
    for file in sorted(folder.track_dir.glob("*.json")):
        label = label_of(f"track.{file.stem}", "")
        where = str(read_json(file).get("id") or "")
        found.append(Tracked(file.stem, label, where, _warning(folder, file.stem, label)))
    return found


def _warning(folder: RunFolder, name: str, label: str) -> str:
    said = read_json(folder.track_file(name))
    state, log = said.get("state"), folder.track_log(name)
    if state == "failed":
        return t(
            "{tracker} failed, which does not affect the run: {error} (log: {log}). Restart "
            "it: tunery runs track {run}",
            tracker=label,
            error=said.get("error"),
            log=log,
            run=quoted(folder.name),
        )
    starting = state == "starting" and _age_seconds(folder, name) < START_SECONDS
    if state == "ended" or starting or is_locked(folder.track_lock(name)):
        return ""
    return t(
        "The process that feeds {tracker} died, which does not affect the run; points may be "
        "missing there (log: {log}). Restart it: tunery runs track {run}",
        tracker=label,
        log=log,
        run=quoted(folder.name),
    )


def _age_seconds(folder: RunFolder, name: str) -> float:
    try:
        return time.time() - folder.track_file(name).stat().st_mtime
    except OSError:
        return 0.0
