"""Whether a damaged state file was set aside, for as long as a person leaves it beside the new one.

Keys, drafts, chats and marks were in it, and the new file begins without them: every page and the
REST API say so until the file is moved or deleted.
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
    """A damaged state file that was kept.

    Args:
        path: Where it is; the newest, where there are several.
    """

    path: Path

    def message(self) -> str:
        """What happened, in the current language."""
        return t(
            "state.db was damaged. A new one was created without the API keys, drafts, chats "
            "and marks of the old one."
        )

    def fix(self) -> str:
        """What to do about it."""
        return t(
            "The old file is kept: {path}. To try to recover it, stop Tunery and run: "
            "sqlite3 {name} .recover. Move or delete it to hide this notice.",
            path=self.path,
            name=self.path.name,
        )


def set_aside() -> Aside | None:
    """The newest state file that was set aside; None where there is none."""
    try:
        names = [path for path in env.home().iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return None
    return Aside(max(names, key=lambda path: path.name)) if names else None
