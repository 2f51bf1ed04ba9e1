"""Describes why a worker ended, from the files in its folder."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tunery.env import human_bytes
from tunery.i18n import t
from tunery.workers.folder import WorkFolder
from tunery.workers.log import number
from tunery.workers.process import boot_id


def cause_of_end(who: dict[str, Any], end: dict[str, Any], folder: WorkFolder) -> str:
    """Describe why a worker ended."""
    peak = number(end.get("peak_bytes")) or 0.0
    memory = t("peak memory: {peak}", peak=human_bytes(peak))
    number_, code = end.get("signal"), end.get("code")
    if number_ == signal.SIGKILL:
        if end.get("oom_kills"):
            return t("out of memory: the kernel killed the worker (signal 9); {memory}",
                     memory=memory)  # fmt: skip
        return t("the worker was killed by signal 9 (often out of memory); {memory}", memory=memory)
    if number_:
        name = _signal_name(number_)
        if number_ == signal.SIGABRT and _ran_out_of_memory(folder.worker_log):
            return t("out of memory: an allocation in native code failed (signal 6); {memory}",
                     memory=memory)  # fmt: skip
        if number_ in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE):
            return t("the worker crashed in native code with signal {number} ({name}); see {log}",
                     number=number_, name=name, log=folder.worker_log)  # fmt: skip
        return t("the worker was killed by signal {number} ({name})", number=number_, name=name)
    if code is not None:
        last = _last_log_line(folder.worker_log)
        if last:
            return t("the worker exited with status {code}; its log ends with: {line}",
                     code=code, line=last)  # fmt: skip
        return t("the worker exited with status {code} without a message", code=code)
    if who and who.get("boot_id") != boot_id():
        return t("the machine restarted during the run")
    if not who or who.get("role") == "launcher":
        return t("it was prepared, but its worker never started")
    return t(
        "the worker disappeared without a message (the machine or container may have killed it)"
    )


def _signal_name(number_: int) -> str:
    try:
        return signal.Signals(number_).name
    except ValueError:
        return "?"


def _ran_out_of_memory(log: Path) -> bool:
    """C++ and Rust log it before they abort; the stack of every thread follows it in the log."""
    said = _log_tail(log, 1 << 17)
    return "std::bad_alloc" in said or "memory allocation of" in said


def _last_log_line(log: Path) -> str:
    lines = [line.strip() for line in _log_tail(log, 4096).splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _log_tail(log: Path, num_bytes: int) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - num_bytes))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
