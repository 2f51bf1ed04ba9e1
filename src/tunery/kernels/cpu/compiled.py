"""The kernels as machine code: stored on disk once compiled, so that a start takes milliseconds.

What is stored is an object file that LLVM built for exactly this processor from exactly these
sources, not numba's own cache, which is pickled. An incomplete file is compiled again.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import tempfile
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding as llvm

from tunery import env
from tunery.kernels.cpu import layout, processor

log = logging.getLogger(__name__)

SOURCES = ("kernels.py", "instructions.py", "layout.py")
LIBRARIES = ("numba", "llvmlite", "numpy")
DIGEST_BYTES = 32


@functools.cache
def work() -> int:
    """Address of the compiled function; see ``kernels._work``."""
    from tunery.kernels.cpu.threads import tell_linker

    tell_linker()  # numba's compiler needs the symbols too
    code = _kept(_file())
    if code is None:
        with _alone():
            code = _kept(_file())  # another process may have compiled it meanwhile
            if code is None:
                from tunery.kernels.cpu import kernels

                code = kernels.machine_code()
                _keep(_file(), code)
    return _loaded(code)


def kept() -> bool:
    """Whether the kernels are on disk and complete."""
    return _kept(_file()) is not None


@contextlib.contextmanager
def _alone() -> Generator[None]:
    """Let one process compile at a time; if the lock is not available, each one compiles."""
    lock = None
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(_file().with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _file() -> Path:
    key = hashlib.sha256(processor.name().encode())
    for library in LIBRARIES:
        key.update(f"{library} {version(library)}\n".encode())
    for source in SOURCES:
        key.update(Path(layout.__file__).with_name(source).read_bytes())
    return env.cache_dir() / "kernels" / f"{key.hexdigest()[:32]}.o"


def _kept(file: Path) -> bytes | None:
    try:
        data = file.read_bytes()
    except OSError:
        return None
    digest, code = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(file: Path, code: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, staging = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "wb") as out:
            out.write(hashlib.sha256(code).digest() + code)
        Path(staging).replace(file)
    except OSError as error:  # a full disk: compiled again next time
        log.warning("The compiled kernels cannot be kept: %s", error)


_linkers: list[llvm.ExecutionEngine] = []
"""Keeps the loaded code alive."""


def _loaded(code: bytes) -> int:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    linker = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    linker.add_object_file(llvm.ObjectFileRef.from_data(code))
    linker.finalize_object()
    _linkers.append(linker)
    return linker.get_function_address(layout.ENTRY)
