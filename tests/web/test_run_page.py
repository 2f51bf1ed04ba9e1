"""The page of a run and the table of runs, as HTML, in every state and both languages."""

from __future__ import annotations

import os
from importlib import resources

import pytest
from tests.web.test_runs_api import write_run

from tunery.config.config import Config
from tunery.runs.events import EventWriter
from tunery.runs.folder import create
from tunery.services.runs import _list, outcome
from tunery.web import formats
from tunery.workers.process import try_lock


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("status", ["finished", "failed", "stopped", ""])
def test_a_run_is_drawn_in_every_state(client, lang, status) -> None:
    write_run("good", status=status)
    client.cookies.set("tunery_lang", lang)
    for path in ("/runs/good", "/runs/good/-/parts", "/runs", "/runs/-/parts",
                 "/runs/good?tab=data", "/runs/good?tab=nonsense"):  # fmt: skip
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "style=" not in answer.text
        assert "onclick" not in answer.text


def test_a_prepared_run_without_a_word_is_drawn(client) -> None:
    create("new", Config(), {})
    assert client.get("/runs/new").status_code == 200


def test_no_runs_yet_says_so(client) -> None:
    assert "No runs yet." in client.get("/runs").text


def test_a_run_that_is_not_there_is_404(client) -> None:
    assert client.get("/runs/nobody").status_code == 404


def test_a_failed_run_says_why_with_its_remedies(client) -> None:
    write_run("bad", status="failed")
    text = client.get("/runs/bad").text
    assert "Run bad failed at step 20: loss is nan" in text
    assert "Lower the rate." in text
    for remedy in ("Change settings", "Copy report", "Full log", "ValueError: three"):
        assert remedy in text


def test_text_of_models_and_people_is_only_ever_text(client) -> None:
    evil = "<script>alert(1)</script>"
    folder = write_run("good")
    with EventWriter(folder.events_file) as writer:
        writer.write("sample", step=20, stage="after", prompt=evil, answer=evil)
        writer.write("warning", code="x", text=evil)
        writer.write("status", status="failed", reason=evil, fix=evil)
    folder.worker_log.write_text(evil + "\n")
    client.patch("/api/v1/runs/good", json={"title": evil, "tags": [evil[:30]]})
    for path in ("/runs", "/runs/good"):
        text = client.get(path).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


def test_pages_are_small(client) -> None:
    for number in range(8):
        write_run(f"run-{number}", steps=200)
    assert len(client.get("/runs").content) < 60_000
    assert len(client.get("/runs/run-1").content) < 60_000


def test_the_page_shows_a_run_as_it_is_now_and_not_as_the_list_kept_it(
    client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_list, "FRESH_SECONDS", 1e9)  # the list looks again at no run
    folder = create("mine", Config(), {})
    lock = try_lock(folder.lock_file)  # somebody works on it
    assert lock is not None
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        writer.write("plan", num_steps=300, trained_parameters=1, total_parameters=2)
        for step in (50, 120):
            writer.write("step", step=step, epoch=1.0, loss=0.5, learning_rate=1e-3)
            assert f"{step}" in client.get("/runs/mine/-/parts").text
    os.close(lock)


def test_a_worker_that_starts_is_a_phase_until_it_marks_its_first(client) -> None:
    folder = create("mine", Config(), {})
    lock = try_lock(folder.lock_file)  # somebody works on it
    assert lock is not None
    silent = client.get("/runs/mine/-/parts").text
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        running = client.get("/runs/mine/-/parts").text
        writer.write("phase", phase="data", state="begin")
        reading = client.get("/runs/mine/-/parts").text
    os.close(lock)
    for text in (silent, running):
        marked = text.partition('aria-current="step"')[2].partition("</li>")[0]
        assert "Starting the worker" in marked
        assert "data-since" in marked
        assert "<b>–</b>" in text.partition("<span>Step</span>")[2][:40]
    assert "Starting the worker" not in reading
    assert reading.count('aria-current="step"') == 1


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_settings_and_environment_are_in_words_without_empty_values(client, lang) -> None:
    made = {
        "created": "2026-11-28T10:07:07+00:00",
        "rows": {"read": 54, "used": 54, "quarantined": 0, "filtered": {}},
        "model": {"name": "demo", "kind": "demo", "base": None, "revision": None, "notes": [],
                  "num_parameters": 134515008, "size_bytes": 269060552, "context_length": 8192},
        "hardware": {"cores": 2, "memory_bytes": 25276063744},
    }  # fmt: skip
    config = Config.model_validate(
        {"data": {"train": ["heron", "two*2"]}, "train": {"max_steps": 3}}
    )
    create("mine", config, made)
    client.cookies.set("tunery_lang", lang)
    text = client.get("/runs/mine?tab=settings").text
    assert "--data.train &#39;heron,two*2&#39; --train.max_steps 3" in text
    panel = text.partition('data-panel="settings"')[2].partition('data-panel="data"')[0]
    table, _, rest = panel.partition("YAML")
    shown = table.partition("<tbody>")[2] + rest.partition('class="kv left"')[2]
    for raw in ("null", "None", "[]", "{}", "kind demo", "memory_bytes", "25276063744", "[&#34;"):
        assert raw not in shown, raw
    for word in ("134,515,008", "256.6 MiB", "23.5 GiB", "8,192 "):
        assert word in shown, word
    label = {"en": "Max steps", "zh": "最大步数"}[lang]
    assert f'{label} <code class="small muted">train.max_steps</code>' in shown


def test_the_list_shows_paths_by_their_last_part_and_the_whole_on_hover() -> None:
    names = ["/data/a b/rows.jsonl", "owner/name", "identity", "~/x/", "./m"]
    assert formats.short_names(names) == "rows.jsonl, owner/name, identity, x, m"
    assert formats.short_name(None) == ""


def test_the_rows_with_the_highest_loss_are_a_question_and_its_answer(client) -> None:
    folder = write_run("worst", status="")
    with EventWriter(folder.events_file) as log:
        flat = "system\nYou are kind.\nuser\nMy bike squeaks.\nassistant\nOil it.\n"
        row = {"row": 1, "loss": 2.5, "text": flat, "prompt": "My bike squeaks."}
        log.write("eval", step=20, loss=0.4, best=False, worst=[{**row, "expected": "Oil it."}])
    page = client.get("/runs/worst").text
    assert '<td class="wrap">My bike squeaks.</td><td class="wrap">Oil it.</td>' in page
    assert "You are kind." not in page


def test_an_answer_that_reached_its_limit_says_so_and_others_do_not(client) -> None:
    folder = write_run("short", status="")
    with EventWriter(folder.events_file) as log:
        for step, stage, stopped in ((0, "before", False), (20, "after", True)):
            log.write("sample", step=step, stage=stage, prompt="Why?", answer="x", stopped=stopped)
    card = client.get("/runs/short").text.partition('aria-label="Why?"')[2].partition("</section>")
    assert card[0].count("data-limit") == 2
    assert card[0].count("data-limit hidden") == 1
    told = client.get("/api/v1/runs/short/samples").json()["samples"]
    cut = {sample["prompt"]: [each["cut"] for each in sample["answers"]] for sample in told}
    assert cut == {"Who?": [False, False], "Why?": [True, False]}
    short = next(each for each in outcome(folder).answers if each.prompt == "Why?")
    assert (short.before_cut, short.after_cut) == (True, False)


def test_a_long_setting_is_whole_beside_the_curves(client, home) -> None:
    prompts = ["Who are you, and what can you do for a person who asks?"] * 3
    create("long", Config.model_validate({"evaluate": {"prompts": prompts}}), {"tunery": "0"})
    beside = client.get("/runs/long").text.partition("settings-short")[2].partition("</dl>")[0]
    assert beside.count("what can you do") == 3
    assert 'class="cut"' not in beside


def test_a_checkpoint_is_saved_from_the_menu_that_does_not_stop_the_run() -> None:
    text = (resources.files("tunery.web") / "templates" / "run_parts.html").read_text()
    stop = text.partition('<summary class="btn danger">')[2].partition("</details>")[0]
    more = text.partition('<summary class="btn">')[2].partition("</details>")[0]
    assert "data-save" not in stop
    assert "data-save" in more
