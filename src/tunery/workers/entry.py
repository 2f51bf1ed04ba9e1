"""The table of entry points: which module each kind of process runs.

Higher layers fill ``ENTRY`` (``tunery.services`` does), so that the code that starts a process need
not know what it does: no module here or below names a module of a higher layer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

ENTRY: dict[str, str] = {}
"""``run``, ``job``, ``engine``, ``track`` (feeds a tracker), ``ended`` (notified when a run has
ended): modules with a ``main``.
``questions``: the table of the warm process, ``module:attribute``."""


def command(name: str, *arguments: str) -> list[str]:
    """The argument list of a process.

    ``-P`` keeps the working directory out of the import path: a file there must not be imported
    in place of a module.

    Args:
        name: A name in ``ENTRY``.
        arguments: Arguments of the process.

    Raises:
        KeyError: The name has not been filled in; import ``tunery.services`` first.
    """
    return [sys.executable, "-P", "-m", ENTRY[name], *arguments]


def run_command(folder: str, *, allow_drift: Sequence[str] = ()) -> list[str]:
    """The argument list of a run's worker, with the changed settings that the user accepts."""
    allowed = [word for field in allow_drift for word in ("--allow-drift", field)]
    return command("run", folder, *allowed)
