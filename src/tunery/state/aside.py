"""Finds a damaged state file that was set aside, until the user moves or deletes it.

It contained keys, drafts, chats and marks, and the new file starts without them: every page and the
REST API report this until the file is moved or deleted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tunery import env
from tunery.i18n import t

_NAME = re.compile(r"state\.db\.damaged-\d{8}-\d{6}-\d+")


@dataclass(frozen=True, slots=True)
class Aside:
    """A damaged state file that was set aside and kept.

    Args:
        path: Its path; the newest if there are several.
    """

    path: Path

    def message(self) -> str:
        """Describe what happened, in the current language."""
        return t(
            "state.db was damaged. A new one was created without the API keys, drafts, chats "
            "and marks of the old one."
        )

    def fix(self) -> str:
        """Describe what to do about it."""
        return t(
            "The old file is kept: {path}. To try to recover it, stop Tunery and run: "
            "sqlite3 {name} .recover. Move or delete it to hide this notice.",
            path=self.path,
            name=self.path.name,
        )


def set_aside() -> Aside | None:
    """The newest state file that was set aside; None if there is none."""
    try:
        names = [path for path in env.home().iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return None
    return Aside(max(names, key=lambda path: path.name)) if names else None
