"""Persistent state of the page outside the folders: one SQLite file, ``TUNERY_HOME/state.db``.

It holds preferences, drafts, chats, keys and marks. Runs, models and datasets are never stored
here, only the user's annotations of them; their source of truth is their folders.
"""

from tunery.state.aside import Aside, set_aside
from tunery.state.database import Database, database
from tunery.state.marks import mark, marked, unmark

__all__ = ["Aside", "Database", "database", "mark", "marked", "set_aside", "unmark"]
