"""The process of one run: ``python -m tunery.train.worker RUN_FOLDER [--allow-drift FIELD]...``.

It waits for the device, builds, trains, writes the result, and reports everything in events. The
last event always gives the outcome: ``finished`` and ``stopped`` exit 0; ``failed`` carries a
message and a fix and exits 1 (2 if the request was invalid). A killed process writes no last event,
which readers of the folder report as ``interrupted``.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from tunery.commands import quoted
from tunery.config.load import read_frozen, read_frozen_meta
from tunery.errors import RunError, TuneryError, panic_error
from tunery.i18n import joined, t
from tunery.kernels.cpu import ready
from tunery.memory import is_out_of_memory, limit_to_machine
from tunery.runs.device import DeviceLock, Holder
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.runs.manifest import newest_valid
from tunery.runs.signals import Stopped, StopRequests
from tunery.workers.local import already_running
from tunery.workers.process import Control, Heartbeat, WorkerFile, try_lock
from tunery.workers.quick_end import end_at_once
from tunery.workers.spinning import SLEEP, settle, settle_by_load

LOCK_SECONDS = 10.0


def main(argv: list[str]) -> int:
    """Run the worker and return the exit status."""
    allow_drift = [argv[i + 1] for i, word in enumerate(argv) if word == "--allow-drift"]
    folder = RunFolder(Path(argv[0]).absolute())
    lock = _hold(folder)
    stop = StopRequests(Control(folder))
    stop.install()
    try:
        with EventWriter(folder.events_file) as events, Heartbeat(WorkerFile(folder)):
            return _told(folder, events, stop, allow_drift)
    finally:
        if lock is not None:
            os.close(lock)


def _told(
    folder: RunFolder, events: EventWriter, stop: StopRequests, allow_drift: list[str]
) -> int:
    """Run, and write a status event for every outcome."""
    try:
        ending = _run(folder, events, stop, allow_drift)
    except Stopped:
        events.write(
            "status",
            status="stopped",
            reason=t("{reason} before the first step", reason=stop.reason),
        )
        return 0
    except TuneryError as error:
        print(f"{error.message}\nfix: {error.fix}", file=sys.stderr, flush=True)
        events.write(
            "status", status="failed", reason=error.message, fix=error.fix, code=error.code,
            exit=error.exit_status,
        )  # fmt: skip
        return error.exit_status
    except BaseException as error:  # noqa: BLE001 - whatever it is, the run must say that it ended
        traceback.print_exc()
        reason, fix = _in_words(error, folder)
        events.write("status", status="failed", reason=reason, fix=fix, exit=1)
        return 1
    reason = stop.reason if ending == "stopped" else ""
    events.write("status", status=ending, reason=reason)
    return 0


def _run(folder: RunFolder, events: EventWriter, stop: StopRequests, allow_drift: list[str]) -> str:
    config, meta = read_frozen(folder.config_file), read_frozen_meta(folder.config_file)
    device = _device(config.model.device)

    def waiting(holder: Holder) -> None:
        events.write("status", status="queued", **holder.as_fields(device))

    lock = DeviceLock(device, run=folder.name)
    if not lock.acquire(on_wait=waiting, should_stop=stop.stop):
        raise Stopped
    try:
        events.write("status", status="running", pid=os.getpid())
        settle_by_load()  # only now that the previous run has ended
        if device == "cpu":
            limit_to_machine()
        if device == "cpu" and config.model.dtype != "fp32":
            ready.begin()
        # Only now: a queued run must not hold the memory of torch and a model.
        from tunery.runs.context import RunContext
        from tunery.train.session import run

        return run(RunContext(folder, config, meta, events, stop, device, allow_drift))
    finally:
        lock.release()


def _device(wanted: str) -> str:
    """Resolve ``auto`` without importing torch if the machine has no accelerator."""
    if wanted not in ("auto", "cuda"):
        return wanted
    if wanted == "auto" and not Path("/dev/nvidiactl").exists():
        return "cpu"
    settle(SLEEP)  # the accelerator does the computing; torch is about to be imported
    from tunery.models.load import pick_device

    return pick_device(wanted)


def _hold(folder: RunFolder) -> int | None:
    """Ensure that no other process uses this folder.

    Returns:
        The lock's file descriptor; None if the launcher holds it for this process.

    Raises:
        RunError: Another worker is alive.
    """
    lock = try_lock(folder.lock_file)
    if lock is not None:
        WorkerFile(folder).write()
        return lock
    end = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < end:
        if WorkerFile(folder).read().get("pid") == os.getpid():
            return None
        time.sleep(0.01)
    raise already_running(folder)


def _in_words(error: BaseException, folder: RunFolder) -> tuple[str, str]:
    """A message and a fix for an error that is not one of ours."""
    text = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {text[0] if text else 'no message'}"
    if is_out_of_memory(error):
        return (
            t("Out of memory outside a training step ({what}).", what=what),
            t(
                "Close other programs, lower data.max_length, set model.dtype to bf16, "
                "or use a smaller model."
            ),
        )
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        reason = f"{error.strerror}{place}"
        return (
            t("System error: {reason}.", reason=reason),
            t("See {log}", log=folder.worker_log),
        )
    if (panicked := panic_error(error)) is not None:
        return panicked.message, panicked.fix
    if isinstance(error, ImportError):
        return (
            t("Missing package: {what}.", what=what),
            t("Install it: pip install 'tunery[train]'"),
        )
    fix = t("The traceback is in {log}; report it to the Tunery developers.", log=folder.worker_log)
    if newest_valid(folder.checkpoints_dir)[0] is not None:
        intact = t("The last checkpoint is intact: tunery runs resume {run}",
                   run=quoted(folder.name))  # fmt: skip
        fix = joined(fix, intact)
    return t("Internal error in Tunery: {what}.", what=what), fix


def _entry() -> int:
    try:
        return main(sys.argv[1:])
    except RunError as error:
        print(f"{error.message}\nfix: {error.fix}", file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    end_at_once(_entry())
