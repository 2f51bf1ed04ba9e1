"""Format commands for users to copy, quoted for a shell where a name needs it.

Messages that contain a command fill in its arguments with ``quoted``; a command on its own line is
made by ``command``. A contract test finds those that do not.
"""

from __future__ import annotations

import shlex


def quoted(value: object) -> str:
    """Quote a name, a path or a value so that a shell reads it as one word."""
    return shlex.quote(str(value))


def command(*words: object) -> str:
    """Build a ``tunery`` command line from its words, quoted for a shell."""
    return shlex.join(["tunery", *map(str, words)])
