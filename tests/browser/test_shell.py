"""The frame of every page in a real browser."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect
from tests.browser.conftest import Server, Troubles
from tests.browser.looking import check_page, problems

from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.workers.process import WorkerFile

LOST = "Connection lost. Training continues; reconnecting…"


def live(page: Page) -> None:
    expect(page.locator("html")).to_have_attribute("data-connection", "live")


def test_start_is_readable_in_every_language_theme_and_width(page: Page) -> None:
    check_page(page, "/", name="start")


def test_settings_is_readable_in_every_language_theme_and_width(page: Page) -> None:
    check_page(page, "/settings")


def test_the_look_finds_what_is_wrong(page: Page) -> None:
    page.goto("/")
    page.evaluate(
        """() => {
          const bad = document.createElement("div");
          bad.innerHTML = '<input type="text"><p id="long">too long for its box</p>';
          document.querySelector("#main").append(bad);
          const long = document.querySelector("#long");
          long.style.whiteSpace = "nowrap";
          long.style.width = "40px";
          bad.style.width = "3000px";
        }"""
    )
    found = "\n".join(problems(page))
    assert "px too wide" in found
    assert 'cut: <p class=""> too long' in found
    assert "axe label" in found


def test_the_token_in_the_address_opens_the_page_and_does_not_stay(
    page: Page, context: BrowserContext, server: Server
) -> None:
    context.clear_cookies()
    page.goto(f"/settings#token={server.token}")
    expect(page).to_have_url(f"{server.url}/settings")
    expect(page.get_by_role("heading", name="Settings", level=1)).to_be_visible()
    page.go_back()
    assert server.token not in page.url


def test_a_wrong_token_is_told_at_its_field(
    page: Page, context: BrowserContext, troubles: Troubles
) -> None:
    troubles.allow("401")
    context.clear_cookies()
    page.goto("/train")
    expect(page).to_have_url(re.compile(r"/login\?next=/train$"))
    page.get_by_label("Access token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This is not the access token of this server.")
    expect(page.get_by_label("Access token")).to_be_focused()
    assert problems(page) == []


def test_language_and_colours_belong_to_the_browser(page: Page) -> None:
    page.goto("/settings")
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("设置")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.get_by_role("radio", name="深色").check(force=True)
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto("/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Start here")


def test_keys_lead_everywhere_and_are_listed(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert problems(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile("/settings$"))
    page.get_by_label("Name of the new key").fill("g h?")
    expect(page).to_have_url(re.compile("/settings$"))
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("h")
    expect(page).to_have_url(re.compile("/$"))


def test_the_first_tab_skips_to_the_content(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_a_killed_server_is_told_and_forgotten_when_it_is_back(
    page: Page, server: Server, troubles: Troubles, shot: Callable[[str], Path]
) -> None:
    troubles.allow("ERR_")
    page.goto("/settings")
    live(page)
    page.get_by_label("Name of the new key").fill("half typed")
    server.stop(signal.SIGKILL)
    expect(page.get_by_text(LOST)).to_be_visible()
    shot("offline")
    assert problems(page, axe=False) == []
    server.start()
    expect(page.get_by_text(LOST)).to_be_hidden()
    live(page)
    expect(page.get_by_label("Name of the new key")).to_have_value("half typed")


def test_a_new_version_asks_to_reload(page: Page, server: Server, troubles: Troubles) -> None:
    troubles.allow("ERR_")
    page.goto("/settings")
    live(page)
    page.route("**/static/version", lambda route: route.fulfill(json={"version": "another"}))
    server.stop(signal.SIGKILL)
    expect(page.get_by_text(LOST)).to_be_visible()
    server.start()
    expect(page.get_by_text("The server was updated.")).to_be_visible()
    page.get_by_role("button", name="Reload").click()
    expect(page.get_by_text("The server was updated.")).to_be_hidden()


def test_an_ended_session_offers_the_door(
    page: Page, context: BrowserContext, server: Server, troubles: Troubles
) -> None:
    troubles.allow("401")
    page.goto("/settings")
    live(page)
    (server.home / "token").write_text("x" * 43 + "\n")
    page.get_by_label("Name of the new key").fill("late")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_text("Your session has ended. Log in again.")).to_be_visible()
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/login\?next=(/|%2F)settings$"))


def test_twelve_tabs_all_hear_of_a_new_run(
    context: BrowserContext, server: Server, troubles: Troubles
) -> None:
    tabs = [context.new_page() for _ in range(12)]
    for tab in tabs:
        tab.goto("/settings")
    for tab in tabs:
        live(tab)
    make_run(server.home, "told-to-all")
    for tab in tabs:
        expect(tab.locator("#jobbox")).to_contain_text("told-to-all")
        tab.close()
    assert troubles.left() == []


@pytest.mark.parametrize("gone", ["SharedWorker", "nothing"])
def test_the_job_box_follows_a_run(page: Page, server: Server, gone: str) -> None:
    if gone == "SharedWorker":
        page.add_init_script("delete window.SharedWorker")
    page.goto("/")
    live(page)
    make_run(server.home, "tuna")
    box = page.locator("#jobbox")
    expect(box).to_contain_text("tuna")
    expect(box).to_contain_text("5 of 40 steps")
    expect(box.get_by_role("progressbar")).to_have_attribute("value", "5")
    assert problems(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert problems(page, axe=False) == []


def test_a_proxy_that_buffers_is_polled(page: Page, server: Server) -> None:
    page.add_init_script("delete window.SharedWorker")
    page.clock.install()

    def swallow(route: Route) -> None:
        if "/poll" in route.request.url:
            route.continue_()
        # else: no answer at all, as behind a proxy that waits for the end of the stream

    page.route("**/api/v1/events**", swallow)
    page.goto("/settings")
    for _ in range(20):
        page.clock.run_for(1000)
    expect(page.locator("html")).to_have_attribute("data-connection", "polling")
    make_run(server.home, "polled")
    for _ in range(6):
        page.clock.run_for(1000)
    expect(page.locator("#jobbox")).to_contain_text("polled")


def test_a_key_is_made_shown_once_and_revoked_in_place(page: Page) -> None:
    page.goto("/settings")
    page.get_by_label("Name of the new key").fill("editor")
    page.get_by_role("button", name="Create key").click()
    shown = page.locator("#new-key pre")
    expect(shown).to_have_text(re.compile(r"^tunery-[0-9a-f]{8}-"))
    key = shown.inner_text()
    page.reload()
    assert key not in page.content()
    row = page.get_by_role("row", name=re.compile("editor"))
    row.get_by_role("button", name="Revoke").click()
    question = page.get_by_role("group", name=re.compile("Revoke the key editor"))
    expect(question.get_by_role("button", name="Keep")).to_be_focused()
    assert problems(page) == []
    page.keyboard.press("Escape")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Revoke").click()
    question.get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    expect(page.locator("#toasts")).to_contain_text("Key revoked.")


def test_a_refused_setting_is_told_at_its_field(page: Page, troubles: Troubles) -> None:
    troubles.allow("422")
    page.goto("/settings")
    box = page.get_by_label("Model hub")
    box.fill("hf-mirror.com")
    page.locator("#sources-form").get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").filter(has_text="not a valid web address")).to_be_visible()
    expect(box).to_have_attribute("aria-invalid", "true")
    box.fill("https://hf-mirror.com")
    page.locator("#sources-form").get_by_role("button", name="Save").click()
    expect(page.locator("#toasts")).to_contain_text("Saved.")
    page.reload()
    expect(box).to_have_value("https://hf-mirror.com")


def test_start_and_settings_are_light(page: Page, context: BrowserContext) -> None:
    client = context.new_cdp_session(page)
    client.send("Network.enable")
    weights: dict[str, float] = {}
    client.on(
        "Network.loadingFinished",
        lambda event: weights.update({event["requestId"]: event["encodedDataLength"]}),
    )
    page.goto("/")
    live(page)
    expect(page.locator("#hub")).to_have_text("offline (as configured)")
    assert 10_000 < sum(weights.values()) < 60_000


def make_run(home: Path, name: str) -> None:
    """A run folder that says it is at step 5 of 40; this process is its worker."""
    run = RunFolder(home / "runs" / name)
    run.control_dir.mkdir(parents=True)
    run.config_file.write_text("{}")
    WorkerFile(run).write()
    with EventWriter(run.events_file) as events:
        events.write("plan", num_steps=40, trained_parameters=1, total_parameters=2)
        events.write("status", status="running")
        events.write("step", step=5, loss=1.5, epoch=0.5, learning_rate=1e-4)


def test_a_list_keeps_search_and_order_in_the_address_and_obeys_keys(
    page: Page, server: Server
) -> None:
    for name in ("apple", "banana", "cherry"):
        make_run(server.home, name)
    page.goto("/runs")
    live(page)
    rows = page.locator("#runs tr[data-row]:visible")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Name", exact=True).click()
    page.get_by_role("button", name="Name", exact=True).click()
    expect(page.get_by_role("columnheader", name="Name")).to_have_attribute(
        "aria-sort", "descending"
    )
    expect(rows.first).to_contain_text("cherry")
    page.keyboard.press("/")
    page.keyboard.type("an")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(r"\?sort=-name&q=an$"))
    page.reload()
    live(page)
    expect(rows).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_have_value("an")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(rows.first.get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/runs/banana$"))


def test_an_address_that_leads_nowhere_is_a_page_like_the_others(
    page: Page, troubles: Troubles
) -> None:
    troubles.allow("404")
    page.goto("/nowhere")
    live(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Page not found")
    assert problems(page) == []
    page.get_by_role("link", name="Go to Start").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Start here")
