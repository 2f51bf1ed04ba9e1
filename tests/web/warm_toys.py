"""Questions for the tests of the warm pool: quick, slow, wrong, broken and fatal ones."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from tunery.errors import DataError
from tunery.i18n import language

HEAVY = ()
QUESTIONS = {
    name: f"tests.web.warm_toys:{name}"
    for name in (
        *("echo", "speak", "wait_for", "wrong", "broken", "fatal", "process", "noisy"),
        *("hoard", "most_data"),
    )
}


def echo(value: Any) -> Any:
    """Give back what was given."""
    return value


def speak() -> str:
    """The language in force."""
    return language()


def wait_for(file: str, began: str = "") -> str:
    """Say that it began, then wait until a file is there."""
    if began:
        Path(began).touch()
    while not Path(file).exists():
        time.sleep(0.01)
    return file


def wrong() -> None:
    """Raise an error for people."""
    raise DataError("row 3: wrong.", fix="Mend it.", code="E301", row=3)


def broken() -> None:
    """Have a bug."""
    raise ZeroDivisionError


def fatal() -> None:
    """Die as from lack of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def hoard() -> int:
    """Want more memory than any machine has."""
    return len(bytearray(1 << 60))


def most_data() -> bool:
    """Whether this process may only have so much data."""
    return resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY


def process() -> list[int]:
    """This process and its parent."""
    return [os.getpid(), os.getppid()]


def noisy(size: int) -> str:
    """Print to stdout, then answer with a lot of text."""
    print("{not an answer")
    return "é" * size
