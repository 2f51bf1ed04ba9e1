"""A newcomer with data of their own: it is found, read, and trained with the recipe that fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import Server, Troubles, log_in
from tests.browser.looking import problems
from tests.web.test_runs_api import write_run


@pytest.fixture
def page(demo_home: Path, page: Page) -> Page:
    """The demo model is there before the server starts."""
    return page


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose columns have names of their own, in a folder that the page may not open yet."""
    file = tmp_path_factory.mktemp("outside") / "shop.jsonl"
    rows = [{"question": f"My bike {n} squeaks.", "answer": f"Oil chain {n}."} for n in range(40)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def test_own_data_is_allowed_mapped_and_trained_with_the_recipe_that_fits(
    page: Page, shop: Path, troubles: Troubles
) -> None:
    troubles.allow("403")
    page.goto("/train")
    page.get_by_role("button", name="Identity", exact=True).click()
    expect(page.locator("#draft-state")).to_have_text("Draft saved")
    page.goto("/datasets")
    field = page.get_by_label("On this machine or on the hub")
    field.fill(str(shop))
    field.press("Enter")
    page.get_by_role("button", name=f"Allow {shop.parent}").click()
    page.wait_for_url("**/datasets/-/add?source=*")
    expect(page.get_by_label("Format", exact=True)).to_have_value("alpaca")
    expect(page.get_by_label("instruction", exact=True)).to_have_value("question")
    expect(page.get_by_label("output", exact=True)).to_have_value("answer")
    expect(page.locator("#preview")).to_contain_text("Oil chain 0.")
    assert problems(page) == []
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="Train on it").click()
    page.wait_for_url("**/train?draft=shop")
    expect(page.get_by_role("button", name="LoRA", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.get_by_label("Validation split", exact=True)).to_have_value("0.05")
    expect(page.locator('[data-path="evaluate.prompts"]')).to_have_value("")
    expect(page.locator(".names > span")).to_have_text("shop,time")
    expect(page.locator("#p-rows")).to_have_text("38 + 2 validation")


def test_a_model_folder_elsewhere_is_allowed_in_place(
    page: Page, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("outside") / "model"
    folder.mkdir()
    page.goto("/models")
    page.get_by_label("Hub name, link, or a folder on this machine").fill(str(folder))
    page.get_by_role("button", name=f"Allow {folder}").click()
    expect(page.locator("#answer")).not_to_contain_text("outside the folders")
    expect(page.locator("#answer .note")).to_be_visible()


def test_only_the_chosen_methods_help_is_shown_and_titles_stay_in_one_line(page: Page) -> None:
    page.goto("/train")
    help_text = page.locator("#f-method-type-help")
    expect(help_text).to_contain_text("Supervised fine-tuning")
    expect(help_text).not_to_contain_text("preference optimization")
    page.get_by_label("Method", exact=True).select_option("dpo")
    expect(help_text).to_contain_text("Direct preference optimization")
    expect(help_text).not_to_contain_text("Supervised")
    for width in (1440, 1000, 390):
        page.set_viewport_size({"width": width, "height": 900})
        box = page.locator("#more > summary h2").bounding_box()
        assert box is not None
        assert box["height"] < 30, width


def test_short_curves_are_drawn_as_they_are_until_smoothing_is_chosen(page: Page) -> None:
    write_run("short", steps=18)
    page.goto("/runs/short")
    smoothing = page.get_by_label("Smoothing")
    expect(smoothing).to_have_value("0")
    page.locator(".chartmenu summary").click()
    page.get_by_role("button", name="Show as table").click()
    last = page.locator("#loss-table tbody tr").last.locator("td")
    assert last.nth(1).inner_text() == last.nth(2).inner_text()
    smoothing.fill("0.9")
    assert last.nth(1).inner_text() != last.nth(2).inner_text()
    page.reload()
    expect(smoothing).to_have_value("0.9")


def test_a_phone_sees_whole_rows_and_no_keys(
    chromium: Browser, demo_home: Path, server: Server
) -> None:
    phone = chromium.new_context(
        base_url=server.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True,
        locale="en-US",
    )  # fmt: skip
    log_in(phone, server)
    tab = phone.new_page()
    tab.goto("/datasets")
    table = tab.locator(".scroll", has=tab.locator("#datasets"))
    assert table.evaluate("e => e.scrollWidth <= e.clientWidth")  # each row is a block
    tab.get_by_role("link", name="Train", exact=True).last.scroll_into_view_if_needed()
    expect(tab.get_by_role("link", name="Train", exact=True).last).to_be_in_viewport()
    tab.goto("/chat")
    expect(tab.get_by_label("Your message")).to_have_attribute("placeholder", "Ask demo…")
    phone.close()
