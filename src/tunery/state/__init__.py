"""What the page remembers beside the folders: one SQLite file, ``TUNERY_HOME/state.db``.

Preferences, drafts, chats, keys and marks live here. Runs, models and datasets are never stored
here, only what people say about them; their truth is in their folders.
"""

from tunery.state.aside import Aside, set_aside
from tunery.state.database import Database, database
from tunery.state.marks import mark, marked, unmark

__all__ = ["Aside", "Database", "database", "mark", "marked", "set_aside", "unmark"]
