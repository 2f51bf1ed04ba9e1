"""The supervisor: a small parent process of one worker.

``supervisor FOLDER LOCK_FD READY_FD [AFTERWARDS ...] -- ARGV`` starts the worker in its own
session, waits for it and records how it ended (exit.json), because the terminal or server that
started it may be gone by then. It also keeps worker.log from growing without bound. It ignores
hang-ups and holds the folder's lock, which the worker inherits.
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tunery import env
from tunery.workers.folder import WorkFolder, write_json
from tunery.workers.process import WorkerFile

LOG_LIMIT_BYTES = 16 * 2**20
WATCH_SECONDS = 2.0


def main(argv: list[str]) -> int:
    """Start the worker, wait for it, write exit.json; returns 0 however the worker ended."""
    folder, lock, ready = WorkFolder(Path(argv[0])), int(argv[1]), int(argv[2])
    cut = argv.index("--")
    afterwards, command = argv[3:cut], argv[cut + 1 :]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited by the worker
    # A handler, not SIG_IGN: an ignored SIGINT would be inherited, a handled one is not.
    signal.signal(signal.SIGINT, _outlive)
    signal.signal(signal.SIGTERM, _outlive)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kills_before = oom_kills()
    began = time.monotonic()
    log = os.open(folder.worker_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    worker = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        pass_fds=(lock,),
    )
    WorkerFile(folder).write(pid=worker.pid, role="worker", supervisor=os.getpid())
    os.write(ready, f"{worker.pid}\n".encode())
    os.close(ready)
    status, usage = _wait(worker.pid, folder.worker_log)
    worker.returncode = os.waitstatus_to_exitcode(status)
    _write_exit(
        folder,
        {
            "pid": worker.pid,
            "code": worker.returncode if worker.returncode >= 0 else None,
            "signal": -worker.returncode if worker.returncode < 0 else None,
            "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "oom_kills": oom_kills() - kills_before,
            "seconds": round(time.monotonic() - began, 3),
        },
    )
    _notify(folder, afterwards)
    return 0


def _notify(folder: WorkFolder, command: list[str]) -> None:
    """Send notifications from another process, if any are configured."""
    wanted = folder.path.parent == env.runs_dir() and (env.home() / "notify.json").exists()
    if not (command and wanted):
        return
    try:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"notify: {error}", file=sys.stderr)


def oom_kills() -> int:
    """Processes that the kernel has killed for memory so far, in this cgroup or on the machine."""
    for file, key in (
        ("/sys/fs/cgroup/memory.events", "oom_kill"),
        ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"),
        ("/proc/vmstat", "oom_kill"),
    ):
        try:
            for line in Path(file).read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == key:
                    return int(count)
        except (OSError, ValueError):
            continue
    return 0


def rotate(log: Path, *, limit_bytes: int = LOG_LIMIT_BYTES) -> bool:
    """Move the contents of a log to ``worker.log.1`` once it exceeds the limit.

    The worker continues to write to the same file: it appends, so after the truncation it writes at
    the new end. Lines written between copy and truncation are lost; events are never in this file.
    """
    try:
        if log.stat().st_size <= limit_bytes:
            return False
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    except OSError:  # a full disk: the log must not end the run; retried at the next check
        return False
    return True


def _outlive(_number: int, _frame: object) -> None:
    """Ignore the signal: the worker gets its own, and the supervisor exits after the worker."""


def _wait(pid: int, log: Path) -> tuple[int, resource.struct_rusage]:
    """Wait for the worker, checking its log periodically."""
    watch = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    poll = select.poll()
    if watch is not None:
        poll.register(watch, select.POLLIN)
    while True:
        poll.poll(int(WATCH_SECONDS * 1000) if watch is not None else 200)
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage
        rotate(log)


def _write_exit(folder: WorkFolder, facts: dict[str, Any]) -> None:
    try:
        write_json(folder.exit_file, facts)
    except OSError as error:
        # A full or lost disk: the exit is then reported without its cause.
        print(f"exit.json: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
