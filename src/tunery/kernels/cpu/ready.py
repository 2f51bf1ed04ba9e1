"""Kernels of a decoding step for x86 processors with AVX-512, compiled when an engine starts.

Elsewhere torch computes the same (lean_torch.py): other processors, Windows and macOS, a torch
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
    """Compile the kernels, once in a process, in 2 to 3 seconds; False where they cannot be had."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        from tunery.kernels.cpu import instructions

        if not instructions.has("avx512f", "avx512bw"):
            return False
        from tunery.kernels.cpu import kernels  # noqa: F401 - compiled by its import
    except (ImportError, OSError, AttributeError) as error:
        log.warning("The kernels for this processor cannot be had, torch computes: %s", error)
        return False
    return True
