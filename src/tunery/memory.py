"""How much memory this process may use: the machine's memory, reduced by any limits.

In a container, /proc shows the host's memory, while the container's own limit is in the cgroup; a
shell's ``ulimit -v`` is visible only in the process. The smallest limit counts.
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
    """Maximum memory that this process could use."""
    limits = [psutil.virtual_memory().total, _address_space(), _cgroup_limit()]
    return min(limit for limit in limits if limit is not None)


def available_bytes() -> int:
    """Memory that this process can still allocate."""
    left = [psutil.virtual_memory().available]
    address_space, cgroup = _address_space(), _cgroup_limit()
    if address_space is not None:
        left.append(address_space - psutil.Process().memory_info().vms)
    if cgroup is not None:
        left.append(cgroup - _cgroup_used())
    return max(0, min(left))


def limit(data_bytes: int) -> None:
    """Limit the data memory of this process, and of each process it starts.

    Allocations beyond it fail with an error that can be reported, whereas the kernel would kill
    whichever process is the largest. Code and files mapped for reading do not count, so weights
    that are read in place do not.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    known = [most for most in (soft, hard, data_bytes) if most != resource.RLIM_INFINITY]
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and ignores it
        resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))


def limit_to_available() -> None:
    """Limit this short-lived process to most of the memory that is free now."""
    limit(_data_bytes() + int(available_bytes() * SHORT_LIVED_SHARE))


def limit_to_machine() -> None:
    """Limit this long-lived process to the memory of the machine.

    Has no effect if there is a GPU, whose driver reserves addresses beyond any memory.
    """
    if not any(Path(device).exists() for device in GPU_DEVICES):
        limit(total_bytes())


def release_unused() -> None:
    """Return unused memory of this process to the system, for a process that will live long.

    The remaining objects are excluded from later garbage collections, which would stop all threads.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # only GNU's library has it
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch, oneDNN, safetensors or the system means out of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return any(
        words in text
        for words in (
            "allocate memory",  # torch on a CPU, and strerror of ENOMEM
            "out of memory",
            "bad_alloc",
            "could not create a primitive",  # oneDNN, if its scratch memory does not fit
            "could not create a memory object",
        )
    )


def _data_bytes() -> int:
    """Memory of this process that already counts against RLIMIT_DATA."""
    return int(getattr(psutil.Process().memory_info(), "data", 0))


def _address_space() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _cgroup_limit() -> int | None:
    """The memory limit of this container: cgroup v2, otherwise v1; None if there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(CGROUP / name)
        if limit is not None and limit < 1 << 60:  # version 1 uses a huge number for "none"
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
