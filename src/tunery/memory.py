"""How much memory this process may use: the machine's, less what its limits take away.

A container on a rented machine sees the host's memory in /proc while its own limit stands in the
cgroup; a shell's ``ulimit -v`` shows nowhere but in the process. The smallest of them counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

import psutil

SHORT_LIVED_SHARE = 0.7
CGROUP = Path("/sys/fs/cgroup")
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def total_bytes() -> int:
    """Memory that this process could ever use."""
    limits = [psutil.virtual_memory().total, _address_space(), _cgroup_limit()]
    return min(limit for limit in limits if limit is not None)


def available_bytes() -> int:
    """Memory that this process can still take."""
    left = [psutil.virtual_memory().available]
    address_space, cgroup = _address_space(), _cgroup_limit()
    if address_space is not None:
        left.append(address_space - psutil.Process().memory_info().vms)
    if cgroup is not None:
        left.append(cgroup - _cgroup_used())
    return max(0, min(left))


def limit(data_bytes: int) -> None:
    """Let this process, and each that it starts, have no more data than this.

    What goes beyond fails with an error that can be told, where the kernel would kill whichever
    process is the largest. Code and files that are mapped for reading do not count, so weights
    that are read in place do not.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    known = [most for most in (soft, hard, data_bytes) if most != resource.RLIM_INFINITY]
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and ignores it
        resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))


def limit_to_available() -> None:
    """Let this short-lived process take most of what is free now, and no more."""
    limit(_data_bytes() + int(available_bytes() * SHORT_LIVED_SHARE))


def limit_to_machine() -> None:
    """Let this long-lived process take what the machine has, and no more.

    Not where there is a GPU, whose driver reserves addresses beyond any memory.
    """
    if not any(Path(device).exists() for device in GPU_DEVICES):
        limit(total_bytes())


def give_back() -> None:
    """Give the system what is free in this process but still held, for one that will live long.

    What is left is kept out of the garbage collector's later rounds, which would stop every thread.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # only GNU's library has it
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch, oneDNN, safetensors or the system means "no memory"."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return any(
        words in text
        for words in (
            "allocate memory",  # torch on a CPU, and strerror of ENOMEM
            "out of memory",
            "bad_alloc",
            "could not create a primitive",  # oneDNN: what it says when its scratch does not fit
            "could not create a memory object",
        )
    )


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA in this process already."""
    return int(getattr(psutil.Process().memory_info(), "data", 0))


def _address_space() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _cgroup_limit() -> int | None:
    """The memory limit of this container: cgroup v2, else v1; None if there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(CGROUP / name)
        if limit is not None and limit < 1 << 60:  # version 1 writes a huge number for "none"
            return limit
    return None


def _cgroup_used() -> int:
    """Memory used by the container, minus the file cache that the kernel can reclaim."""
    for usage, statistics in (
        ("memory.current", "memory.stat"),
        ("memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        used = _number(CGROUP / usage)
        if used is not None:
            return max(0, used - _inactive_file(CGROUP / statistics))
    return 0


def _inactive_file(path: Path) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    found = dict(line.split()[:2] for line in lines if len(line.split()) == 2)
    return int(found.get("total_inactive_file", found.get("inactive_file", 0)))


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
