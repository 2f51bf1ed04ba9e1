"""Start a run from a page or the REST API: the same preparation as in the CLI, exactly once.

A request carries a key. Whatever happens (a double click, a hundred of them, a lost response, a
server that dies half-way), one key makes one run: its name is recorded before the run is made.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

from tunery.config.load import from_tokens
from tunery.errors import RunError, TuneryError
from tunery.i18n import t
from tunery.runs.folder import RunFolder, check_name, default_name, find_taken, open_run
from tunery.services import settings
from tunery.services.runs import _lifecycle
from tunery.state.database import database
from tunery.workers import local, warm
from tunery.workers.process import WorkerFile

ROUTE = "POST /api/v1/runs"
KEPT_SECONDS = 7 * 86400.0
PREPARE_SECONDS = 3600.0
_LOCKS = [threading.Lock() for _ in range(64)]


def start_once(words: list[str], *, key: str = "", name: str | None = None) -> str:
    """Prepare a run and start its worker; for a key that was already used, return its run.

    Args:
        words: The settings as command-line arguments.
        key: Identifies this request; empty to generate one.
        name: The run's name; by default made from the day, the subject and the method.

    Returns:
        The run's name.

    Raises:
        TuneryError: Whatever is wrong with the request, with its remedies.
    """
    key = key or uuid.uuid4().hex
    with _LOCKS[hash(key) % len(_LOCKS)]:
        kept = _kept(key)
        if kept and kept["words"] != words:
            raise RunError(
                t("This Idempotency-Key was used for a run with other settings."),
                fix=t("Use a new key for each start."),
                code="conflict",
            )
        if kept and kept["started"]:
            return kept["run"]
        try:
            folder = _made(kept) if kept else None
            folder = folder or _prepared(key, words, name)
            if not WorkerFile(folder).read() and local.is_free(folder):
                _lifecycle.start(folder)
        except TuneryError as error:
            _forget(key)
            raise settings.with_remedies(error) from error
        _keep(key, words, folder.name, started=True)
        return folder.name


def _prepared(key: str, words: list[str], name: str | None) -> RunFolder:
    """Make the run folder under a name that is recorded first."""
    wanted = check_name(name) if name else default_name(from_tokens(words).config)
    for number in range(1, 1000):
        run = wanted if number == 1 else f"{wanted}-{number}"
        if not name and find_taken(run):
            continue
        _keep(key, words, run, started=False)
        try:
            made = warm.ask("prepare", timeout_seconds=PREPARE_SECONDS, words=words, name=run)
        except RunError:
            if name or not find_taken(run):
                raise
            continue  # another start took the name in the meantime
        return open_run(made)
    raise AssertionError("a thousand runs of one name in a day")


def _made(kept: dict[str, Any]) -> RunFolder | None:
    """The folder that an earlier attempt made before its server died."""
    if not find_taken(kept["run"]):
        return None
    folder = open_run(kept["run"])
    return folder if folder.card().get("created", 0) >= kept["since"] else None


def _kept(key: str) -> dict[str, Any] | None:
    rows = database().read(
        "SELECT answer FROM idempotency WHERE key = ? AND route = ?", (key, ROUTE)
    )
    return json.loads(rows[0]["answer"]) if rows else None


def _keep(key: str, words: list[str], run: str, *, started: bool) -> None:
    now = time.time()
    answer = json.dumps({"words": words, "run": run, "started": started, "since": now - 1})
    with database().write() as db:
        db.execute("DELETE FROM idempotency WHERE created < ?", (now - KEPT_SECONDS,))
        db.execute(
            "INSERT OR REPLACE INTO idempotency (key, route, answer, created) VALUES (?, ?, ?, ?)",
            (key, ROUTE, answer, now),
        )


def _forget(key: str) -> None:
    with database().write() as db:
        db.execute("DELETE FROM idempotency WHERE key = ? AND route = ?", (key, ROUTE))
