"""Kernels of a decoding step for x86 processors with AVX-512, compiled once.

Elsewhere torch computes the same (fast/plain.py): other processors, Windows and macOS, a torch
without GNU's OpenMP library.
"""

from __future__ import annotations

import functools
import logging
import platform
import sys

log = logging.getLogger(__name__)


@functools.cache
def ready() -> bool:
    """Have the kernels, once in a process; False where they cannot be had.

    The first time on a machine they are compiled, in 2 to 3 seconds.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        from tunery.kernels.cpu import processor

        if not processor.has("avx512f", "avx512bw"):
            return False
        from tunery.kernels.cpu import compiled

        compiled.work()
    except (ImportError, OSError, AttributeError) as error:
        log.warning("The kernels for this processor cannot be had, torch computes: %s", error)
        return False
    return True
