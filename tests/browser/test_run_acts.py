"""What is done to runs in a browser: a queue in order, going on after a death, tags, a note."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.browser.conftest import Server
from tests.chat_model import make_chat_model
from tests.steps import step_history
from tests.train import tiny
from tests.waiting import until
from tests.web.test_runs_api import write_run

from tunery.config.config import Config
from tunery.runs import manifest, queue, verify
from tunery.runs.folder import RunFolder, create
from tunery.runs.status import derive
from tunery.services import notify, runs
from tunery.services.runs import _marks
from tunery.workers import local
from tunery.workers.folder import write_json
from tunery.workers.process import WorkerFile, boot_id, start_time

FAKE = Path(__file__).parents[1] / "fake_worker.py"


def started(name: str, how: str) -> RunFolder:
    """A run with a small worker of its own."""
    folder = create(name, Config(), {})
    local.start(folder, argv=[sys.executable, str(FAKE), str(folder.path), how])
    return folder


def test_a_queue_of_three_is_put_in_order_and_runs_in_it(server: Server, page: Page) -> None:
    one = started("one", "wait")
    until(lambda: derive(one).status == "running")
    waiting = []
    for name in ("two", "three"):
        waiting.append(started(name, "finish"))
        until(lambda name=name: name in [each.run for each in queue.waiting()])
    page.goto("/runs")
    entries = page.locator(".queue li")
    expect(entries).to_have_count(2)
    expect(entries.first).to_contain_text("two")
    page.get_by_role("button", name="Move three up").click()
    expect(entries.first).to_contain_text("three")
    expect(page.get_by_role("button", name="Move three up")).to_be_disabled()
    page.goto("/runs/one")
    page.locator("#part-actions summary", has_text="Stop").click()
    page.get_by_role("button", name="Save and stop").click()
    expect(page.locator("#part-status")).to_contain_text("Stopped")
    page.goto("/runs")
    for name in ("two", "three"):
        row = page.locator(f'tr[data-row="{name}"]')
        expect(row).to_have_attribute("data-status", "done")
    expect(entries).to_have_count(0)
    ends = {folder.name: _began(folder) for folder in waiting}
    assert ends["three"] < ends["two"]


def _began(folder: RunFolder) -> float:
    lines = [e for e in tiny.events(folder.path) if e.get("status") == "running"]
    return float(lines[0]["time"])


def test_a_killed_run_is_explained_and_goes_on_with_a_click(
    home: Path, server: Server, page: Page
) -> None:
    model = make_chat_model(home / "models" / "tiny")
    data = tiny.chats(home / "chats.jsonl")
    folder = tiny.prepared(
        "killed", model, data, train={"num_epochs": 30}, evaluate={"every": "never"}
    )
    runs.start(folder)
    until(lambda: manifest.list_checkpoints(folder.checkpoints_dir))
    page.goto("/runs/killed")
    os.kill(WorkerFile(folder).read()["pid"], signal.SIGKILL)
    panel = page.get_by_role("alert", name="Why it ended")
    expect(panel).to_contain_text("signal 9")
    panel.get_by_role("button", name=re.compile("^Resume from step")).click()
    expect(page.locator("#part-status")).to_contain_text("Done")
    expect(panel).to_have_count(0)
    taken = [event["step"] for event in step_history(tiny.events(folder.path))]
    assert taken == list(range(1, len(taken) + 1))
    local.wait_until_gone(folder, 60)  # the worker's parent ends after it
    assert [found.text for found in verify.check_run(folder) if not found.ok] == []


def test_a_run_that_fails_while_one_looks_says_why(server: Server, page: Page) -> None:
    started("bad", "fail")
    page.goto("/runs/bad")
    panel = page.get_by_role("alert", name="Why it ended")
    expect(panel).to_contain_text("loss is nan")
    expect(panel).to_contain_text("lower the rate")
    panel.get_by_role("link", name="Change settings").click()
    expect(page).to_have_url(re.compile("/train"))


def test_tags_and_a_note_are_kept_and_found(page: Page) -> None:
    write_run("good")
    page.goto("/runs/good")
    page.get_by_label("Tags", exact=True).fill("baseline, 试验")
    page.get_by_label("Note", exact=True).fill("Lower the rate next time.\nSecond line.")
    page.goto("/runs")  # at once: leaving the page must not lose it
    until(lambda: _marks.marks_of("good").tags == ("baseline", "试验"))
    page.reload()
    row = page.locator('tr[data-row="good"]')
    expect(row.locator(".tag")).to_have_text(["baseline", "试验"])
    page.goto("/runs/good")
    expect(page.get_by_label("Note", exact=True)).to_have_value(
        "Lower the rate next time.\nSecond line."
    )
    page.get_by_label("Tags", exact=True).fill("")
    page.get_by_label("Tags", exact=True).press("Enter")
    expect(page.locator("#marks-state")).to_have_text("Saved.")
    page.reload()
    expect(page.get_by_label("Tags", exact=True)).to_have_value("")


def test_the_seconds_to_a_power_off_go_down(page: Page) -> None:
    write_run("good")
    who = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
    write_json(notify.countdown_file(), {**who, "run": "good", "ends": time.monotonic() + 1000})
    page.goto("/runs")
    strip = page.locator("#countdown")

    def left() -> int:
        found = re.search(r"in (\d+) s", strip.inner_text())
        return int(found[1]) if found else 10_000

    until(lambda: left() <= 1000)
    first = left()
    until(lambda: left() <= first - 4)


def more(page: Page, name: str) -> None:
    page.locator("#part-actions summary", has_text="More").click()
    page.locator("#part-actions .menubox").get_by_text(name, exact=True).click()


def test_a_run_is_renamed_downloaded_deleted_and_put_back_from_its_header(page: Page) -> None:
    folder = write_run("good")
    page.goto("/runs/good")
    more(page, "Rename")
    page.get_by_label("Run name").fill("My best run")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="My best run")).to_be_visible()
    more(page, "Tags and note")
    expect(page.get_by_label("Tags", exact=True)).to_be_focused()
    with page.expect_download() as coming:
        more(page, "Download")
    assert coming.value.suggested_filename == "good.zip"
    with zipfile.ZipFile(coming.value.path()) as packed:
        assert "good/metrics.csv" in packed.namelist()
    more(page, "Delete")
    question = page.get_by_role("group", name="Delete My best run?")
    expect(question).to_be_visible()
    assert folder.path.is_dir()
    question.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile("/runs$"))
    assert not folder.path.exists()
    page.get_by_role("button", name="Undo").click()
    expect(page).to_have_url(re.compile("/runs/good$"))
    expect(page.get_by_role("heading", name="My best run")).to_be_visible()
    assert folder.path.is_dir()


def test_a_run_that_goes_on_offers_no_deletion(server: Server, page: Page) -> None:
    one = started("one", "wait")
    until(lambda: derive(one).status == "running")
    page.goto("/runs/one")
    page.locator("#part-actions summary", has_text="More").click()
    expect(page.locator("#part-actions .menubox").get_by_text("Rename")).to_be_visible()
    expect(page.locator("[data-delete]")).to_have_count(0)
