"""Messages at the end of a run: what is sent, what stays secret, and a power-off that waits."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from tests.waiting import PATIENCE_SECONDS, until

from tunery.config.config import Config
from tunery.errors import ConfigError, RunError
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.runs.status import RunStatus
from tunery.services import notify
from tunery.workers import local

FAKE = Path(__file__).parents[1] / "fake_worker.py"
STATE = RunStatus("mine", Path("/x"), "finished", step=9, num_steps=9, loss=0.25)


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict]]]:
    """A web server on loopback that keeps what is posted to it."""
    got: list[dict] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Take)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook/SECRET", got
    server.shutdown()
    server.server_close()


def test_nothing_is_on_until_somebody_turns_it_on(home) -> None:
    assert notify.read() == notify.Settings()
    assert not notify.read().any_on


def test_the_settings_are_for_their_owner_and_never_show_the_secret(home) -> None:
    notify.save(notify.Settings(webhook_on=True, webhook="https://chat.example/hook/SECRET"))
    assert notify.settings_file().stat().st_mode & 0o777 == 0o600
    shown = notify.read().public()
    assert "SECRET" not in json.dumps(shown)
    kept = notify.change(webhook=shown["webhook"], countdown_seconds=30)
    assert kept.webhook.endswith("SECRET")
    assert kept.countdown_seconds == 30


@pytest.mark.parametrize("address", ["ftp://x/y", "chat.example/hook", "https://", "file:///etc/x"])
def test_a_webhook_is_a_whole_web_address(home, address) -> None:
    with pytest.raises(ConfigError, match="The webhook needs a full http or https address"):
        notify.change(webhook=address)


def test_what_has_nothing_to_run_cannot_be_turned_on(home) -> None:
    with pytest.raises(ConfigError, match="No power-off command"):
        notify.change(power_off_on=True)
    with pytest.raises(ConfigError, match="No e-mail command"):
        notify.change(email_on=True)


def test_a_damaged_file_is_all_off(home) -> None:
    home.mkdir()
    notify.settings_file().write_text('{"webhook_on": "yes", "email": "rm -rf /", "power_off": [1')
    assert notify.read() == notify.Settings()


def test_a_webhook_that_fails_is_tried_again_and_its_address_is_not_told(home) -> None:
    seen: list[httpx.Request] = []
    pauses: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            raise httpx.ConnectError("https://chat.example/hook/SECRET is unreachable")
        return httpx.Response(503 if len(seen) == 2 else 200)

    chosen = notify.Settings(webhook_on=True, webhook="https://chat.example/hook/SECRET")
    told = notify.tell(STATE, chosen, wait=pauses.append, transport=httpx.MockTransport(answer))
    assert told == {"webhook": "sent: chat.example answered 200"}
    assert len(pauses) == 2
    body = json.loads(seen[-1].content)
    assert (body["run"], body["status"], body["loss"]) == ("mine", "finished", 0.25)
    assert body["text"] == body["content"]["text"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_taken_for_sent(home, status) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"location": "https://b.example/y"})

    chosen = notify.Settings(webhook_on=True, webhook="https://a.example/x")
    told = notify.tell(STATE, chosen, transport=httpx.MockTransport(answer))
    assert told["webhook"].startswith(f"failed: a.example answered {status}; redirects are not")


def test_a_refusal_is_not_repeated(home) -> None:
    count = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return httpx.Response(403)

    chosen = notify.Settings(webhook_on=True, webhook="https://a.example/x")
    told = notify.tell(STATE, chosen, transport=httpx.MockTransport(answer))
    assert told == {"webhook": "failed: a.example answered 403"}
    assert count == 1


def test_an_email_command_gets_words_and_not_a_shell(home, tmp_path) -> None:
    out = tmp_path / "mail.json"
    code = "import sys, json; json.dump([sys.argv[1:], sys.stdin.read()], open(sys.argv[1], 'w'))"
    command = (sys.executable, "-c", code, str(out), "{subject}; touch x", "{run}")
    state = RunStatus("mine", Path("/x"), "failed", reason="$(reboot)", step=2)
    told = notify.tell(state, notify.Settings(email_on=True, email=command))
    assert told["email"].startswith("done: ")
    words, text = json.loads(out.read_text())
    assert words[1:] == ["Tunery: mine failed; touch x", "mine"]
    assert text == "Run mine is failed ($(reboot)) at step 2 of ?.\n"


def test_a_power_off_counts_down_and_runs(home, tmp_path) -> None:
    home.mkdir()
    mark = tmp_path / "off"
    chosen = notify.Settings(power_off=("touch", str(mark)), countdown_seconds=0.3)
    assert notify.power_off("mine", chosen) == "done: touch"
    assert mark.exists()
    assert notify.countdown() is None


def test_a_power_off_is_cancelled_from_another_process(home, tmp_path) -> None:
    home.mkdir()
    mark = tmp_path / "off"
    chosen = notify.Settings(power_off=("touch", str(mark)), countdown_seconds=60)
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(notify.power_off("mine", chosen)))
    thread.start()
    until(notify.countdown)
    under_way = notify.keep_on()
    thread.join(PATIENCE_SECONDS)
    assert under_way.run == "mine"
    assert 0 < under_way.seconds_left <= 60
    assert told == ["cancelled"]
    assert not mark.exists()
    with pytest.raises(RunError, match="No power-off"):
        notify.keep_on()


def test_a_machine_at_work_is_not_powered_off(home, tmp_path) -> None:
    run = create("other", Config(), {})
    local.start(run, argv=[sys.executable, str(FAKE), str(run.path), "wait"])
    chosen = notify.Settings(power_off=("touch", str(tmp_path / "off")), countdown_seconds=0.1)
    try:
        assert notify.power_off("mine", chosen) == "not done: other is still active"
    finally:
        local.stop(run, grace_seconds=PATIENCE_SECONDS)
    assert not (tmp_path / "off").exists()


def test_a_run_tells_of_its_end_with_no_server_anywhere(home, receiver) -> None:
    address, got = receiver
    notify.save(notify.Settings(webhook_on=True, webhook=address))
    run = create("mine", Config(), {})
    local.start(run, argv=[sys.executable, str(FAKE), str(run.path), "finish"])
    until(lambda: notify.outcome(run))
    assert [body["status"] for body in got] == ["finished"]
    assert notify.outcome(run) == {"webhook": "sent: 127.0.0.1 answered 200"}
    for file in (p for p in run.path.rglob("*") if p.is_file()):
        assert b"SECRET" not in file.read_bytes()


def test_a_killed_worker_is_told_too(home, receiver) -> None:
    address, got = receiver
    notify.save(notify.Settings(webhook_on=True, webhook=address))
    run = create("mine", Config(), {})
    local.start(run, argv=[sys.executable, str(FAKE), str(run.path), "crash"])
    until(lambda: got)
    assert got[0]["status"] == "interrupted"
    until(lambda: notify.outcome(run))


def test_without_settings_nothing_is_started(home) -> None:
    run = create("mine", Config(), {})
    with EventWriter(run.events_file) as writer:
        writer.write("status", status="finished")
    assert notify.main([str(run.path)]) == 0
    assert not RunFolder(run.path).notified_file.exists()
