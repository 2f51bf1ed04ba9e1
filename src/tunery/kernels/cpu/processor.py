"""Name and features of the processor, according to LLVM."""

from __future__ import annotations

import functools

import llvmlite.binding as llvm


@functools.cache
def has(*features: str) -> bool:
    """Whether this processor has all of these features, by their LLVM names."""
    known = llvm.get_host_cpu_features()
    return all(known.get(feature, False) for feature in features)


def name() -> str:
    """The processor and its features, in one line."""
    return f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
