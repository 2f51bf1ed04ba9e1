"""Settings, Messages: an address is kept secret, a test message arrives, an error has its field."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Page, expect
from tests.browser.looking import problems


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


def test_a_webhook_is_set_tested_and_never_shown_whole(page: Page, receiver, troubles, shot):
    address, got = receiver
    troubles.allow("422")
    page.goto("/settings#notify")
    card = page.locator("#notify")
    expect(card.get_by_label("Run the e-mail command")).to_be_disabled()
    expect(card).to_contain_text("No e-mail command is set.")
    card.get_by_role("button", name="Send a test message").click()
    expect(page.locator("#notify-answer")).to_have_text("Everything is off, so nothing was sent.")
    card.get_by_label("Webhook", exact=True).fill("chat.example/hook")
    card.get_by_role("button", name="Save").click()
    expect(card.get_by_label("Webhook", exact=True)).to_be_focused()
    expect(card).to_contain_text("The webhook needs a full http or https address.")
    card.get_by_label("Webhook", exact=True).fill(address)
    card.get_by_text("Send to webhook").click()
    card.get_by_role("button", name="Send a test message").click()
    expect(page.locator("#notify-answer")).to_have_text("Webhook: sent: 127.0.0.1 answered 200")
    assert got[0]["event"] == "run_ended"
    shot("settings-messages")
    assert problems(page) == []
    page.reload()
    expect(card.get_by_label("Send to webhook")).to_be_checked()
    expect(card.get_by_label("Webhook", exact=True)).to_have_value("http://127.0.0.1/…")
    assert "SECRET" not in page.content()
    card.get_by_role("button", name="Save").click()  # the hidden address is the one there is
    expect(page.get_by_text("Saved.")).to_be_visible()
    card.get_by_role("button", name="Send a test message").click()
    expect(page.locator("#notify-answer")).to_contain_text("answered 200")
    assert len(got) == 2
