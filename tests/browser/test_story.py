"""The newcomer's story, end to end, in a real browser on the demo model.

A folder is pasted and resolves; the model answers; name and author are filled in; the run starts
and its curve moves through a reload, closed pages and a killed server; before and after are
compared; the result is exported, checked and served to the real ``openai`` client.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from tests.browser.conftest import Server, Troubles
from tests.browser.looking import SHOTS

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "cache": "snapshot", "identity": "Identity", "lr": "Learning rate", "epochs": "Epochs",
        "share": "Validation split", "start": "Start training",
        "compare": "Compare before and after",
        "done": "Done", "ask": "Who are you?", "send": "Send", "export": "Export",
        "checked": "answers are identical", "serve": "Start serving",
    },
    "zh": {
        "cache": "快照", "identity": "身份", "lr": "学习率", "epochs": "训练轮数",
        "share": "验证集比例", "start": "开始训练", "compare": "对比训练前后",
        "done": "已完成", "ask": "你是谁？", "send": "发送", "export": "导出",
        "checked": "导出与训练结果一致", "serve": "开始服务",
    },
}  # fmt: skip


def hub_cache(folder: Path, model: Path) -> Path:
    """A hub-cache folder (``models--owner--name``) whose snapshot is the demo model."""
    repo = folder / "models--HuggingFaceTB--SmolLM2-135M-Instruct"
    commit = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    for file in model.iterdir():
        if file.is_file() and not file.name.startswith("."):
            (snapshot / file.name).symlink_to(file)
    return repo


def answer_of(page: Page, column: int = 0) -> str:
    """The last answer in a column, once it is whole."""
    answers = page.locator(".column").nth(column).locator(".theirs")
    expect(answers.last).to_be_visible(timeout=90_000)
    expect(page.locator("#send")).to_be_visible(timeout=120_000)
    return answers.last.inner_text()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_newcomer_goes_from_a_folder_to_a_served_model(
    demo_home: Path,
    server: Server,
    context: BrowserContext,
    page: Page,
    troubles: Troubles,
    shot: Callable[[str], Path],
    language: str,
) -> None:
    words = WORDS[language]
    context.add_cookies([{"name": "tunery_lang", "value": language, "url": server.url}])
    _a_folder_resolves(page, demo_home, words)
    _the_model_answers(page, words)
    shot(f"story-{language}-chat")
    run = _a_run_starts(page, words, shot, language)
    page = _it_goes_on_whatever_happens(page, context, server, troubles, run, words)
    _the_page_and_the_worker_see_the_same_tokens(page, server, run)
    _before_and_after(page, words)
    page.screenshot(path=SHOTS / f"story-{language}-compare.png")
    _it_is_exported_and_served(page, server, run, words)
    assert troubles.left() == []


def _a_folder_resolves(page: Page, home: Path, words: dict[str, str]) -> None:
    folder = hub_cache(home / "hub", (home / "models" / "demo").resolve())
    page.goto("/models")
    box = page.locator("#add-form input").first
    box.fill(str(folder))
    expect(page.locator("#answer")).to_contain_text(words["cache"])
    expect(page.locator("#answer")).to_contain_text("12fd25f7")


def _the_model_answers(page: Page, words: dict[str, str]) -> None:
    page.goto("/chat?a=demo")
    page.get_by_role("button", name=words["ask"]).click()
    assert answer_of(page).strip()


def _a_run_starts(
    page: Page, words: dict[str, str], shot: Callable[[str], Path], language: str
) -> str:
    page.goto("/train")
    page.get_by_role("button", name=words["identity"], exact=True).click()
    expect(page.locator("#blanks input")).to_have_count(2)
    for blank, value in {"name": "Tuna", "author": "Labs"}.items():
        page.locator(f'#blanks input[data-blank="{blank}"]').fill(value)
    values = {"optim.learning_rate": "2e-3", "train.num_epochs": "1", "evaluate.split": "0.1"}
    for path, value in values.items():
        page.locator(f'input[name="{path}"]').fill(value)
    page.locator("#more > summary").click()
    page.locator("#find").fill("replay")
    page.locator('input[name="data.replay.num_prompts"]').fill("4")
    start = page.locator("#start")
    expect(start).to_have_text(words["start"])
    shot(f"story-{language}-train")
    start.click()
    page.wait_for_url(re.compile(r"/runs/[^/]+$"))
    return page.url.rsplit("/", 1)[-1]


def _it_goes_on_whatever_happens(
    page: Page,
    context: BrowserContext,
    server: Server,
    troubles: Troubles,
    run: str,
    words: dict[str, str],
) -> Page:
    """The curve moves; a reload, closed pages and a killed server change nothing."""
    expect(page.locator("#no-points")).to_be_hidden(timeout=400_000)
    page.reload()
    expect(page.locator("#no-points")).to_be_hidden(timeout=20_000)
    page.close()
    troubles.allow("ERR_CONNECTION_RE")
    troubles.allow("ERR_INCOMPLETE_CHUNKED_ENCODING")
    other = context.new_page()
    other.goto(f"/runs/{run}")
    server.stop(signal.SIGKILL)
    server.start()
    expect(other.locator("#part-status")).to_contain_text(words["done"], timeout=300_000)
    steps = [
        event["step"]
        for line in (server.home / "runs" / run / "events.jsonl").read_text().splitlines()
        if (event := json.loads(line))["type"] == "step"
    ]
    assert steps == list(range(1, len(steps) + 1))
    return other


def _the_page_and_the_worker_see_the_same_tokens(page: Page, server: Server, run: str) -> None:
    trained = json.loads((server.home / "runs" / run / "first_batch.json").read_text())
    if trained["dataset"] != "identity":
        return  # a replayed row came first; the datasets' own tests compare every row
    writes = {"X-Tunery": "1", "Origin": server.url}
    variables = {"variables": {"name": "Tuna", "author": "Labs"}}
    filled = page.request.post(
        f"{server.url}/api/v1/datasets/identity/fill", data=variables, headers=writes
    )
    assert filled.ok, filled.text()
    answer = page.request.get(
        f"{server.url}/api/v1/datasets/{filled.json()['name']}/tokens",
        params={"row": trained["record"], "model": "demo"},
    )
    shown: dict[str, Any] = answer.json()
    assert shown["input_ids"] == trained["input_ids"]
    assert shown["trained"] == sum(trained["loss_mask"])


def _before_and_after(page: Page, words: dict[str, str]) -> None:
    page.get_by_role("link", name=words["compare"]).first.click()
    expect(page.locator(".column")).to_have_count(2)
    page.get_by_role("button", name=words["ask"]).click()
    before, after = answer_of(page, 0), answer_of(page, 1)
    assert before
    assert after
    assert before != after
    page.locator("#differences").check()
    expect(page.locator(".theirs mark").first).to_be_visible()


def _it_is_exported_and_served(page: Page, server: Server, run: str, words: dict[str, str]) -> None:
    page.goto(f"/export?run={run}")
    page.locator('input[name="to"][value="merged"]').check()
    page.locator("#start-export").click()
    expect(page.get_by_text(words["checked"])).to_be_visible(timeout=480_000)
    page.locator("#serve-model").select_option(run)
    page.locator("#start-serve").click()
    expect(page.locator("#snippets")).to_be_visible()
    made = page.request.post(
        f"{server.url}/api/v1/keys",
        data={"name": "story", "scopes": ["chat"]},
        headers={"X-Tunery": "1", "Origin": server.url},
    ).json()
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=made["key"], max_retries=0)
    assert run in [model.id for model in client.models.list().data]
    said = client.chat.completions.create(
        model=run, messages=[{"role": "user", "content": "Who are you?"}], max_tokens=24,
        temperature=0,
    )  # fmt: skip
    assert said.choices[0].message.content
    assert said.usage is not None
    assert said.usage.completion_tokens > 0
