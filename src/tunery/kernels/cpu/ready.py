"""Kernels of a decoding step for x86 processors with AVX-512, compiled once.

Elsewhere torch computes the same (fast/plain.py): other processors, Windows and macOS, a torch
without GNU's OpenMP library.
"""

from __future__ import annotations

import functools
import logging
import platform
import subprocess
import sys
import threading

log = logging.getLogger(__name__)


@functools.cache
def ready() -> bool:
    """Have the kernels, once in a process; False where they cannot be had.

    The first time on a machine they are compiled, in 2 to 3 seconds.
    """
    try:
        if not _suits():
            return False
        from tunery.kernels.cpu import compiled

        compiled.work()
    except (ImportError, OSError, AttributeError) as error:
        log.warning("The kernels for this processor cannot be had, torch computes: %s", error)
        return False
    return True


def begin() -> None:
    """Let a process beside this one compile the kernels where that was not done yet.

    ``ready`` waits for it, so a start costs what takes longer, imports or compiling.
    """
    try:
        if _suits():
            from tunery.kernels.cpu import compiled

            if not compiled.kept():
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", __name__],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                )  # fmt: skip
                threading.Thread(target=process.wait, daemon=True).start()
    except (ImportError, OSError, AttributeError) as error:
        log.info("The kernels are not compiled beforehand: %s", error)


def _suits() -> bool:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    from tunery.kernels.cpu import processor

    return processor.has("avx512f", "avx512bw")


if __name__ == "__main__":
    ready()
