"""Hostile text stays text: in datasets, runs, chats and prompts, in a real browser.

``page`` fails on any dialog, console error (a blocked script says one) and foreign request.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import Troubles

from tunery.services import chats
from tunery.state.database import database

PAYLOADS = (
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg/onload=window.hacked=1>",
    "<svg><script>window.hacked=1</script></svg>",
    "<iframe src=javascript:window.hacked=1></iframe>",
    "<a href=javascript:window.hacked=1 autofocus onfocus=window.hacked=1>x</a>",
    "<details open ontoggle=window.hacked=1>",
    "<style>@import 'http://evil.example/x.css'</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<body onload=window.hacked=1>",
    "<math><mtext></mtext><mglyph><style></math><img src onerror=window.hacked=1>",
    "![x](http://evil.example/leak.png)",
    "[x](javascript:window.hacked=1)",
    "{{7*7}} {% raw %}{{config}}",
    "\"'><img src=x onerror=window.hacked=1>",
    "' onmouseover='window.hacked=1",
    "<!--><img src=x onerror=window.hacked=1>-->",
    "$\\href{javascript:window.hacked=1}{x}$",
    "\u202egnp.exe\u200b\u0007",
)
TEXT = "\n".join(PAYLOADS)


@pytest.fixture
def planted(home: Path) -> dict[str, str]:
    """The payloads, wherever a page shows somebody's text."""
    rows = home / "uploads" / "bad.jsonl"
    rows.parent.mkdir(parents=True)
    rows.write_text(
        "".join(json.dumps({"instruction": text, "output": text}) + "\n" for text in PAYLOADS)
    )
    chat = chats.new(chats.ChatSettings(columns=("demo", PAYLOADS[2]), system=TEXT))
    chats.ask(chat.id, TEXT)
    facts = {"reason": "stop", "thought": TEXT, "prompt_text": TEXT, "num_tokens": 3}
    chats.keep(chat.id, 0, "demo", chats.Answer(TEXT, facts))
    chats.keep(chat.id, 0, PAYLOADS[2], chats.Answer("", {"error": TEXT, "fix": TEXT}))
    with database().write() as db:
        db.execute("UPDATE chats SET title = ?", (PAYLOADS[1],))
    return {"chat": chat.id, "rows": str(rows)}


def untouched(page: Page) -> None:
    """No payload became an element or ran."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("iframe, img[src='x'], a[href^='javascript:']").count() == 0


def test_a_chat_shows_payloads_as_text(planted: dict[str, str], page: Page) -> None:
    page.goto(f"/chat?id={planted['chat']}")
    expect(page.locator(".mine").first).to_contain_text("<script>window.hacked=1</script>")
    expect(page.locator(".theirs").first).to_contain_text("<svg/onload=window.hacked=1>")
    expect(page.locator(".note.bad").first).to_contain_text("<iframe src=javascript:")
    page.locator("#differences").check()
    page.locator(".thought summary").first.click()
    expect(page.locator(".thought").first).to_contain_text("<body onload=")
    page.get_by_role("button", name="Exactly what was sent").first.click()
    expect(page.locator("#prompt-text")).to_contain_text("<details open ontoggle")
    page.keyboard.press("Escape")
    page.locator("#open-chats").click()
    expect(page.locator("#chat-list")).to_contain_text("</script><script>")
    untouched(page)


def test_a_dataset_shows_payloads_as_text(
    planted: dict[str, str], page: Page, troubles: Troubles
) -> None:
    troubles.allow("422")  # the demo model is not here, so there are no tokens to show
    page.goto("/datasets")
    headers = {"X-Tunery": "1", "Origin": page.url.removesuffix("/datasets")}
    made = page.request.post(
        f"{headers['Origin']}/api/v1/datasets",
        data={"name": "bad", "source": planted["rows"]},
        headers=headers,
    )
    assert made.ok, made.text()
    for tab in ("", "?tab=rows", "?tab=checks"):
        page.goto(f"/datasets/bad{tab}")
        expect(page.locator("main")).to_contain_text("bad")
        untouched(page)
    page.goto("/datasets/bad?tab=rows")
    expect(page.locator("main")).to_contain_text("<img src=x onerror=window.hacked=1>")
    untouched(page)
