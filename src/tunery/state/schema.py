"""The tables of state.db.

To add a column or a table, write it here: an existing file gets what is missing the next time it is
opened (a new column needs a default or must allow NULL). Any change other than an addition goes
into ``MIGRATIONS`` and increments ``VERSION``.
"""

from __future__ import annotations

VERSION = 1
"""Stored as SQLite's user_version; a file with a higher version is rejected."""

MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""Statements that migrate from version N to N + 1, by N, if adding columns is not enough."""

TABLES: tuple[str, ...] = (
    """CREATE TABLE IF NOT EXISTS prefs (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL -- JSON
    )""",
    """CREATE TABLE IF NOT EXISTS drafts (
        name TEXT PRIMARY KEY,
        config TEXT NOT NULL, -- YAML or JSON of the settings that were given
        extra TEXT NOT NULL DEFAULT '{}', -- JSON
        updated REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS chats (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL DEFAULT '',
        settings TEXT NOT NULL DEFAULT '{}', -- JSON
        created REAL NOT NULL,
        updated REAL NOT NULL,
        deleted REAL -- can be put back for a while
    )""",
    """CREATE TABLE IF NOT EXISTS messages (
        id TEXT PRIMARY KEY,
        chat TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        column_name TEXT NOT NULL DEFAULT '',
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        facts TEXT NOT NULL DEFAULT '{}', -- JSON
        created REAL NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS messages_by_chat ON messages (chat, position)",
    """CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        hash TEXT NOT NULL, -- SHA-256 of the whole key; the key itself is never stored
        scopes TEXT NOT NULL, -- words, separated by spaces
        created REAL NOT NULL,
        last_used REAL,
        revoked REAL,
        limits TEXT NOT NULL DEFAULT '{}' -- JSON: models, expires, requests, tokens, parallel
    )""",
    """CREATE TABLE IF NOT EXISTS idempotency (
        key TEXT NOT NULL,
        route TEXT NOT NULL,
        answer TEXT NOT NULL, -- JSON
        created REAL NOT NULL,
        PRIMARY KEY (key, route)
    )""",
    """CREATE TABLE IF NOT EXISTS marks (
        what TEXT PRIMARY KEY,
        created REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS run_marks (
        run TEXT PRIMARY KEY,
        pinned INTEGER NOT NULL DEFAULT 0,
        baseline INTEGER NOT NULL DEFAULT 0,
        tags TEXT NOT NULL DEFAULT '[]', -- JSON list of words
        title TEXT NOT NULL DEFAULT '',
        note TEXT NOT NULL DEFAULT ''
    )""",
    """CREATE TABLE IF NOT EXISTS evaluations (
        id TEXT PRIMARY KEY,
        job TEXT NOT NULL,
        facts TEXT NOT NULL DEFAULT '{}', -- JSON
        created REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS queue (
        run TEXT PRIMARY KEY,
        position REAL NOT NULL
    )""",
)
