"""Commands as they are printed for people to copy: a name with a blank in it is quoted for a shell.

Every sentence that holds a command fills its places with ``quoted``; a command on a line of its own
is made by ``command``. A contract test finds those that do not.
"""

from __future__ import annotations

import shlex


def quoted(value: object) -> str:
    """A name, a path or a value, as a shell takes it for one word."""
    return shlex.quote(str(value))


def command(*words: object) -> str:
    """A command of ours, one word each, as a shell takes it."""
    return shlex.join(["tunery", *map(str, words)])
