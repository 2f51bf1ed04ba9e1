"""The SQLite file of this TUNERY_HOME: opens it, migrates it, and sets a damaged one aside.

One connection per thread, write-ahead logging, every write in its own ``BEGIN IMMEDIATE``. SQLite's
errors are raised as ``TuneryError`` with a fix. A damaged file is renamed to
``state.db.damaged-TIME`` and replaced with an empty one: what mirrors folders is rebuilt
automatically, the rest remains in the renamed file.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from tunery import env
from tunery.errors import TuneryError
from tunery.i18n import t
from tunery.state import schema

BUSY_SECONDS = 10.0
_DAMAGED = ("malformed", "not a database", "disk image", "unsupported file format")


class StateError(TuneryError):
    """The state file currently cannot be read or written."""


class Database:
    """One state file.

    Args:
        path: The file; it and its folder are created on first use.
        busy_seconds: Maximum time a write waits for another process.
    """

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self.busy_seconds = busy_seconds
        self._local = threading.local()

    def read(self, sql: str, params: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run one SELECT and return its rows."""
        with self._explained():
            return self._connection().execute(sql, params).fetchall()

    @contextlib.contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """Hold the write transaction; leaving commits it, an exception rolls it back."""
        with self._explained():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._explain(error) from error
            raise
        with self._explained():
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _connection(self) -> sqlite3.Connection:
        # Another process may have set the file aside: a connection belongs to one inode.
        inode = _inode(self.path)
        if inode is None or getattr(self._local, "inode", None) != inode:
            self.close()
            with _opening(self.path):
                self._local.connection = self._open()
            self._local.inode = _inode(self.path)
        return self._local.connection

    def _open(self) -> sqlite3.Connection:
        try:
            return self._prepared()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            _set_aside(self.path)
            return self._prepared()

    def _prepared(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=self.busy_seconds,
            isolation_level=None,  # transactions are started explicitly
            check_same_thread=False,  # thread-local; may be closed by any thread
        )
        try:
            self.path.chmod(0o600)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = _version(connection)
        if version > schema.VERSION:
            raise StateError(
                t(
                    "{path} was written by a newer Tunery (version {found}; this one "
                    "supports {known}).",
                    path=self.path,
                    found=version,
                    known=schema.VERSION,
                ),
                fix=t("Update Tunery, or set TUNERY_HOME to another folder."),
                code="newer_state",
            )
        if version == schema.VERSION and not _missing(connection):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)  # another process may have been first
            for step in range(version, schema.VERSION) if version else ():
                for statement in schema.MIGRATIONS.get(step, ()):
                    connection.execute(statement)
            for statement in _missing(connection):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {schema.VERSION:d}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> Exception:
        text = str(error)
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            return error  # a bug, or a conflict that the caller reports
        if "locked" in text or "busy" in text:
            return StateError(
                t("{path} is in use by another process.", path=self.path),
                fix=t("Try again in a moment."),
                code="busy",
            )
        if "is full" in text:
            return StateError(
                t("{path}: no space left on the disk.", path=self.path),
                fix=t("Free some space, or set TUNERY_HOME to a folder on another disk."),
                code="disk_full",
            )
        if "readonly" in text or "unable to open" in text:
            return StateError(
                t("{path}: permission denied.", path=self.path),
                fix=t("Check the owner and the permissions (user id {uid}).", uid=os.getuid()),
                code="read_only",
            )
        if _is_damage(error):
            self.close()
            with _opening(self.path):
                _set_aside(self.path)
            return StateError(
                t("{path} is damaged; it was set aside and a new one was created.", path=self.path),
                fix=t("Try again. Runs, models and datasets are not affected."),
                code="damaged",
            )
        return error


def database() -> Database:
    """The state database of this TUNERY_HOME."""
    return _at(env.home() / "state.db")


@functools.cache
def _at(path: Path) -> Database:
    return Database(path)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _missing(connection: sqlite3.Connection) -> list[str]:
    """Statements that add the tables, indexes and columns that the file lacks."""
    wanted = _model()
    found = _columns(connection)
    statements = [text for name, text in _statements().items() if name not in found]
    for table, columns in wanted.items():
        have = found.get(table)
        if have is not None:
            statements += [
                f'ALTER TABLE "{table}" ADD COLUMN {definition}'
                for column, definition in columns.items()
                if column not in have
            ]
    return statements


@functools.cache
def _model() -> dict[str, dict[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        for statement in schema.TABLES:
            model.execute(statement)
        return _columns(model)


@functools.cache
def _statements() -> dict[str, str]:
    named: dict[str, str] = {}
    for statement in schema.TABLES:
        words = statement.replace("(", " ").split()
        named[words[words.index("EXISTS") + 1]] = statement
    return named


def _columns(connection: sqlite3.Connection) -> dict[str, dict[str, str]]:
    """The definition of each column, by table; empty for indexes."""
    found: dict[str, dict[str, str]] = {}
    for kind, name in connection.execute("SELECT type, name FROM sqlite_master").fetchall():
        rows = connection.execute(f'PRAGMA table_info("{name}")') if kind == "table" else ()
        found[name] = {
            column: f'"{column}" {type_}'
            + (" NOT NULL" if not_null else "")
            + (f" DEFAULT {default}" if default is not None else "")
            for _, column, type_, not_null, default, _ in rows
        }
    return found


@contextlib.contextmanager
def _opening(path: Path) -> Generator[None]:
    """Let one process at a time create, migrate or set aside the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _set_aside(path: Path) -> None:
    stamp = f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(path.with_name(f"{path.name}.{stamp}{suffix}"))


def _is_damage(error: sqlite3.Error) -> bool:
    return any(word in str(error) for word in _DAMAGED)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
