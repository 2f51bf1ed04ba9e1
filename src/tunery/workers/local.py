"""Workers on this machine: start one detached, wait for it, stop it and all of its processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunery.commands import quoted
from tunery.errors import LaunchError, RunError
from tunery.i18n import t
from tunery.workers import supervisor
from tunery.workers.entry import ENTRY, command
from tunery.workers.environment import worker_env
from tunery.workers.folder import WorkFolder
from tunery.workers.log import repair
from tunery.workers.process import (
    Control,
    WorkerFile,
    is_alive,
    is_locked,
    session_members,
    try_lock,
)

KILL_SECONDS = 10.0
START_SECONDS = 10.0


def start(
    folder: WorkFolder,
    *,
    argv: Sequence[str],
    environment: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> int:
    """Start a worker in its folder; it outlives this process, its terminal and its session.

    Args:
        folder: The worker's folder.
        argv: The worker's command.
        environment: Its environment variables; ``worker_env()`` by default.
        facts: Further facts of this attempt for worker.json.

    Returns:
        The worker's pid, which is then also in worker.json.

    Raises:
        RunError: A process is already working in this folder.
        LaunchError: The worker could not be started.
    """
    lock = try_lock(folder.lock_file)
    if lock is None:
        raise already_running(folder)
    afterwards = command("ended", str(folder.path)) if "ended" in ENTRY else []
    ready, told = os.pipe()
    try:
        Control(folder).clear()
        folder.exit_file.unlink(missing_ok=True)
        repair(folder.events_file)
        offset = folder.events_file.stat().st_size if folder.events_file.exists() else 0
        WorkerFile(folder).write(role="launcher", events_offset=offset, **(facts or {}))
        with folder.worker_log.open("ab") as log:
            parent = subprocess.Popen(
                [sys.executable, "-P", "-m", supervisor.__name__, str(folder.path),
                 str(lock), str(told), *afterwards, "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=worker_env() if environment is None else environment,
                start_new_session=True,
                pass_fds=(lock, told),
            )  # fmt: skip
        os.close(told)
        told = -1
        # Reap the child: in a long-lived server, zombies do no harm but must not pile up.
        threading.Thread(target=parent.wait, daemon=True, name="reaper").start()
        with os.fdopen(ready, "rb", closefd=False) as answer:
            said = answer.read()
    finally:
        os.close(lock)
        os.close(ready)
        if told >= 0:
            os.close(told)
    if not said:
        raise LaunchError(
            t("Run {run}: the worker could not be started.", run=folder.name),
            fix=t("See {log}", log=folder.worker_log),
            run=folder.name,
        )
    return int(said)


def start_beside(argv: Sequence[str], *, log: Path) -> None:
    """Start a process that runs beside a worker; it also outlives this process.

    Args:
        argv: Its command.
        log: File for its stdout and stderr.

    Raises:
        OSError: It could not be started.
    """
    with log.open("ab") as file:
        beside = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=worker_env(),
            start_new_session=True,
        )
    threading.Thread(target=beside.wait, daemon=True, name="reaper").start()


def already_running(folder: WorkFolder) -> RunError:
    """The error for a run that is already running."""
    return RunError(
        t("Run {run} is already running.", run=folder.name),
        fix=t("Watch it: tunery runs follow {run}, or stop it: tunery runs stop {run}",
              run=quoted(folder.name)),
        run=folder.name,
    )  # fmt: skip


def ask_to_stop(folder: WorkFolder) -> None:
    """Ask the worker to save and exit: the request file, and SIGTERM to wake it."""
    Control(folder).request_stop()
    who = WorkerFile(folder).read()
    if who.get("role") == "worker" and is_alive(who):
        with contextlib.suppress(ProcessLookupError):
            os.kill(who["pid"], signal.SIGTERM)


def stop(folder: WorkFolder, *, grace_seconds: float) -> bool:
    """Stop a run: ask, wait, then kill its processes.

    Args:
        folder: The run's folder.
        grace_seconds: Time for the worker to save.

    Returns:
        True if it exited by itself, False if it had to be killed.

    Raises:
        LaunchError: A process of the run is still alive afterwards.
    """
    who = _worker(folder)
    if not is_alive(who):
        return True
    ask_to_stop(folder)
    if wait_until_gone(folder, grace_seconds):
        return True
    Control(folder).note_killed(at_once=grace_seconds <= 0)
    kill_session(who["pid"])
    wait_until_gone(folder, KILL_SECONDS)
    left = session_members(who["pid"])
    if left:
        raise LaunchError(
            t("Run {run}: processes {pids} cannot be killed.", run=folder.name, pids=left),
            fix=t(
                "They are waiting for the device or the disk; inspect them with: ps -o "
                "pid,stat,wchan"
            ),
            run=folder.name,
        )
    return False


def _worker(folder: WorkFolder) -> dict[str, Any]:
    """The identity of the worker; waits if it is just being started."""
    end = time.monotonic() + START_SECONDS
    while (who := WorkerFile(folder).read()).get("role") == "launcher":
        if not is_alive(who) or time.monotonic() > end:
            return {}
        time.sleep(0.02)
    return who


def is_free(folder: WorkFolder) -> bool:
    """Whether nothing works in the folder: no worker, no supervisor, nothing being started."""
    return not is_locked(folder.lock_file)


def at_work(folder: WorkFolder) -> bool:
    """Whether anything works in the folder: a worker, its supervisor, or one being started."""
    return not is_free(folder) or WorkerFile(folder).alive()


def wait_until_gone(folder: WorkFolder, timeout_seconds: float) -> bool:
    """Wait until the worker has exited and its exit has been recorded.

    Returns:
        False if the timeout came first.
    """
    end = time.monotonic() + timeout_seconds
    who = WorkerFile(folder).read()
    if is_alive(who) and not _wait_for_pid(who, timeout_seconds):
        return False
    while (lock := try_lock(folder.lock_file)) is None:
        if time.monotonic() > end + 1.0:
            return False
        time.sleep(0.02)
    os.close(lock)
    return True


def kill_session(session: int) -> None:
    """SIGKILL every process of a worker's session, including any it starts meanwhile."""
    for _ in range(20):
        members = session_members(session)
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
        time.sleep(0.02)


def _wait_for_pid(who: dict[str, Any], timeout_seconds: float) -> bool:
    """Wait for exactly this process; it need not be a child of this one."""
    pid: int = who["pid"]
    end = time.monotonic() + timeout_seconds
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (OSError, AttributeError):  # no pidfd here: poll
        watch = -1
    try:
        while is_alive(who):
            left = end - time.monotonic()
            if left <= 0:
                return False
            if watch >= 0:
                select.select([watch], [], [], left)
            else:
                time.sleep(min(left, 0.1))
        return True
    finally:
        if watch >= 0:
            os.close(watch)
