"""Train in a browser: the form, its errors, blanks, an hour offline, and a real start."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.looking import problems


@pytest.fixture
def model(demo_home: Path) -> Path:
    """The demo model is there before the server starts."""
    return demo_home


def test_blanks_are_filled_errors_shown_and_a_run_started(model: Path, server, page: Page, shot):
    page.goto(f"{server.url}/train")
    page.get_by_role("button", name="Identity", exact=True).click()
    start = page.locator("#start")
    expect(start).to_have_text("Fill in name, author")
    start.click()
    expect(page.get_by_label("{{name}}")).to_be_focused()
    page.get_by_label("{{name}}").fill("Tuna")
    page.get_by_label("{{author}}").fill("Reef")
    expect(page.locator("#p-updates")).to_have_text("51")
    rate = page.get_by_label("Learning rate", exact=True)
    rate.fill("abc")
    expect(page.locator("#draft-state")).to_have_text("1 field to fix")
    expect(rate).to_have_attribute("aria-invalid", "true")
    shot("train-errors")
    rate.fill("1e-4")
    expect(page.locator("#draft-state")).to_have_text("Draft saved")
    page.get_by_label("Name of the run").fill("the-tuna-1")
    page.reload()
    expect(page.get_by_label("Name of the run")).to_have_value("the-tuna-1")
    expect(page.get_by_label("Learning rate", exact=True)).to_have_value("1e-4")
    expect(start).to_have_text("Start training")
    page.get_by_text("Command", exact=True).click()
    expect(page.locator(".copybox pre")).to_contain_text("--optim.learning_rate 1e-4")
    shot("train")
    assert problems(page) == []
    start.click()
    page.wait_for_url("**/runs/*tuna*")


def test_what_is_typed_offline_is_sent_later(model: Path, server, page: Page, troubles):
    troubles.allow("ERR_")
    page.goto(f"{server.url}/train")
    expect(page.locator("#draft-state")).not_to_be_empty()
    page.context.set_offline(True)
    page.get_by_label("Epochs", exact=True).fill("7")
    expect(page.locator("#draft-state")).to_have_text("Offline: kept here")
    page.context.set_offline(False)
    expect(page.locator("#draft-state")).to_have_text("1 field to fix")
    page.reload()
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("7")


def test_only_the_settings_of_the_chosen_method_are_shown(model: Path, server, page: Page):
    page.goto(f"{server.url}/train")
    page.get_by_text("More settings", exact=True).click()
    expect(page.get_by_label("Rank", exact=True)).to_be_visible()
    page.get_by_role("radio", name="Last layers", exact=True).check()
    expect(page.get_by_label("Trained layers", exact=True)).to_be_visible()
    expect(page.get_by_label("Rank", exact=True)).to_be_hidden()
    page.get_by_label("Search settings").fill("warm-up share")
    expect(page.get_by_label("Warm-up share", exact=True)).to_be_visible()
    expect(page.get_by_label("Seed", exact=True)).to_be_hidden()
