"""Identity of the worker in a run folder: worker.json, its heartbeat, and requests in control/.

A process is the recorded one only if pid, start time and boot id all match, so neither a reused
pid nor a reboot can be mistaken for our worker. Nothing here starts or signals another worker.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tunery.workers.folder import WorkFolder, read_json, write_json

LOOK_SECONDS = 0.5
LOOKS_UNTIL_GONE = 2  # in a row: some network disks hide a file while it is replaced
FOLDER_GONE_STATUS = 1
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Identify the current boot of the machine."""
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return f"boot-{psutil.boot_time():.0f}"


def start_time(pid: int) -> float | None:
    """When a running process started, in the kernel's clock; None if it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if Path("/proc/self/stat").exists() else _start_time_elsewhere(pid)
    # The command name in parentheses may contain anything; fields are counted after it.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else float(fields[19])


def _start_time_elsewhere(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


class WorkerFile:
    """worker.json of one run.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: WorkFolder) -> None:
        self.path = folder.worker_file

    def write(self, *, pid: int | None = None, role: str = "worker", **extra: Any) -> None:
        """Record the worker; earlier fields (``events_offset``) are kept unless given again.

        Args:
            pid: The process; this one by default.
            role: ``launcher`` until the worker is running, then ``worker``.
            extra: Additional facts, such as ``device``.
        """
        pid = pid or os.getpid()
        who = {
            "pid": pid,
            "boot_id": boot_id(),
            "start_time": start_time(pid),
            "role": role,
            "started": round(time.time(), 3),
        }
        write_json(self.path, {**self.read(), **who, **extra})

    def read(self) -> dict[str, Any]:
        """Read the file; empty if there is none."""
        return read_json(self.path)

    def alive(self) -> bool:
        """Whether the recorded process is running."""
        return is_alive(self.read())

    def beat(self) -> None:
        """Set the mtime to the current time; needs no disk space."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.path)

    def is_gone(self) -> bool:
        """Whether the file, and so its folder, was deleted; False if unknown."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # a network disk that does not answer
            return False
        return False

    def heartbeat_age_seconds(self) -> float | None:
        """Seconds since the last heartbeat by the wall clock, for display; None without a file."""
        try:
            return max(0.0, time.time() - self.path.stat().st_mtime)
        except OSError:
            return None


def is_alive(who: dict[str, Any]) -> bool:
    """Whether the process that ``WorkerFile.read`` describes is running, in this boot."""
    pid = who.get("pid")
    if not isinstance(pid, int) or pid <= 0 or who.get("boot_id") != boot_id():
        return False
    began = start_time(pid)
    return began is not None and began == who.get("start_time")


def session_members(session: int) -> list[int]:
    """The running processes of a session; zombies do not count."""
    members: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            state, _, _, sid = stat[stat.rindex(")") + 2 :].split()[:4]
            if int(sid) == session and state not in "ZX":
                members.append(int(entry.name))
    return sorted(members)


def is_locked(path: Path) -> bool:
    """Whether a process holds a ``flock`` on a file; does not keep the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def try_lock(path: Path) -> int | None:
    """Take a ``flock`` on a file, created if missing; None if another process holds it.

    Returns:
        The descriptor that holds the lock; closing it releases the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    # A caller of ``is_locked`` holds a shared lock for some microseconds: retry before giving up.
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.002)
        else:
            return descriptor
    os.close(descriptor)
    return None


class Heartbeat:
    """Beats from a thread while its ``with`` block runs; the thread dies with the process.

    It also ends the process if its folder was deleted or moved: such work can no longer be seen,
    stopped or used, and must not hold the device. Nothing is left that could be saved.

    Args:
        worker_file: The file to touch.
        interval: Seconds between beats.
    """

    def __init__(self, worker_file: WorkerFile, *, interval: float = 5.0) -> None:
        self._file = worker_file
        self._interval = interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        beaten, missed = time.monotonic(), 0
        while not self._over.wait(min(self._interval, LOOK_SECONDS)):
            missed = missed + 1 if self._file.is_gone() else 0
            if missed >= LOOKS_UNTIL_GONE:
                end_with_folder(self._file.path.parent)
            if time.monotonic() - beaten >= self._interval:
                beaten = time.monotonic()
                with contextlib.suppress(OSError):
                    self._file.beat()


def end_with_folder(folder: Path) -> None:
    """Kill this process and its children, because its folder is gone."""
    with contextlib.suppress(OSError, ValueError):
        print(f"{folder}: the folder was deleted or moved; this process ends.", file=sys.stderr)
    if os.getsid(0) == os.getpid():  # a worker has its own session
        for pid in session_members(os.getpid()):
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    os._exit(FOLDER_GONE_STATUS)


@dataclass(frozen=True)
class Control:
    """Requests to a worker from other processes, as files that it checks at each step.

    Args:
        folder: The run's folder.
    """

    folder: WorkFolder

    @property
    def _stop(self) -> Path:
        return self.folder.control_dir / "stop"

    @property
    def _save(self) -> Path:
        return self.folder.control_dir / "save"

    @property
    def _killed(self) -> Path:
        return self.folder.control_dir / "killed"

    @property
    def _killed_at_once(self) -> Path:
        return self.folder.control_dir / "killed-at-once"

    def request_stop(self) -> None:
        """Ask the worker to save and exit."""
        self._touch(self._stop)

    def request_save(self) -> None:
        """Ask the worker to save and continue."""
        self._touch(self._save)

    def note_killed(self, *, at_once: bool) -> None:
        """Record that the worker is being killed.

        Args:
            at_once: Whether the user asked for that; otherwise the grace period has expired.
        """
        self._touch(self._killed_at_once if at_once else self._killed)

    def stop_requested(self) -> bool:
        """Whether a stop was requested."""
        return self._stop.exists()

    def save_requested(self) -> bool:
        """Whether a save was requested; call ``clear_save`` once it is done."""
        return self._save.exists()

    def was_killed(self) -> bool:
        """Whether a stop had to be forced."""
        return self._killed.exists() or self.was_killed_at_once()

    def was_killed_at_once(self) -> bool:
        """Whether it was killed because the user did not want it to save."""
        return self._killed_at_once.exists()

    def clear_save(self) -> None:
        """Remove the save request."""
        self._save.unlink(missing_ok=True)

    def clear(self) -> None:
        """Clear all requests before a worker starts again."""
        for path in (self._stop, self._save, self._killed, self._killed_at_once):
            path.unlink(missing_ok=True)

    def _touch(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
