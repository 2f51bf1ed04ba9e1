"""Nothing jumps: classic scrollbars, 1280 px, menus, a dialog's width, the start of a run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.browser.conftest import CHROMIUM, PATIENCE_MS, Server, log_in
from tests.browser.looking import SHOTS
from tests.browser.test_runs import working
from tests.web.test_runs_api import write_run

from tunery.runs.events import EventWriter
from tunery.workers.folder import write_json

PATHS = (
    "/", "/models", "/datasets", "/train", "/runs", "/runs/good", "/compare?ids=good,other",
    "/chat", "/export", "/settings", "/datasets/identity", "/datasets/identity?tab=rows",
)  # fmt: skip


@pytest.fixture
def classic(chromium: Browser, server: Server) -> Iterator[Page]:
    """A page of 1280 px whose scrollbars take room, as on Windows and Linux."""
    program = next(filter(None, map(shutil.which, CHROMIUM)))
    browser = chromium.browser_type.launch(
        executable_path=program, args=["--no-sandbox"], ignore_default_args=["--hide-scrollbars"]
    )
    context = browser.new_context(
        base_url=server.url, viewport={"width": 1280, "height": 720}, locale="en-US"
    )
    context.set_default_timeout(PATIENCE_MS)
    log_in(context, server)
    yield context.new_page()
    browser.close()


def box(locator: Locator) -> dict[str, float]:
    found = locator.bounding_box()
    assert found is not None
    return {"x": found["x"], "y": found["y"], "width": found["width"], "height": found["height"]}


BARS = """() => [...document.querySelectorAll("main *, nav *, dialog[open] *")].filter((each) => {
  const style = getComputedStyle(each);
  const across = each.offsetHeight - each.clientHeight
    - parseFloat(style.borderTopWidth) - parseFloat(style.borderBottomWidth);
  const down = each.offsetWidth - each.clientWidth
    - parseFloat(style.borderLeftWidth) - parseFloat(style.borderRightWidth);
  const scrolls = ["auto", "scroll"].includes(style.overflowX) && across > 1;
  const wrong = scrolls || (each.matches(".tabs, .scroll:not(.limited)") && down > 1);
  return wrong && !["TEXTAREA", "PRE"].includes(each.tagName);
}).map((each) => `${each.tagName}.${each.className}#${each.id}`)"""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_page_scrolls_sideways_at_1280_with_classic_scrollbars(
    demo_home: Path, classic: Page, server: Server, language: str
) -> None:
    write_run("good", steps=80)
    write_run("other", steps=40)
    cookie = {"name": "tunery_lang", "value": language, "url": server.url}
    classic.context.add_cookies([cookie])  # pyright: ignore[reportArgumentType]
    lefts: dict[str, float] = {}
    for path in PATHS:
        classic.goto(path)
        classic.wait_for_timeout(500)
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert classic.evaluate(width) <= 0, path
        assert classic.evaluate(BARS) == [], path
        lefts[path] = box(classic.locator("main"))["width"]
        name = path.strip("/").replace("/", "-").replace("?", "-") or "start"
        SHOTS.mkdir(exist_ok=True)
        classic.screenshot(path=SHOTS / f"classic-{name}-{language}.png")
    lefts.pop("/chat")  # as wide as there is
    assert len(set(lefts.values())) == 1, lefts  # a long page is not narrower than a short one


@pytest.mark.parametrize("width", [1280, 390])
def test_more_stays_in_its_line_and_its_menu_in_the_page(page: Page, width: int) -> None:
    write_run("good", steps=80)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/runs/good")
    more = page.locator(".chartmenu > summary")
    axis, beside = box(page.locator("#axis")), box(more)
    assert abs(axis["y"] + axis["height"] / 2 - beside["y"] - beside["height"] / 2) < 4
    more.click()
    menu, card = box(page.locator(".chartmenu .menubox")), box(page.locator("#charts"))
    assert menu["x"] >= card["x"]
    assert menu["x"] + menu["width"] <= card["x"] + card["width"]


def test_the_folder_dialog_keeps_its_size(home: Path, page: Page) -> None:
    deep = home / "models" / "a" / ("a-very-long-name-of-a-folder-" * 6)
    for number in range(40):
        (deep / f"sub-{number}").mkdir(parents=True)
    page.goto("/models")
    page.get_by_role("button", name="Browse").click()
    dialog = page.locator("#picker")
    page.get_by_role("button", name=str(home), exact=True).click()
    first, tall = box(dialog), box(page.locator("#picker-list"))["height"]
    for name in ("models", "a", deep.name):
        dialog.get_by_role("button", name=name, exact=True).click()
        expect(page.locator("#picker-path")).to_contain_text(name)
        now = box(dialog)
        assert now["width"] == first["width"]
        assert box(page.locator("#picker-list"))["height"] == tall


def test_a_run_that_waits_for_nobody_is_starting_and_not_queued(page: Page) -> None:
    folder = working("early")
    page.goto("/runs/early")
    expect(page.locator("#part-status")).to_contain_text("Starting")
    expect(page.locator("#part-strip")).not_to_contain_text("Queue")
    expect(page.locator("#jobbox")).to_contain_text("Starting")
    page.goto("/runs")
    expect(page.locator('tr[data-row="early"]')).to_contain_text("Starting")
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
    expect(page.locator('tr[data-row="early"]')).to_contain_text("Running")
    write_json(folder.worker_file, {})


def test_one_run_is_deleted_in_the_singular(page: Page) -> None:
    write_run("alone")
    page.goto("/runs")
    page.get_by_role("checkbox", name="Select alone").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("group", name="Delete alone?").get_by_role("button", name="Delete").click()
    expect(page.locator("#toasts")).to_contain_text("1 run deleted")


def test_rows_are_searched_while_one_types(page: Page) -> None:
    page.goto("/datasets/identity?tab=rows")
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(25)
    page.get_by_label("Search in all rows").press_sequentially("你叫什么")
    expect(rows.first).to_contain_text("你叫什么")  # nobody pressed Enter
    page.get_by_label("Search in all rows").fill("no such words at all")
    expect(rows).to_have_text(["No matching rows."])


def test_the_chat_names_whom_it_asks_and_greedy_locks_what_has_no_effect(
    page: Page, server: object
) -> None:
    page.goto("/chat?a=demo")
    message = page.get_by_label("Your message")
    expect(message).to_have_attribute(
        "placeholder", "Ask demo…  Enter to send, Shift+Enter for a new line"
    )
    page.goto("/chat?a=demo&b=other")
    expect(message).to_have_attribute("placeholder", re.compile("^Ask all models"))
    page.get_by_role("button", name="Sampling").click()
    drawer = page.get_by_role("dialog", name="Sampling")
    greedy = drawer.get_by_role("switch", name="Greedy")
    locked = [drawer.get_by_label(name) for name in ("Temperature", "top-p", "top-k", "Seed")]
    for is_on in (True, False, True):
        greedy.set_checked(is_on)
        for field in locked:
            expect(field).to_be_disabled() if is_on else expect(field).to_be_enabled()
        expect(drawer.get_by_text("Greedy is on, so temperature")).to_be_visible(visible=is_on)
    expect(drawer.get_by_label("Max tokens")).to_be_enabled()
