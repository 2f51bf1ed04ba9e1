"""Train from a run's settings: they are all there, and the new run has the name that was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.looking import problems
from tests.chat_model import make_chat_model
from tests.train import tiny

from tunery.config.load import read_frozen
from tunery.runs.folder import open_run


@pytest.fixture
def first(home: Path) -> str:
    """A run with settings that are no defaults; it is there before the server starts."""
    model = make_chat_model(home / "models" / "tiny")
    data = tiny.chats(home / "data" / "chats.jsonl")
    tiny.prepared("first", model, data, optim={"learning_rate": 0.0123}, adapter={"rank": 3})
    return "first"


def test_settings_come_from_the_run_and_the_name_from_the_person(
    first: str, server, page: Page, troubles, shot
):
    page.goto(f"/train?from={first}")
    page.wait_for_url("**/train?draft=first")
    expect(page.get_by_label("Learning rate", exact=True)).to_have_value("0.0123")
    expect(page.locator("#p-updates")).to_have_text("10")
    page.get_by_text("More settings", exact=True).click()
    rank = page.get_by_label("Rank", exact=True).filter(visible=True)  # LoRA's, not VeRA's
    expect(rank).to_have_value("3")
    shot("train-from-run")
    assert problems(page) == []
    troubles.allow("422")
    troubles.allow("409")
    name = page.get_by_label("Run name", exact=True)
    for wrong, said in (
        ("My Run", "Use lowercase letters"),
        (first, "already exists"),
    ):
        name.fill(wrong)
        page.locator("#start").click()
        expect(page.locator("#f-run-name-error")).to_contain_text(said)
        expect(name).to_be_focused()
    name.fill("second")
    expect(page.locator("#f-run-name-error")).to_be_empty()
    page.get_by_text("Command", exact=True).click()
    expect(page.locator(".copybox pre")).to_contain_text("--name second")
    page.locator("#start").click()
    page.wait_for_url("**/runs/second")
    before, after = (read_frozen(open_run(name).config_file) for name in (first, "second"))
    # The only difference: no row is longer than the model has positions.
    data = before.data.model_copy(update={"max_length": 512})
    assert after == before.model_copy(update={"data": data})


def test_a_run_that_is_gone_is_told(server, page: Page, troubles):
    troubles.allow("404")
    page.goto("/train?from=gone")
    expect(page.get_by_text("no such file, preset or run")).to_be_visible()
