"""Hostile text stays text: in datasets, runs, chats and prompts, in a real browser.

``page`` fails on any dialog, console error (a blocked script says one) and foreign request.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import Troubles
from tests.browser.test_every_page import finished_job

from tunery.config.config import Config
from tunery.runs.events import EventWriter
from tunery.runs.folder import create
from tunery.services import runs
from tunery.services.chat import _stored
from tunery.state.database import database
from tunery.workers.folder import write_json

PAYLOADS = (
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg/onload=window.hacked=1>",
    "<svg><script>window.hacked=1</script></svg>",
    "<iframe src=javascript:window.hacked=1></iframe>",
    "<a href=javascript:window.hacked=1 autofocus onfocus=window.hacked=1>x</a>",
    "<details open ontoggle=window.hacked=1>",
    "<style>@import 'http://evil.example/x.css'</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<body onload=window.hacked=1>",
    "<math><mtext></mtext><mglyph><style></math><img src onerror=window.hacked=1>",
    "![x](http://evil.example/leak.png)",
    "[x](javascript:window.hacked=1)",
    "{{7*7}} {% raw %}{{config}}",
    "\"'><img src=x onerror=window.hacked=1>",
    "' onmouseover='window.hacked=1",
    "<!--><img src=x onerror=window.hacked=1>-->",
    "$\\href{javascript:window.hacked=1}{x}$",
    "\u202egnp.exe\u200b\u0007",
)
TEXT = "\n".join(PAYLOADS)


@pytest.fixture
def planted(home: Path) -> dict[str, str]:
    """The payloads, wherever a page shows somebody's text."""
    rows = home / "uploads" / "bad.jsonl"
    rows.parent.mkdir(parents=True)
    rows.write_text(
        "".join(json.dumps({"instruction": text, "output": text}) + "\n" for text in PAYLOADS)
    )
    chat = _stored.new_chat(_stored.ChatSettings(columns=("demo", PAYLOADS[2]), system=TEXT))
    _stored.store_question(chat.id, TEXT)
    facts = {"reason": "stop", "thought": TEXT, "prompt_text": TEXT, "num_tokens": 3}
    _stored.keep(chat.id, 0, "demo", _stored.Answer(TEXT, facts))
    _stored.keep(chat.id, 0, PAYLOADS[2], _stored.Answer("", {"error": TEXT, "fix": TEXT}))
    with database().write() as db:
        db.execute("UPDATE chats SET title = ?", (PAYLOADS[1],))
    return {"chat": chat.id, "rows": str(rows)}


def untouched(page: Page) -> None:
    """No payload became an element or ran."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("iframe, img[src='x'], a[href^='javascript:']").count() == 0


def test_a_chat_shows_payloads_as_text(planted: dict[str, str], page: Page) -> None:
    page.goto(f"/chat?id={planted['chat']}")
    expect(page.locator(".mine").first).to_contain_text("<script>window.hacked=1</script>")
    expect(page.locator(".theirs").first).to_contain_text("<svg/onload=window.hacked=1>")
    expect(page.locator(".note.bad").first).to_contain_text("<iframe src=javascript:")
    page.locator("#differences").check()
    page.locator(".thought summary").first.click()
    expect(page.locator(".thought").first).to_contain_text("<body onload=")
    page.get_by_role("button", name="Raw prompt").first.click()
    expect(page.locator("#prompt-text")).to_contain_text("<details open ontoggle")
    page.keyboard.press("Escape")
    page.locator("#open-chats").click()
    expect(page.locator("#chat-list")).to_contain_text("</script><script>")
    untouched(page)


def test_a_dataset_shows_payloads_as_text(
    planted: dict[str, str], page: Page, troubles: Troubles
) -> None:
    troubles.allow("422")  # the demo model is not here, so there are no tokens to show
    page.goto("/datasets")
    headers = {"X-Tunery": "1", "Origin": page.url.removesuffix("/datasets")}
    made = page.request.post(
        f"{headers['Origin']}/api/v1/datasets",
        data={"name": "bad", "source": planted["rows"]},
        headers=headers,
    )
    assert made.ok, made.text()
    for tab in ("", "?tab=rows", "?tab=checks"):
        page.goto(f"/datasets/bad{tab}")
        expect(page.locator("main")).to_contain_text("bad")
        untouched(page)
    page.goto("/datasets/bad?tab=rows")
    expect(page.locator("main")).to_contain_text("<img src=x onerror=window.hacked=1>")
    untouched(page)


def planted_run(name: str) -> None:
    """A run whose every text is a payload."""
    folder = create(name, Config(), {"tunery": TEXT, "versions": {PAYLOADS[0]: PAYLOADS[2]}})
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        writer.write("plan", num_steps=3, trained_parameters=1, total_parameters=2, device=TEXT)
        writer.write("warning", code="W000", text=TEXT)
        for stage, step in (("before", 0), ("eval", 2), ("after", 3)):
            writer.write("sample", step=step, stage=stage, prompt=TEXT, answer=TEXT + str(step))
        for step in range(1, 4):
            writer.write("step", step=step, epoch=step / 3, loss=2 / step, learning_rate=1e-3)
        writer.write(
            "eval", step=3, loss=0.5, best=True, worst=[{"row": 1, "text": TEXT, "loss": 9}]
        )
        writer.write("anomaly", step=2, reason=TEXT)
        writer.write("status", status="failed", reason=TEXT, fix=TEXT)
    folder.worker_log.write_text(TEXT + "\nerror: " + TEXT)
    write_json(
        folder.first_batch_file,
        {"row": 1, "dataset": PAYLOADS[0], "input_ids": [1, 2], "loss_mask": [False, True],
         "trained_ids": [2], "tokens": [PAYLOADS[0], PAYLOADS[2]]},
    )  # fmt: skip
    runs.change_marks(name, title=PAYLOADS[1], tags=[PAYLOADS[10][:30], PAYLOADS[0]], note=TEXT)


def test_runs_and_their_comparison_show_payloads_as_text(page: Page) -> None:
    for name in ("a", "b"):
        planted_run(name)
    page.goto("/runs")
    expect(page.locator('tr[data-row="a"] .tag').last).to_have_text(PAYLOADS[0])
    untouched(page)
    page.goto("/runs/a")
    expect(page.locator("#title")).to_have_text(PAYLOADS[1])
    expect(page.get_by_role("alert", name="Why it ended")).to_contain_text(PAYLOADS[2])
    page.get_by_text("End of the log").click()
    expect(page.get_by_label("Note", exact=True)).to_have_value(TEXT)
    for tab, said in (("samples", PAYLOADS[3]), ("log", PAYLOADS[5]), ("settings", "Environment")):
        page.goto(f"/runs/a?tab={tab}")
        expect(page.locator(f'[data-panel="{tab}"]')).to_contain_text(said)
        untouched(page)
    page.goto("/runs/a?tab=data")
    expect(page.locator(".toks")).to_contain_text(PAYLOADS[2])
    untouched(page)
    page.goto("/compare?ids=a,b")
    expect(page.locator("main")).to_contain_text(PAYLOADS[3])
    untouched(page)


def test_an_evaluation_shows_payloads_as_text(page: Page) -> None:
    name = PAYLOADS[0]
    row = {"prompt": TEXT, "expected": TEXT, "answers": {name: TEXT}, "losses": {name: 3.0}}
    figures = {"loss": 2.0, "perplexity": 7.4, "rouge_l": 0.3, "exact": 0.2, "num_rows": 1}
    result = {"models": [{"name": name, **figures}], "rows": [row]}
    job = finished_job("evaluate", TEXT, result)
    page.goto(f"/evaluate?job={job}")
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    expect(page.locator("#rows")).to_contain_text(PAYLOADS[2])
    untouched(page)


def test_addresses_and_names_of_folders_show_as_text(
    home: Path, page: Page, troubles: Troubles
) -> None:
    troubles.allow("404")
    troubles.allow("422")
    folder = home / "models" / PAYLOADS[2].replace("/", "_")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": TEXT, "architectures": [TEXT]}))
    page.goto("/models")
    page.get_by_label("Hub name, link, or a folder on this machine").fill(str(folder))
    expect(page.locator("main")).to_contain_text("<img src=x onerror=window.hacked=1>")
    untouched(page)
    for address in (
        "/runs/%3Cimg%20src=x%20onerror=window.hacked=1%3E",
        "/datasets/%3Csvg%20onload=window.hacked=1%3E",
        "/chat?id=%3Csvg%20onload=window.hacked=1%3E&a=%22%3E%3Cimg%20src=x%20onerror=window.hacked=1%3E",
        "/train?from=%3Cimg%20src=x%20onerror=window.hacked=1%3E",
        "/export?model=%22%3E%3Cimg%20src=x%20onerror=window.hacked=1%3E",
        "/compare?ids=%3Cimg%20src=x%20onerror=window.hacked=1%3E,b",
    ):
        page.goto(address)
        expect(page.locator("main")).to_be_visible()
        untouched(page)
