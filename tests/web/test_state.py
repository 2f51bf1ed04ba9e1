"""state.db: kept across processes, migrated, refused when newer, set aside when damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from tunery.cli.main import main
from tunery.state import Database, database, mark, marked, prefs, schema, unmark
from tunery.state.database import StateError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_preferences_and_marks_are_kept(home):
    prefs.set("theme", {"dark": True, "名": [1, None]})
    assert prefs.get("theme") == {"dark": True, "名": [1, None]}
    assert prefs.get("none", 5) == 5
    prefs.set("theme", None)
    assert prefs.all() == {}
    mark("chatted")
    mark("chatted")
    assert marked() == {"chatted"}
    unmark("chatted")
    assert marked() == frozenset()


def test_each_home_has_its_own_file_in_write_ahead_mode_for_this_user_alone(home):
    assert database().path == home / "state.db"
    assert database().read("PRAGMA journal_mode")[0][0] == "wal"
    assert database().read("PRAGMA user_version")[0][0] == schema.VERSION
    assert stat.S_IMODE((home / "state.db").stat().st_mode) == 0o600


def test_a_write_is_whole_or_undone(file):
    db = Database(file)
    with pytest.raises(KeyError), db.write() as connection:
        connection.execute("INSERT INTO prefs VALUES ('a', '1')")
        raise KeyError
    assert db.read("SELECT * FROM prefs") == []
    with db.write() as connection:
        connection.execute("INSERT INTO prefs VALUES ('a', '1')")
    assert [tuple(row) for row in Database(file).read("SELECT * FROM prefs")] == [("a", "1")]


def test_many_threads_write_and_nothing_is_lost(file):
    db = Database(file)

    def work(who: int) -> None:
        for number in range(20):
            with db.write() as connection:
                connection.execute("INSERT INTO marks VALUES (?, 0)", (f"{who}-{number}",))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.read("SELECT count(*) FROM marks")[0][0] == 160


def test_an_older_file_gets_the_tables_and_columns_it_lacks_and_keeps_its_rows(file):
    with sqlite3.connect(file) as old:
        old.execute("CREATE TABLE run_marks (run TEXT PRIMARY KEY, pinned INTEGER NOT NULL)")
        old.execute("INSERT INTO run_marks VALUES ('r', 1)")
    old.close()
    (row,) = Database(file).read("SELECT * FROM run_marks")
    assert (row["run"], row["pinned"], row["tags"], row["note"]) == ("r", 1, "[]", "")
    assert Database(file).read("SELECT * FROM keys") == []


def test_a_step_between_versions_is_taken_once_and_whole(file, monkeypatch):
    Database(file).read("SELECT 1")
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    steps = ("INSERT INTO marks VALUES ('step', 0)", "SELECT broken FROM nothing")
    monkeypatch.setattr(schema, "MIGRATIONS", {schema.VERSION - 1: steps})
    with pytest.raises(sqlite3.OperationalError):
        Database(file).read("SELECT 1")
    with sqlite3.connect(file) as raw:
        assert raw.execute("SELECT count(*) FROM marks").fetchone() == (0,)
    raw.close()
    monkeypatch.setattr(schema, "MIGRATIONS", {schema.VERSION - 1: steps[:1]})
    for _ in range(2):
        assert Database(file).read("SELECT count(*) FROM marks")[0][0] == 1


def test_a_newer_file_is_refused_and_not_touched(file):
    with sqlite3.connect(file) as newer:
        newer.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        newer.execute("CREATE TABLE future (x)")
    newer.close()
    with pytest.raises(StateError, match="newer Tunery") as caught:
        Database(file).read("SELECT 1")
    assert caught.value.fix
    with sqlite3.connect(file) as raw:
        names = raw.execute("SELECT name FROM sqlite_master").fetchall()
    raw.close()
    assert names == [("future",)]


@pytest.mark.parametrize("damage", ["garbage", "cut", "zeros"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begins(file, damage):
    db = Database(file)
    with db.write() as connection:
        connection.executemany(
            "INSERT INTO marks VALUES (?, 0)", [(f"{n:0500}",) for n in range(200)]
        )
    db.read("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    whole = file.read_bytes()
    file.write_bytes(
        {
            "garbage": b"no database " * 1000,
            "cut": whole[: len(whole) // 2],
            "zeros": whole[:100] + bytes(len(whole) - 100),
        }[damage]
    )
    db = Database(file)
    with contextlib.suppress(StateError):  # says that it was damaged, or begins anew by itself
        db.read("SELECT count(*), max(what) FROM marks")
    assert db.read("SELECT count(*) FROM marks")[0][0] == 0
    assert len(list(file.parent.glob("state.db.damaged-*"))) >= 1


def test_a_connection_notices_that_the_file_was_replaced(file):
    db = Database(file)
    with db.write() as connection:
        connection.execute("INSERT INTO marks VALUES ('a', 0)")
    file.rename(file.with_name("elsewhere"))
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    assert db.read("SELECT * FROM marks") == []


def test_a_file_that_another_process_holds_is_busy_in_a_sentence(file):
    db = Database(file, busy_seconds=0.05)
    db.read("SELECT 1")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="another process"), db.write():
        pass
    other.execute("ROLLBACK")
    other.close()
    with db.write() as connection:
        connection.execute("INSERT INTO marks VALUES ('a', 0)")


def test_a_full_disk_is_a_sentence(file):
    db = Database(file)
    with pytest.raises(StateError, match="no space") as caught, db.write() as connection:
        connection.execute("PRAGMA max_page_count = 30")
        for number in range(100):
            connection.execute("INSERT INTO marks VALUES (?, 0)", (f"{number}" * 4000,))
    assert caught.value.code == "disk_full"
    assert db.read("SELECT * FROM marks") == []


def test_a_file_that_was_set_aside_is_said_everywhere_until_it_is_moved(home, client, capsys):
    (home / "state.db").write_bytes(b"no database " * 1000)
    database().close()
    database().read("SELECT 1")  # set aside here
    (kept,) = [path for path in home.glob("state.db.damaged-*") if path.suffix != ".lock"]
    assert kept.read_bytes() == b"no database " * 1000
    for page in ("/", "/runs", "/settings"):
        text = client.get(page).text
        assert "state.db was damaged." in text
        assert str(kept) in text
    (notice,) = client.get("/api/v1/machine").json()["notices"]
    assert notice["code"] == "state_set_aside"
    assert str(kept) in notice["fix"]
    assert main(["keys", "list"]) == 0
    assert "state.db was damaged." in "".join(capsys.readouterr())
    kept.unlink()
    assert "state.db was damaged." not in client.get("/").text
    assert client.get("/api/v1/machine").json()["notices"] == []
