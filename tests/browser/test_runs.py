"""Runs, Run and Compare in a real browser: live curves, acts, looks."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.browser.conftest import Server
from tests.browser.looking import NARROW, check_page
from tests.web.test_runs_api import write_run

from tunery.config.config import Config
from tunery.measures import Measure
from tunery.runs import manifest
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.runs.status import derive
from tunery.workers import local
from tunery.workers.folder import write_json
from tunery.workers.process import WorkerFile

FAKE = Path(__file__).parents[1] / "fake_worker.py"


def working(name: str) -> RunFolder:
    """A run that this very process works on, as far as anybody can see."""
    folder = create(name, Config(), {"tunery": "0"})
    WorkerFile(folder).write()
    return folder


def steps(writer: EventWriter, first: int, last: int) -> None:
    noise = random.Random(first)
    for step in range(first, last + 1):
        loss = 3 / (1 + step / 40) + noise.random() / 9
        writer.write("step", step=step, epoch=step / 100, loss=loss,
                     learning_rate=1e-4, grad_norm=noise.random(), tokens=9, seconds=0.1,
                     tokens_per_second=90.0, eta_seconds=1.0, memory_bytes=1 << 30)  # fmt: skip


def test_the_table_is_readable_in_every_language_theme_and_width(page: Page) -> None:
    write_run("good", steps=80)
    write_run("bad", status="failed")
    check_page(page, "/runs", name="runs")


def test_on_a_phone_every_figure_of_a_run_is_on_the_screen(page: Page) -> None:
    write_run("a-long-name-of-a-run-as-people-give-them-2026-11-27", steps=80)
    write_run("bad", status="failed")
    page.set_viewport_size(NARROW)
    page.goto("/runs")
    rows = page.get_by_role("table", name="Runs").locator("tbody tr")
    expect(rows).to_have_count(2)
    assert page.locator(".scroll").evaluate("each => each.scrollWidth - each.clientWidth") <= 0
    first = rows.filter(has_text="a-long-name")
    for label in ("Last loss", "Best val.", "LR", "Epochs", "Time", "Started"):
        cell = first.locator(f"[data-label='{label}']")
        expect(cell).to_be_visible()
        found = cell.bounding_box()
        assert found is not None
        assert 0 <= found["x"] <= found["x"] + found["width"] <= NARROW["width"]
    page.get_by_role("button", name="Last loss").click()
    expect(page).to_have_url(re.compile("sort=-loss"))


def test_a_run_is_readable_in_every_language_theme_and_width(page: Page) -> None:
    write_run("good", steps=80)
    check_page(page, "/runs/good", name="run")


def test_a_failed_run_is_readable(page: Page) -> None:
    write_run("bad", steps=40, status="failed")
    check_page(page, "/runs/bad", name="run-failed")


def prefer(name: str) -> RunFolder:
    """A finished run of a method that has measures of its own."""
    config = Config.model_validate({"method": {"type": "dpo"}})
    noise = random.Random(name)
    own = [measure.name for measure in config.method.measures[1:]]
    folder = create(name, config, {"tunery": "0"})
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        writer.write("plan", num_steps=60, trained_parameters=1, total_parameters=2,
                     measures=[measure.as_dict() for measure in config.method.measures],
                     best=config.method.best, loss_per=config.method.unit)  # fmt: skip
        for step in range(1, 61):
            told = {one: min(1.0, step / 60 + noise.random() / 5) for one in own}
            writer.write("step", step=step, epoch=step / 20, loss=0.69 - step / 200, tokens=9,
                         learning_rate=1e-5, grad_norm=noise.random(), seconds=0.1,
                         tokens_per_second=90.0, memory_bytes=1 << 30, measures=told)  # fmt: skip
            if step % 20 == 0:
                writer.write("eval", step=step, loss=0.7 - step / 300, best=True, measures=told)
        writer.write("status", status="finished")
    return folder


def test_a_run_has_a_chart_for_each_measure_of_its_own(page: Page) -> None:
    prefer("pairs")
    check_page(page, "/runs/pairs", name="run-measures")
    page.goto("/runs/pairs")
    expect(page.locator("#measures figure:visible")).to_have_count(4)
    expect(page.get_by_role("img", name="Reward accuracy: Step 1 to 60")).to_be_visible()
    table = page.get_by_role("table", name="Evaluations")
    expect(table.get_by_role("columnheader", name="Reward margin")).to_be_visible()
    expect(table.get_by_role("row")).to_have_count(4)
    prefer("others")
    page.goto("/compare?ids=pairs,others")
    page.locator("#what").select_option(label="Validation reward accuracy")
    expect(page.get_by_role("img", name=re.compile("Curves of the runs"))).to_be_visible()


def test_a_run_that_is_not_prepared_yet_gets_its_charts_when_it_begins(page: Page) -> None:
    folder = working("early")
    page.goto("/runs/early")
    expect(page.locator("#measures")).to_be_hidden()
    measure = Measure("fun", "Reward margin")
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        writer.write("plan", num_steps=9, trained_parameters=1, total_parameters=2,
                     measures=[measure.as_dict()])  # fmt: skip
        for step in range(1, 6):
            writer.write("step", step=step, epoch=step / 9, loss=1.0, learning_rate=1e-4,
                         tokens=9, seconds=0.1, measures={"fun": step / 9})  # fmt: skip
        expect(page.get_by_role("img", name="Reward margin: Step 1 to 5")).to_be_visible()


def test_a_chart_with_one_point_says_so_by_itself_and_its_axes_tell_values_apart(
    page: Page, shot
) -> None:
    folder = working("short")
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        writer.write("plan", num_steps=3, trained_parameters=1, total_parameters=2)
        writer.write("eval", step=0, loss=3.388, best=True)
        page.goto("/runs/short")
        chart = page.locator('[data-chart="loss"] .chart')
        expect(chart.locator("canvas")).to_be_visible()
        expect(page.get_by_text("Charts appear after the first step.")).to_be_hidden()
        expect(chart).to_have_attribute("data-to", "3")
        shot("run-one-point")
    texts = page.evaluate(
        """async () => {
          const { tickTexts, shortNumber } = await import(
            document.querySelector("script[src*='pages/run.js']").src
              .replace("pages/run.js", "chart.js"));
          const both = [[10.7902, 10.7904, 10.7906], [3.2, 3.25, 3.3]];
          return both.map((ticks) => tickTexts(ticks, shortNumber));
        }"""
    )
    assert texts == [["10.7902", "10.7904", "10.7906"], ["3.2", "3.25", "3.3"]]


def test_a_comparison_is_readable(page: Page) -> None:
    write_run("a", steps=80)
    write_run("b", steps=40)
    check_page(page, "/compare?ids=a,b", name="compare")


def test_the_curve_moves_and_a_reload_shows_the_same(page: Page) -> None:
    folder = working("mine")
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        writer.write("plan", num_steps=300, trained_parameters=1, total_parameters=2)
        steps(writer, 1, 50)
        page.goto("/runs/mine")
        chart = page.get_by_role("img", name="Loss: Step 1 to 50")
        expect(chart).to_be_visible()
        steps(writer, 51, 120)
        expect(page.get_by_role("img", name="Loss: Step 1 to 120")).to_be_visible()
        expect(page.locator("#part-strip")).to_contain_text("120")
        writer.write("eval", step=120, loss=0.5, best=True)
        steps(writer, 121, 700)  # more at once than a message carries
        expect(page.get_by_role("img", name="Loss: Step 1 to 700")).to_be_visible()
        page.reload()
        expect(page.get_by_role("img", name="Loss: Step 1 to 700")).to_be_visible()
    write_json(folder.worker_file, {})


def test_a_run_started_elsewhere_appears_and_is_deleted_and_undone(page: Page) -> None:
    write_run("first")
    page.goto("/runs")
    expect(page.get_by_role("link", name="first", exact=True)).to_be_visible()
    write_run("terminal")
    link = page.get_by_role("link", name="terminal", exact=True)
    expect(link).to_be_visible()
    page.get_by_role("checkbox", name="Select terminal").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("group", name="Delete terminal?").get_by_role("button", name="Delete").click()
    expect(link).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(link).to_be_visible()


def test_tabs_table_axis_and_rename(page: Page) -> None:
    write_run("good", steps=60)
    page.goto("/runs/good")
    page.get_by_label("X axis").select_option("tokens")
    expect(page.get_by_role("img", name="Loss: Tokens 10 to 600")).to_be_visible()
    page.locator(".chartmenu summary").click()
    page.get_by_role("button", name="Show as table").click()
    expect(page.get_by_role("region", name="Loss as a table").get_by_role("row")).to_have_count(61)
    page.get_by_role("link", name="Samples").click()
    expect(page.locator(".answer mark").first).to_have_text("Tuna")
    page.get_by_role("link", name="Log", exact=True).click()
    expect(page.get_by_role("log")).to_contain_text("ValueError: three")
    page.get_by_role("button", name="good").click()
    page.get_by_label("Run name").fill("The good one")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="The good one")).to_be_visible()


def test_a_run_is_stopped_and_resumed_from_the_page(page: Page, server: Server) -> None:
    folder = create("mine", Config(), {})
    local.start(folder, argv=[sys.executable, str(FAKE), str(folder.path), "wait"])
    page.goto("/runs/mine")
    expect(page.locator("#part-status")).to_contain_text("Running")
    page.locator("#part-actions summary", has_text="Stop").click()
    page.get_by_role("button", name="Save and stop").click()
    expect(page.locator("#part-status")).to_contain_text("Stopped")
    assert derive(folder).status == "stopped"


def test_two_runs_are_chosen_and_compared_by_keyboard(page: Page) -> None:
    write_run("a", steps=60)
    write_run("b", steps=30)
    page.goto("/runs")
    expect(page.get_by_role("link", name="a", exact=True)).to_be_visible()
    for key in ("j", "x", "j", "x", "c"):
        page.keyboard.press(key)
    expect(page).to_have_url(re.compile(r"/compare\?ids="))
    expect(page.get_by_role("img", name="Curves of the runs: Epoch")).to_be_visible()


def test_a_checkpoint_is_deleted_in_place(page: Page) -> None:
    folder = write_run("good", status="stopped", steps=4)
    for step in (1, 2, 4):
        place = folder.checkpoint_dir(step)
        place.mkdir()
        facts = {"config_hash": "c", "data_hash": "d", "run": "good", "versions": {}}
        manifest.write_manifest(place, step=step, **facts)
    page.goto("/runs/good?tab=checkpoints")
    table = page.locator("#part-checkpoints")
    expect(table.get_by_role("button", name="Delete")).to_have_count(2)
    table.get_by_role("row", name=re.compile("^2 ")).get_by_role("button", name="Delete").click()
    expect(page.locator(".ask")).to_contain_text("Delete the checkpoint of step 2?")
    page.locator(".ask").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Deleted; ")).to_be_visible()
    expect(table.get_by_role("button", name="Delete")).to_have_count(1)
    assert not folder.checkpoint_dir(2).exists()
