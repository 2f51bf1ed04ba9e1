"""An adapter whose base model was moved: the page asks where it is now, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import Troubles
from tests.chat_model import make_chat_model
from tests.train.adapters_made import adapter
from tests.web.test_runs_api import write_run

from tunery.models import bases
from tunery.workers.folder import write_json


@pytest.fixture
def moved(home: Path) -> Path:
    """The run good, and the folder that its base is in now."""
    base = make_chat_model(home / "models" / "old")
    folder = write_run("good")
    adapter(base, folder.adapter_dir)
    write_json(folder.card_file, {**folder.card(), "model": str(base)})
    bases.record(folder.path, base)
    now = home / "models" / "new"
    base.rename(now)
    return now


def test_chat_asks_for_a_base_that_was_moved_and_answers(
    moved: Path, page: Page, troubles: Troubles
) -> None:
    troubles.allow("models/base")  # a wrong folder is refused
    page.goto("/chat?a=good")
    page.get_by_label("Your message").fill("Who are you?")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("alert").get_by_role("button", name="Choose the base model").click()
    dialog = page.get_by_role("dialog", name="Base model of good")
    dialog.get_by_label("Folder or name").fill(str(moved.with_name("none")))
    dialog.get_by_role("button", name="Use this model").click()
    expect(dialog.get_by_role("alert")).not_to_be_empty()
    dialog.get_by_label("Folder or name").fill(str(moved))
    dialog.get_by_role("button", name="Use this model").click()
    expect(page.locator(".column .foot")).to_contain_text("tokens")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_export_and_serve_ask_for_a_base_that_was_moved(
    moved: Path, page: Page, troubles: Troubles
) -> None:
    troubles.allow("Failed to load resource")
    page.goto("/export?run=good")
    for act in ("#start-export", "#start-serve"):
        page.locator(act).click()
        ask = page.get_by_role("button", name="Choose the base model")
        expect(ask).to_be_visible()
        page.locator("#toasts").get_by_role("button", name="Close").click()
