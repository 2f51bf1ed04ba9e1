"""The Models page in a real browser: the box, a download that is paused, removal, one model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.looking import check_page
from tests.hub import Hub, model_files, write_files

from tunery.jobs import folder as jobs
from tunery.jobs import start as launch

COMMIT = "c1899de2" + "0" * 32


@pytest.fixture(autouse=True)
def online(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of this module may ask the hub on loopback."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


def cached(home: Path) -> Path:
    repo = home / "hub" / "models--org--tiny"
    write_files(repo / "snapshots" / COMMIT, model_files())
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    return repo


def test_the_empty_page_is_readable_everywhere(hub: Hub, page: Page) -> None:
    check_page(page, "/models", name="models-empty")


def test_the_box_resolves_while_one_types(
    hub: Hub, page: Page, home: Path, shot: Callable[[str], Path]
) -> None:
    hub.add("org/big", model_files(rows=20_000))
    page.goto("/models")
    box = page.get_by_label("Hub name, link, or a folder on this machine")
    add = page.get_by_role("button", name="Add", exact=True)
    expect(add).to_be_disabled()
    box.fill(str(cached(home)))
    answer = page.locator("#answer")
    expect(answer).to_contain_text("snapshot c1899de2, which main points to")
    shot("models-resolved")
    box.fill("org/none")
    expect(answer).to_contain_text("no such model")
    box.fill("org/big")
    expect(answer).to_contain_text("to download in 4 files")
    expect(add).to_be_enabled()


def test_the_hub_is_searched_and_a_result_is_chosen(hub: Hub, page: Page) -> None:
    hub.add("org/Small-Chat", model_files())
    hub.add("org/other", model_files())
    page.goto("/models")
    page.locator("#hub-search summary").click()
    words = page.get_by_label("Search by name")
    words.fill("small")
    results = page.locator("#hub-results")
    expect(results.get_by_role("button")).to_have_text(["org/Small-Chat"])
    expect(results).to_contain_text("12,345 downloads")
    words.fill("zzz")
    expect(results).to_contain_text("has no matching models")
    words.fill("small")
    results.get_by_role("button", name="org/Small-Chat").click()
    expect(page.get_by_label("Hub name, link, or a folder on this machine")).to_have_value(
        "org/Small-Chat"
    )
    expect(page.locator("#answer")).to_contain_text("to download in 4 files")


def test_a_download_pauses_goes_on_and_is_listed(
    hub: Hub, page: Page, shot: Callable[[str], Path]
) -> None:
    hub.add("org/big", model_files(rows=120_000))
    hub.fail("big/model.safetensors/", cut_after=600_000)
    hub.fail("big/model.safetensors/", status=503, times=-1)
    page.goto("/models")
    page.get_by_label("Hub name, link, or a folder on this machine").fill("org/big")
    page.get_by_role("button", name="Add", exact=True).click()
    card = page.get_by_role("region", name="org/big")
    expect(card).to_contain_text("waiting for the network")
    shot("models-waiting")
    page.get_by_role("button", name="Pause: org/big").click()
    expect(card).to_contain_text("Paused")
    page.reload()
    expect(card).to_contain_text("Paused")
    check_page(page, "/models", name="models-paused")
    page.goto("/models")
    hub.faults.clear()
    page.get_by_role("button", name="Resume: org/big").click()
    row = page.get_by_role("row", name="org/big")
    expect(row).to_contain_text("hub cache")
    assert jobs.listing()[0].status == "done"


def test_giving_up_asks_first(hub: Hub, page: Page) -> None:
    hub.add("org/big", model_files(rows=120_000))
    hub.fail("big/model.safetensors/", cut_after=600_000)
    hub.fail("big/model.safetensors/", status=503, times=-1)
    page.goto("/models")
    page.get_by_label("Hub name, link, or a folder on this machine").fill("org/big")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("region", name="org/big")).to_contain_text("waiting")
    page.get_by_role("button", name="Cancel: org/big").click()
    page.get_by_role("button", name="Cancel download").click()
    expect(page.get_by_role("region", name="org/big")).to_have_count(0)
    for job in jobs.listing():
        launch.stop(job.id, grace_seconds=0)


def test_a_folder_is_picked(hub: Hub, page: Page, home: Path) -> None:
    write_files(home / "mine" / "tiny", model_files())
    page.goto("/models")
    page.get_by_role("button", name="Browse").click()
    picker = page.get_by_role("dialog", name="Choose a folder")
    picker.get_by_role("button", name=str(home.resolve()), exact=True).click()
    picker.get_by_role("button", name="mine", exact=True).click()
    picker.get_by_role("button", name="tiny", exact=True).click()
    picker.get_by_role("button", name="Use this folder").click()
    expect(page.locator("#answer")).to_contain_text("a model folder")


def test_the_demo_model_is_shown_and_readable(demo_home: Path, page: Page) -> None:
    def whole(page: Page) -> None:
        expect(page.locator("#facts dl").first).to_be_visible(timeout=60_000)

    check_page(page, "/models", name="models")
    check_page(page, "/models/demo", name="model", ready=whole)


def test_a_model_that_is_not_here_is_fetched_from_the_form_of_training(
    hub: Hub, page: Page, home: Path
) -> None:
    hub.add("org/wanted", model_files())
    page.goto("/train")
    page.get_by_role("button", name="Identity", exact=True).click()
    page.get_by_label("{{name}}").fill("Tuna")
    page.get_by_label("{{author}}").fill("Reef")
    models = page.locator("select[name='model.name']")
    models.select_option(models.locator("option").last.get_attribute("value"))  # "Another…"
    page.locator("input[name='model.name']").fill("org/wanted")
    start = page.locator("#start")
    expect(start).to_have_text("Download org/wanted first")
    start.click()
    expect(start).not_to_contain_text("first")
    page.goto("/models")
    expect(page.get_by_role("main")).to_contain_text("org/wanted")
