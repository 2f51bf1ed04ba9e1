"""Train in a browser: the form, its errors, blanks, an hour offline, and a real start."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.looking import problems
from tests.chat_model import make_chat_model
from tests.train import tiny


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
    page.get_by_label("Run name").fill("the-tuna-1")
    page.reload()
    expect(page.get_by_label("Run name")).to_have_value("the-tuna-1")
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
    expect(page.locator("#draft-state")).to_have_text("Offline: saved in this browser")
    page.context.set_offline(False)
    expect(page.locator("#draft-state")).to_have_text("Draft saved")
    page.reload()
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("7")


def test_an_untouched_form_is_neutral_and_an_own_file_is_entered_by_its_path(
    model: Path, server, page: Page, shot
) -> None:
    own = model / "mine" / "own.jsonl"
    own.parent.mkdir()
    own.write_text('{"instruction": "q", "output": "a"}\n' * 30)
    page.goto(f"{server.url}/train")
    start, state = page.locator("#start"), page.locator("#draft-state")
    expect(start).to_have_text("Choose a dataset")
    expect(state).to_have_text("Draft saved")
    datasets = page.get_by_label("Datasets", exact=True).first
    expect(datasets).not_to_have_attribute("aria-invalid", "true")
    empty = page.get_by_text("there is nothing to train on")
    expect(empty).to_have_count(0)
    start.click()
    expect(datasets).to_be_focused()
    expect(empty).to_have_count(1)
    expect(page.get_by_role("button", name="Datasets = identity")).to_have_count(1)
    expect(page.get_by_role("link", name="Add a dataset")).to_be_visible()
    shot("train-no-dataset")
    datasets.select_option(label="Another file or folder…")
    path = page.get_by_label("Another file or folder", exact=True)
    path.fill(str(own))
    path.press("Enter")
    expect(page.locator(".names").first).to_contain_text("own.jsonl")
    expect(start).to_have_text("Start training")
    expect(state).to_have_text("Draft saved")


def test_only_the_settings_of_the_chosen_method_are_shown(model: Path, server, page: Page):
    page.goto(f"{server.url}/train")
    page.get_by_text("More settings", exact=True).click()
    ranks = page.get_by_label("Rank", exact=True)  # of every adapter that has one
    expect(ranks.filter(visible=True)).to_have_count(1)
    page.get_by_label("Adapter", exact=True).select_option(label="Freeze (last layers)")
    expect(page.get_by_label("Trainable layers", exact=True)).to_be_visible()
    expect(ranks.filter(visible=True)).to_have_count(0)
    page.get_by_label("Search settings").fill("warmup ratio")
    expect(page.get_by_label("Warmup ratio", exact=True)).to_be_visible()
    expect(page.get_by_label("Seed", exact=True)).to_be_hidden()


def test_a_field_is_validated_at_once_while_the_plan_takes_its_time(
    model: Path, server, page: Page
) -> None:
    page.route("**/api/v1/drafts/*/plan", lambda route: None)  # never answered
    page.goto(f"{server.url}/train")
    page.get_by_role("button", name="Identity", exact=True).click()
    page.get_by_label("{{name}}").fill("Tuna")
    page.get_by_label("{{author}}").fill("Reef")
    rate = page.get_by_label("Learning rate", exact=True)
    rate.fill("abc")
    expect(rate).to_have_attribute("aria-invalid", "true")
    with page.expect_response(lambda answer: answer.request.method == "PUT") as told:
        rate.fill("1e-4")
    assert told.value.json()["plan"] is None
    expect(rate).not_to_have_attribute("aria-invalid", "true", timeout=2000)
    expect(page.locator("#p-updates")).to_have_text("…")
    page.unroute_all(behavior="ignoreErrors")


def test_a_preset_keeps_the_dataset_and_a_pasted_model_folder(
    model: Path, demo_model: Path, server, page: Page
) -> None:
    folder = model / "my-model"
    shutil.copytree(demo_model, folder, symlinks=True)
    own = model / "mine" / "own.jsonl"
    own.parent.mkdir()
    own.write_text('{"instruction": "q", "output": "a"}\n' * 30)
    page.goto(f"{server.url}/train?dataset={own}")
    page.get_by_label("Model", exact=True).select_option(label="Another name or folder…")
    page.get_by_label("Model", exact=True).fill(str(folder))
    expect(page.locator("#draft-state")).to_have_text("Draft saved")
    for name in ("Identity", "LoRA"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("button", name=name, exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        expect(page.locator("#draft-state")).to_have_text("Draft saved")
        expect(page.locator(".names").first).to_contain_text("own.jsonl")
        expect(page.get_by_label("Model", exact=True)).to_have_value(str(folder))
    page.reload()
    page.get_by_label("Model", exact=True).select_option("demo")
    expect(page.locator("#draft-state")).to_have_text("Draft saved")
    page.reload()
    page.get_by_label("Model", exact=True).select_option(str(folder))
    expect(page.locator("#draft-state")).to_have_text("Draft saved")


def test_other_data_with_a_preset_that_brings_its_own_is_said_and_cleared_up(
    model: Path, server, page: Page, shot
) -> None:
    page.goto(f"{server.url}/train?preset=identity")
    page.get_by_label("Datasets", exact=True).select_option("instructions")
    notes = page.locator("#notes")
    expect(notes).to_contain_text("identity is trained together with instructions")
    shot("train-other-data")
    page.get_by_role("button", name="Only instructions, with the preset LoRA").click()
    expect(page.locator("[data-preset=lora]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".names").first).not_to_contain_text("identity")
    expect(page.locator("#blanks")).to_be_hidden()
    expect(notes).not_to_contain_text("Identity")
    page.get_by_role("button", name="Identity", exact=True).click()
    expect(notes).to_contain_text("is made for identity")
    page.get_by_role("button", name="Use the preset LoRA").click()
    expect(page.locator("#draft-state")).to_have_text("Draft saved")
    expect(notes).not_to_contain_text("is made for identity")


def test_a_name_that_no_run_can_have_is_refused_while_it_is_typed(
    model: Path, server, page: Page
) -> None:
    page.goto(f"{server.url}/train?preset=identity")
    name = page.get_by_label("Run name")
    for wrong in ("My Run", "Tuna", "a b", "中文"):
        name.fill(wrong)
        expect(name).to_have_attribute("aria-invalid", "true")
        expect(page.locator('[data-field="run-name"] .err')).to_contain_text(
            "Use lowercase letters"
        )
    name.fill("my-run.2")
    expect(name).not_to_have_attribute("aria-invalid", "true")


def test_measuring_tells_how_far_it_is_and_can_be_cancelled(
    home: Path, server, page: Page, shot
) -> None:
    tiny_model = make_chat_model(home / "mine" / "tiny")
    data = tiny.chats(home / "mine" / "chats.jsonl")
    page.goto(f"{server.url}/train?model={tiny_model}&dataset={data}")
    measure = page.get_by_role("button", name="Measure", exact=True)
    expect(measure).to_be_enabled()
    measure.click()
    cancel = page.get_by_role("button", name="Cancel: Measuring")
    expect(cancel).to_be_visible()
    expect(measure).to_be_disabled()
    cancel.click()
    expect(cancel).to_have_count(0)
    expect(measure).to_be_enabled()
    measure.click()
    expect(page.locator("#measuring")).to_contain_text("of 5")
    shot("train-measuring")
    expect(page.locator("#measured")).to_have_text("Measured.")
    expect(page.locator("#measuring")).to_be_empty()
