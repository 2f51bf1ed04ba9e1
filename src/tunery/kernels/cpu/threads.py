"""Runs kernels on torch's own OpenMP threads, so that no second pool competes for the cores."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import torch  # noqa: F401  (brings the library that is looked for)


def _library() -> Any:
    """The OpenMP library loaded in this process, whatever its path.

    Raises:
        OSError: GNU's OpenMP library was not found.
    """
    mapped = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    paths = {fields[5] for fields in mapped if len(fields) == 6 and "libgomp" in fields[5]}
    return ctypes.CDLL(min(paths, default="libgomp.so.1"))


_gomp = _library()
_parallel = _gomp.GOMP_parallel
_parallel.restype = None
_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]


def together(function: int, argument: int, threads: int) -> None:
    """Call a compiled function with an address on several threads, and wait for all of them.

    Args:
        function: Address of the function.
        argument: Argument of each call.
        threads: Maximum number of threads, including the caller; OpenMP's limits may reduce it.
    """
    _parallel(function, argument, threads, 0)


def tell_linker() -> None:
    """Register the addresses of the functions that the kernels call."""
    for name in ("GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads"):
        llvm.add_symbol(name, ctypes.cast(getattr(_gomp, name), ctypes.c_void_p).value)
