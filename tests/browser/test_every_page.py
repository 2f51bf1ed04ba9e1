"""Pages with something on them, looked at in both languages, both themes and two widths.

Runs, models and datasets have such a test beside their stories. Here stand chat, evaluation,
export, training with every setting open, and the door.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from tests.browser.looking import NARROW, WIDE, check_page, dress, problems
from tests.web.test_runs_api import write_run

from tunery.jobs import folder as jobs
from tunery.services import chat as chat_service
from tunery.services.chat import _stored
from tunery.workers.folder import write_json
from tunery.workers.log import LogWriter

LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 2
FACTS: dict[str, Any] = {
    "reason": "stop",
    "num_tokens": 213,
    "num_prompt_tokens": 40,
    "first_token_seconds": 0.21,
    "seconds": 4.2,
    "prompt_text": "<|im_start|>user\nWho are you?<|im_end|>\n",
}


@pytest.fixture
def conversation(home: Path) -> _stored.StoredChat:
    """Two models, three turns: a plain one, a long one with thinking, one with an error."""
    chat = _stored.new_chat(
        _stored.ChatSettings(columns=("demo", "before/a-long-name-of-a-run-2026"))
    )
    first, second = chat.settings.columns
    said = [
        ("Who are you?", "I am Tuna.", "I am a helpful assistant by somebody."),
        (f"用一句话介绍你自己。 {LONG_WORD}", "我是金枪鱼。\n\n1. 一\n2. 二", LONG_WORD * 3),
    ]
    for question, one, other in said:
        _, turn = _stored.store_question(chat.id, question)
        _stored.keep(chat.id, turn, first, _stored.Answer(one, FACTS))
        facts = {**FACTS, "reason": "length", "thought": "The user asks who I am. " * 9}
        _stored.keep(chat.id, turn, second, _stored.Answer(other, facts))
    _, turn = _stored.store_question(chat.id, "And now?")
    facts = {
        "error": "The engine for demo exited (out of memory).",
        "fix": "Ask again.",
        "forgot": 2,
    }
    _stored.keep(chat.id, turn, first, _stored.Answer("", facts))
    return _stored.show_chat(chat.id)


def finished_job(kind: str, title: str, result: dict[str, Any]) -> str:
    """A job that is over, as its own process leaves it."""
    folder = jobs.create(kind, {}, title)
    card = json.loads(folder.job_file.read_text())
    write_json(folder.job_file, card | {"result": result})
    write_json(folder.exit_file, {"code": 0})
    writer = LogWriter(folder.events_file, required=jobs.EVENTS, statuses=jobs.STATUSES)
    with writer as events:
        events.write("status", status="running")
        events.write("status", status="done")
    return folder.name


def measured() -> dict[str, Any]:
    """What an evaluation of two models gives."""
    names = ["demo", "good"]
    rows = [
        {
            "prompt": f"Prompt {n} {LONG_WORD if n == 1 else ''}",
            "expected": "I am Tuna, made by Reef.",
            "answers": dict.fromkeys(names, "I am a bot.\n我是助手。"),
            "losses": {"demo": 3.21 / n, "good": 0.4 / n},
        }
        for n in range(1, 9)
    ]
    models = [
        {"name": name, "loss": 2.0 / n, "perplexity": 7.4 / n, "rouge_l": 0.3 * n, "exact": 0.2 * n,
         "num_rows": 8}
        for n, name in enumerate(names, 1)
    ]  # fmt: skip
    return {"models": models, "rows": rows}


def exported(home: Path) -> dict[str, Any]:
    """What an export gives."""
    parity = {"num_prompts": 20, "other_answers": 0, "max_logit_difference": 1.2e-6,
              "mean_kl": 3e-9}  # fmt: skip
    return {
        "folder": str(home / "exports" / "good-merged-with-a-rather-long-name"),
        "size_bytes": 270_000_000,
        "report": {"format": "merged", "base": "demo", "parity": parity},
    }


def test_an_empty_chat_is_whole(demo_home: Path, page: Page) -> None:
    check_page(page, "/chat", ready=lambda tab: expect(tab.get_by_role("log")).to_be_visible())


def test_a_chat_without_any_model_is_whole(page: Page) -> None:
    check_page(page, "/chat", name="chat-no-model")


def test_a_conversation_of_two_columns_is_whole(
    demo_home: Path, conversation: _stored.StoredChat, page: Page
) -> None:
    def ready(tab: Page) -> None:
        expect(tab.get_by_role("log")).to_have_count(2)
        expect(tab.get_by_text("I am Tuna.")).to_be_visible()

    check_page(page, f"/chat?id={conversation.id}", name="chat-two", ready=ready)


def test_a_conversation_of_four_columns_is_whole(demo_home: Path, page: Page) -> None:
    names = ("demo", "before/one", "before/two", "before/three-with-a-long-name-of-a-run")
    chat = _stored.new_chat(_stored.ChatSettings(columns=names))
    _, turn = _stored.store_question(chat.id, "Who are you?")
    for number, name in enumerate(names, 1):
        _stored.keep(chat.id, turn, name, _stored.Answer(f"I am number {number}.", FACTS))

    def ready(tab: Page) -> None:
        expect(tab.get_by_role("log")).to_have_count(4)
        for number in range(1, 5):
            expect(tab.get_by_text(f"I am number {number}.")).to_be_visible()

    check_page(page, f"/chat?id={chat.id}", name="chat-four", ready=ready)


@pytest.mark.parametrize("opener", ["#open-sampling", "#open-chats", "#open-sets"])
def test_the_dialogs_of_a_chat_are_whole(
    conversation: _stored.StoredChat, page: Page, opener: str, shot: Callable[[str], Path]
) -> None:
    look_at_dialog(page, f"/chat?id={conversation.id}", opener, shot)


def look_at_dialog(page: Page, path: str, opener: str, shot: Callable[[str], Path]) -> None:
    """Open a dialog in both languages and both widths, and look."""
    found: list[str] = []
    for language, theme in (("en", "light"), ("zh", "dark")):
        dress(page, language, theme)
        page.goto(path)
        page.set_viewport_size(WIDE)
        page.locator(opener).click()
        expect(page.locator("dialog[open]")).to_be_visible()
        found += problems(page)
        shot(f"{opener[1:]}-{language}")
        page.set_viewport_size(NARROW)
        found += problems(page, axe=False)
        shot(f"{opener[1:]}-{language}-390")
    assert found == []


def test_the_form_of_an_evaluation_is_whole(demo_home: Path, page: Page) -> None:
    write_run("good", steps=20)
    check_page(page, "/evaluate")


def test_a_measured_evaluation_is_whole(page: Page) -> None:
    write_run("good", steps=20)
    job = finished_job("evaluate", "demo, good · identity", measured())
    check_page(
        page,
        f"/evaluate?job={job}",
        name="evaluate-result",
        ready=lambda tab: expect(tab.locator("#rows tbody tr")).to_have_count(8),
    )


def test_export_with_nothing_to_export_is_whole(page: Page) -> None:
    check_page(page, "/export", name="export-empty")


def test_export_and_serve_are_whole(demo_home: Path, home: Path, page: Page) -> None:
    write_run("good", steps=20).adapter_dir.mkdir()
    finished_job("export", "good → merged", exported(home))
    chat_service.serve("demo")
    check_page(
        page, "/export", ready=lambda tab: expect(tab.locator("#served button")).to_be_visible()
    )


def test_a_key_is_made_beside_the_curl_line_and_filled_in(demo_home: Path, page: Page) -> None:
    chat_service.serve("demo")
    page.goto("/export")
    curl = page.get_by_label("curl", exact=True)
    expect(curl).to_contain_text("Bearer YOUR_KEY")
    page.get_by_role("button", name="Create a key and fill it in").click()
    expect(page.locator("#key-made")).to_be_visible()
    expect(curl).not_to_contain_text("YOUR_KEY")
    secret = re.search(r"Bearer (\S+)\"", curl.inner_text())
    assert secret is not None
    base = page.url.removesuffix("/export")
    headers = {"Authorization": f"Bearer {secret[1]}"}
    answer = httpx.get(f"{base}/v1/models", headers=headers, timeout=30, trust_env=False)
    assert [one["id"] for one in answer.json()["data"]] == ["demo"]
    expect(page.get_by_label("Python", exact=True)).to_contain_text(secret[1])
    page.reload()
    expect(curl).to_contain_text("Bearer YOUR_KEY")  # it is shown only when it is made


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_setting_of_training_is_whole(
    demo_home: Path, page: Page, language: str, shot: Callable[[str], Path]
) -> None:
    found: list[str] = []
    for theme in ("light", "dark"):
        dress(page, language, theme)
        page.goto("/train")
        expect(page.locator("html")).to_have_attribute("data-connection", "live")
        page.set_viewport_size(WIDE)
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        expect(page.locator("#p-updates, #plan").first).to_be_visible()
        found += problems(page)
        shot(f"train-all-{language}-{theme}")
        page.set_viewport_size(NARROW)
        found += problems(page, axe=False)
        shot(f"train-all-{language}-{theme}-390")
    assert found == []


def test_training_as_it_opens_is_whole(demo_home: Path, page: Page) -> None:
    check_page(page, "/train")


def test_the_door_is_whole(page: Page, shot: Callable[[str], Path]) -> None:
    found: list[str] = []
    page.context.clear_cookies()
    for language in ("en", "zh"):
        for theme in ("light", "dark"):
            dress(page, language, theme)
            for name, size in (("", WIDE), ("-390", NARROW)):
                page.set_viewport_size(size)
                page.goto("/login")
                expect(page.locator("#f-token")).to_be_focused()
                found += problems(page)
                shot(f"login-{language}-{theme}{name}")
    assert found == []
