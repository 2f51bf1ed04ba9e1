"""torch's own threads, by its OpenMP library: no second pool that would fight over the cores."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import torch  # noqa: F401  (brings the library that is looked for)


def _library() -> Any:
    """The OpenMP library in this process, wherever it came from.

    Raises:
        OSError: There is none by GNU.
    """
    mapped = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    paths = {fields[5] for fields in mapped if len(fields) == 6 and "libgomp" in fields[5]}
    return ctypes.CDLL(min(paths, default="libgomp.so.1"))


_gomp = _library()
_parallel = _gomp.GOMP_parallel
_parallel.restype = None
_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]


def together(function: int, argument: int, threads: int) -> None:
    """Call a compiled function with an address on so many threads, and wait for all.

    Args:
        function: Its address.
        argument: What each call gets.
        threads: How many at most, the caller is one of them; limits of OpenMP may give fewer.
    """
    _parallel(function, argument, threads, 0)


def tell_linker() -> None:
    """Say where the functions are that the kernels call."""
    for name in ("GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads"):
        llvm.add_symbol(name, ctypes.cast(getattr(_gomp, name), ctypes.c_void_p).value)
