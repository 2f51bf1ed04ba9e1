"""What limits a process has, read from outside."""

from __future__ import annotations

from pathlib import Path

from tunery import memory


def data_limit(pid: int) -> int | None:
    """RLIMIT_DATA of a process, in bytes; None if it has none."""
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
        if line.startswith("Max data size"):
            soft = line.split()[3]
            return None if soft == "unlimited" else int(soft)
    raise AssertionError("no such limit")


def has_gpu() -> bool:
    """Whether this machine has a GPU, where no process is limited."""
    return any(Path(device).exists() for device in memory.GPU_DEVICES)
