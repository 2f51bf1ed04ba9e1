"""Makes the CPU kernels available: x86 processors with AVX-512, compiled once per machine.

Without them torch computes the same (fast/plain.py): on other processors, Windows and macOS, and
with a torch build without GNU's OpenMP library.
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
    """Load the kernels, once per process; return False if they are not available.

    On first use on a machine they are compiled, which takes 2 to 3 seconds.
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
    """Compile the kernels in a separate process, unless that has already been done.

    ``ready`` waits for it, so a start takes as long as the slower of imports and compilation.
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
