"""The live channel: an exact cursor, whatever happens to the connection."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.listening import Server, listening

from tunery.errors import TuneryError
from tunery.server import live, topics
from tunery.server.changes import GONE, Changes
from tunery.server.settings import ServerSettings


class Log:
    """A topic like a run's log: its cursor is a number of lines."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.readings = 0
        self.most = 7

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Give a few lines."""
        self.readings += 1
        if argument == "gone":
            raise TuneryError("It is gone.", code="unknown")
        if argument == "bug":
            raise ZeroDivisionError("secret /path")
        start = int(cursor or 0)
        new = self.lines[start : start + self.most]
        return [{"kind": "line", "seq": n} for n in new], str(start + len(new))


@pytest.fixture
def log(monkeypatch) -> Log:
    made = Log()
    monkeypatch.setitem(topics.TOPICS, "log", made)
    monkeypatch.setattr(live, "BATCH_SECONDS", 0.01)
    return made


@pytest.fixture
def server(home) -> Iterator[Server]:
    with listening(ServerSettings()) as server:
        yield server


class Stream:
    """One connection to the channel, read event by event."""

    def __init__(self, server: Server, query: str, *headers: str) -> None:
        self.sock = server.connect()
        first = f"GET /api/v1/events?{query} HTTP/1.1"
        self.sock.sendall(server.head(first, server.auth, *headers))
        self.file = self.sock.makefile("rb")
        self.head = list(iter(lambda: self.file.readline().strip(), b""))
        self.id = ""

    def events(self) -> Iterator[list[dict[str, Any]]]:
        """Each event's messages; ``id`` is the cursor behind them."""
        for line in self.file:
            if line.startswith(b"id: "):
                self.id = line[4:].decode().strip()
            elif line.startswith(b"data: "):
                yield json.loads(line[6:])

    def close(self) -> None:
        """Cut the connection."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.file.close()
        self.sock.close()


def test_the_stream_is_one_that_proxies_let_through(server, log):
    stream = Stream(server, "topics=log")
    head = b"\n".join(stream.head).lower()
    assert stream.head[0].startswith(b"HTTP/1.1 200")
    assert b"content-type: text/event-stream" in head
    assert b"cache-control: no-cache" in head
    assert b"x-accel-buffering: no" in head
    assert b"content-encoding: gzip" not in head
    stream.close()


def test_after_any_cut_nothing_is_missing_and_nothing_comes_twice(server, log):
    """A hundred lines over connections that end after each event, by id and by ``after``."""
    seen: list[int] = []
    cursor = ""
    log.lines = list(range(30))
    for turn in range(60):
        after = cursor.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
        stream = (
            Stream(server, "topics=log,runs", f"Last-Event-ID: {cursor}")
            if turn % 2 and cursor
            else Stream(server, f"topics=log,runs&after={after}")
        )
        messages = next(stream.events())
        seen += [m["seq"] for m in messages if m["topic"] == "log"]
        cursor = stream.id
        stream.close()
        log.lines += range(len(log.lines), min(100, len(log.lines) + 5))
        if len(seen) == 100:
            break
    assert seen == list(range(100))


def test_a_live_stream_brings_what_comes_later(server, log):
    stream = Stream(server, "topics=log")
    log.lines = [0, 1]
    events = stream.events()
    seen = [m["seq"] for m in next(events)]
    log.lines += range(2, 20)
    while len(seen) < 20:
        seen += [m["seq"] for m in next(events)]
    assert seen == list(range(20))
    assert json.loads(stream.id or "{}") in ({"log": "20"}, {"log": "14"})
    stream.close()


def test_silence_is_filled_with_a_beat(server, log, monkeypatch):
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.05)
    stream = Stream(server, "topics=log")
    assert any(line.startswith(b": beat") for line in stream.file)
    stream.close()


def test_polling_gives_the_same(client, log):
    log.lines = list(range(20))
    seen, cursor = [], ""
    for _ in range(4):
        answer = client.get("/api/v1/events/poll", params={"topics": "log", "after": cursor}).json()
        seen += [message["seq"] for message in answer["messages"]]
        cursor = answer["cursor"]
    assert seen == list(range(20))


def test_a_topic_that_is_gone_or_broken_says_so_once_and_the_others_go_on(server, log, caplog):
    log.lines = [1]
    stream = Stream(server, "topics=log:gone,log:bug,log")
    messages = next(stream.events())
    kinds = {m["topic"]: (m["kind"], m.get("detail")) for m in messages}
    assert kinds["log:gone"] == ("error", "It is gone.")
    assert kinds["log:bug"][0] == "error"
    assert "secret" not in json.dumps(messages)
    assert kinds["log"][0] == "line"
    log.lines.append(2)
    assert [m["topic"] for m in next(stream.events())] == ["log"]
    assert "ZeroDivisionError" in caplog.text  # the log has what the page has not
    stream.close()


def test_wrong_topics_and_cursors_are_refused(client, log):
    get = client.get
    for query in ({}, {"topics": "nothing"}, {"topics": ",".join(f"log:{n}" for n in range(40))},
                  {"topics": "log", "after": "x" * 9000}):  # fmt: skip
        assert get("/api/v1/events/poll", params=query).status_code in (404, 422)
    log.lines = [1]
    for after in ("garbage", "[]", "{", "null", "[" * 5000):
        answer = get("/api/v1/events/poll", params={"topics": "log", "after": after})
        assert answer.status_code == 422
        assert "after must be a cursor" in answer.json()["detail"]
    for after in ("", "{}", '{"other": "5"}'):
        answer = get("/api/v1/events/poll", params={"topics": "log", "after": after})
        assert [m["seq"] for m in answer.json()["messages"]] == [1]


def test_fifty_pages_that_have_caught_up_cost_one_reading(home, log, monkeypatch):
    monkeypatch.setattr(live, "BATCH_SECONDS", 0.2)
    with listening(ServerSettings()) as server:
        log.lines = [0]
        streams = [Stream(server, "topics=log") for _ in range(50)]
        iterators = [stream.events() for stream in streams]
        for events in iterators:
            next(events)
        before, began = log.readings, time.monotonic()
        log.lines.append(1)
        for events in iterators:
            assert [m["seq"] for m in next(events)] == [1]
        # One for those at the old place and one for those at the new place, in each batch's time.
        batches = (time.monotonic() - began) / live.BATCH_SECONDS + 1
        assert log.readings - before <= 2 * batches + 2
        for stream in streams:
            stream.close()


def test_a_page_that_does_not_read_is_not_written_for(home, log, monkeypatch):
    log.most = 10**6
    with listening(ServerSettings()) as server:
        stream = Stream(server, "topics=log")
        log.lines = [0]
        next(stream.events())
        before = log.readings
        log.lines = list(range(400_000))  # about 20 MB of messages, none of which is taken
        while log.readings == before:
            pass
        reads = log.readings
        log.lines += [0] * 10
        assert log.readings - reads < 50
        stream.close()


def test_streams_end_when_the_server_does(home, log):
    with listening(ServerSettings()) as server:
        stream = Stream(server, "topics=log")
    assert list(stream.events()) == []  # the connection was closed, not cut in an event
    stream.file.close()
    stream.sock.close()


def test_a_list_gives_all_then_what_changed():
    changes = Changes()
    changes.update({"a": {"n": 1}, "b": {"n": 1}})
    (first,), cursor = changes.read("")
    assert (first["kind"], len(first["items"])) == ("snapshot", 2)
    assert changes.read(cursor) == ([], cursor)
    changes.update({"a": {"n": 2}, "c": {"n": 1}})
    (second,), later = changes.read(cursor)
    assert second == {"kind": "changed", "items": [{"n": 2}, {"n": 1}], "removed": ["b"]}
    assert changes.read(later)[0] == []
    for other in ("x:1", f"{cursor}9999", "nonsense", Changes().read("")[1]):
        assert changes.read(other)[0][0]["kind"] == "snapshot"


def test_who_is_too_far_behind_gets_the_whole_list():
    changes = Changes()
    changes.update({str(n): {"n": n} for n in range(GONE + 20)})
    _, cursor = changes.read("")
    changes.update({})
    assert changes.read(cursor)[0][0]["kind"] == "snapshot"


def test_runs_and_machine_are_topics(client):
    answer = client.get("/api/v1/events/poll", params={"topics": "runs,machine"}).json()
    kinds = {m["topic"]: m["kind"] for m in answer["messages"]}
    assert kinds == {"runs": "snapshot", "machine": "machine"}
