"""The last call of a process that has loaded torch."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import NoReturn


def end_at_once(status: int) -> NoReturn:
    """End the process without taking the interpreter apart.

    Freeing torch, a model and their threads one by one takes about a second, in which the folder
    and the terminal wait; the system frees the memory at once. What registered itself for the end
    (coverage, temporary folders) still runs, and what was printed is written.

    Args:
        status: The exit status of the process.
    """
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  (it has no public name)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a full disk: only the log is shorter
            stream.flush()
    os._exit(status)
