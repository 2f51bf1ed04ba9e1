"""Hide what Rust prints about a panic in a command, which reports the error in its own words.

The tokenizers library prints the panic, and a backtrace if ``RUST_BACKTRACE`` is set, directly to
file descriptor 2; Python cannot replace its panic hook. In a command, stderr is therefore
redirected to a temporary file around the calls that may panic. Other output is passed on after the
call. Workers are not affected: their logs keep the report.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Generator
from contextvars import ContextVar

from tunery.errors import panic_reason

_REPORT = re.compile(rb"\n?^thread '.*panicked at ", re.MULTILINE)
_hiding: ContextVar[bool] = ContextVar("hiding_panics", default=False)


@contextlib.contextmanager
def hidden() -> Generator[None]:
    """Hide the reports of panics inside ``native_call``, in the code of this block."""
    before = _hiding.set(True)
    try:
        yield
    finally:
        _hiding.reset(before)


@contextlib.contextmanager
def native_call() -> Generator[None]:
    """Mark a call into a native library that may panic.

    Redirects stderr only inside ``hidden`` and only in the main thread, because the file descriptor
    is shared by all threads. If the process is aborted in the call, its last output is lost.
    """
    if not _hiding.get() or threading.current_thread() is not threading.main_thread():
        yield
        return
    sys.stderr.flush()
    before = _hiding.set(False)  # a call inside this one must not redirect again
    panicked = False
    with tempfile.TemporaryFile(buffering=0) as caught:
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        except BaseException as error:
            panicked = panic_reason(error) is not None
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            _hiding.reset(before)
            caught.seek(0)
            _pass_on(caught.read(), panicked=panicked)


def _pass_on(output: bytes, *, panicked: bool) -> None:
    report = _REPORT.search(output) if panicked else None
    output = output[: report.start()] if report else output
    while output:
        output = output[os.write(2, output) :]
