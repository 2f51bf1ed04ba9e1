"""Datasets in a real browser: from a file to tokens, by mouse and by keys, hostile text as text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.looking import NARROW, check_page

SCRIPT = "<img src=x onerror=alert(1)>"
ROWS = [{"instruction": f"q{n} {SCRIPT}", "output": f"a{n}\n第{n}行 😀"} for n in range(1, 41)]


def write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


def add(page: Page, base: str, file: Path) -> None:
    page.goto(f"{base}/datasets")
    page.get_by_label("Drop a file here").set_input_files(file)
    expect(page.get_by_role("heading", name="Preview of the first rows")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile(r"\w"))


def test_a_file_becomes_a_dataset_whose_rows_are_searched_and_edited(
    server: Any, page: Page, tmp_path: Path
) -> None:
    add(page, server.url, write(tmp_path / "mine.jsonl", ROWS))
    expect(page).to_have_url(re.compile(r"/datasets/mine$"))
    page.get_by_role("link", name="Rows", exact=True).click()
    expect(page.locator("#span")).to_have_text("1–25 of 40")
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#span")).to_have_text("26–40 of 40")
    page.get_by_label("Search in all rows").fill("A33")
    page.get_by_label("Search in all rows").press("Enter")
    row = page.get_by_role("row", name=re.compile("^33"))
    expect(row).to_contain_text(f"q33 {SCRIPT}")
    row.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="output").fill("changed")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("mine-v2")
    expect(page.get_by_role("row", name=re.compile("^33"))).to_contain_text("changed")
    page.get_by_role("row", name=re.compile("^34")).get_by_role("button", name="Delete").click()
    page.get_by_role("group").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Row 34 was deleted.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("row", name=re.compile("^34"))).to_contain_text("q34")
    assert len((tmp_path / "mine.jsonl").read_text().splitlines()) == 40


def test_bad_lines_are_said_and_skipped(
    server: Any, page: Page, tmp_path: Path, troubles: Any
) -> None:
    troubles.allow("422")  # the refusal is the test
    file = write(tmp_path / "some.jsonl", ROWS[:5])
    file.write_text(
        file.read_text() + '{"instruction": "cut\n' + '{"instruction": "x", "output": ""}\n'
    )
    page.goto(f"{server.url}/datasets")
    page.get_by_label("Drop a file here").set_input_files(file)
    page.get_by_label("Save as").fill("good")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("2 of 7 rows cannot be used.")).to_be_visible()
    expect(page.get_by_text("some.jsonl, line 6").first).to_be_visible()
    page.get_by_role("button", name="Skip bad lines (2)").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("5 rows")
    page.goto(f"{server.url}/datasets/good?tab=checks")
    expect(page.get_by_text("5 rows, 5 usable.")).to_be_visible()


def test_the_blanks_are_filled_and_what_the_model_sees_is_walked_by_keys(
    demo_home: Path, server: Any, page: Page, shot: Callable[[str], Any], troubles: Any
) -> None:
    troubles.allow("422")  # with 30 tokens a row nothing is left of the whole set
    page.goto(f"{server.url}/datasets/identity")
    page.get_by_label("Assistant name").fill("Tuna")
    page.get_by_label("Author").fill("Ada")
    expect(page.locator("#fill-preview")).to_contain_text(
        "I am Tuna, an AI assistant created by Ada."
    )
    page.get_by_role("button", name="Save a copy").click()
    expect(page).to_have_url(re.compile(r"/datasets/identity-tuna$"))
    tokens = page.get_by_role("group", name=re.compile("Tokens of the row"))
    expect(tokens).to_contain_text("I am Tuna, an AI assistant created by Ada.")
    asked = page.request.get(f"{server.url}/api/v1/datasets/identity-tuna/tokens?row=1").json()
    expect(page.locator("#counts")).to_contain_text(f"{asked['trained']} / {asked['total']}")
    expect(tokens.locator(".tok")).to_have_count(len(asked["pieces"]))
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("]")
    expect(tokens).to_contain_text("你是谁")
    expect(page).to_have_url(re.compile(r"row=2"))
    page.keyboard.press("[")
    expect(tokens).to_contain_text("Who are you?")
    tokens.locator(".tok").first.focus()
    expect(page.locator("#tokinfo")).to_contain_text("special token")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tokinfo")).to_contain_text("position 1")
    expect(page.get_by_role("link", name="Train on it")).to_be_visible()
    page.get_by_text("2,048 tokens").click()
    page.get_by_label("Max length").fill("30")
    page.get_by_label("Longer rows").select_option("truncate_right")
    expect(tokens.locator(".tok.cut").first).to_be_visible(timeout=30_000)
    shot("dataset-cut")


def test_a_pair_shows_its_two_answers_beside_each_other(
    demo_home: Path, server: Any, page: Page, tmp_path: Path, shot: Callable[[str], Any]
) -> None:
    pair = {"prompt": f"q {SCRIPT}", "chosen": "short", "rejected": "long", "margin": 2}
    page.goto(f"{server.url}/datasets")
    page.get_by_label("Drop a file here").set_input_files(write(tmp_path / "p.jsonl", [pair]))
    expect(page.get_by_label("chosen", exact=True).locator("dd")).to_have_text("short")
    expect(page.get_by_label("rejected", exact=True).locator("dd")).to_have_text("long")
    expect(page.get_by_text("margin 2")).to_be_visible()
    page.goto(f"{server.url}/datasets/preferences")
    chosen = page.get_by_role("group", name="chosen")
    rejected = page.get_by_role("group", name="rejected")
    expect(chosen).to_contain_text("180 minutes.")
    expect(rejected).to_contain_text("quite a few of them")
    expect(
        page.get_by_text(re.compile("Both answers share a prompt of [0-9]+ tokens"))
    ).to_be_visible()
    asked = page.request.get(f"{server.url}/api/v1/datasets/preferences/tokens?row=1").json()
    for side, drawn in zip((chosen, rejected), asked["drawn"], strict=True):
        expect(side).to_contain_text(f"{drawn['trained']} / {drawn['total']}")
        expect(side.locator(".tok")).to_have_count(len(drawn["pieces"]))
    places = [side.bounding_box() for side in (chosen, rejected)]
    assert places[0]["x"] + places[0]["width"] <= places[1]["x"]
    rejected.locator(".tok.trained").first.hover()
    expect(page.locator("#tokinfo")).to_contain_text(f"position {asked['shared_prompt']} · trained")
    shot("dataset-pair")
    page.goto(f"{server.url}/datasets/feedback?row=3")
    expect(page.locator("#counts .badge")).to_have_text("bad answer")


def test_rows_are_pasted_mapped_removed_and_brought_back(server: Any, page: Page) -> None:
    page.goto(f"{server.url}/datasets")
    page.get_by_text("Paste rows").click()
    page.get_by_label("Rows, one JSON object").fill('{"frage": "q", "antwort": "a"}\n' * 3)
    page.get_by_role("button", name="Preview rows").click()
    expect(
        page.get_by_text("No known format matches. Choose one and map its columns")
    ).to_be_visible()
    page.get_by_label("Format", exact=True).select_option("alpaca")
    page.get_by_label("instruction", exact=True).select_option("frage")
    page.get_by_label("output", exact=True).select_option("antwort")
    expect(page.get_by_text("assistant").first).to_be_visible()
    page.get_by_label("Save as").fill("german")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("german")
    page.goto(f"{server.url}/datasets")
    row = page.get_by_role("row", name=re.compile("german"))
    row.get_by_role("button", name="Remove").click()
    row.get_by_role("group").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("german was removed.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("row", name=re.compile("german"))).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="german")).to_be_visible()


def dropped(page: Page, file: Path, content: str) -> Locator:
    """Drop a file on the page; returns its raw rows."""
    file.write_text(content)
    page.goto("/datasets")
    page.get_by_label("Drop a file here").set_input_files(file)
    return page.get_by_role("region", name="Raw rows")


def test_an_odd_table_shows_its_rows_and_its_columns_are_named(
    server: Any, page: Page, tmp_path: Path
) -> None:
    rows = "Frage;Antwort;Quelle\nWer bist du?;Ich bin Tuna.;web\nWas ist 2+2?;4;web\n"
    raw = dropped(page, tmp_path / "odd.csv", rows)
    expect(raw).to_contain_text("Wer bist du?")
    expect(raw.get_by_role("columnheader", name="Antwort")).to_be_visible()
    page.get_by_label("Format", exact=True).select_option("alpaca")
    page.get_by_label("instruction", exact=True).select_option("Frage")
    page.get_by_label("output", exact=True).select_option("Antwort")
    expect(page.locator("#preview .turns").first).to_contain_text("Ich bin Tuna.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_url(re.compile(r"/datasets/odd$"))


def test_a_table_without_names_or_with_another_separator_is_cut_as_a_person_says(
    server: Any, page: Page, tmp_path: Path
) -> None:
    rows = "Who are you?|I am Tuna, a fish.\nWhat is 2+2?|4, of course.\n"
    raw = dropped(page, tmp_path / "bare.csv", rows)
    expect(raw).to_be_visible()
    page.get_by_label("Delimiter").select_option("|")
    page.get_by_label("The first line has the column names").uncheck()
    expect(raw.get_by_role("columnheader")).to_have_text(["", "1", "2"])
    page.get_by_label("Format", exact=True).select_option("alpaca")
    page.get_by_label("instruction", exact=True).select_option("1")
    page.get_by_label("output", exact=True).select_option("2")
    expect(page.locator("#preview .turns").first).to_contain_text("I am Tuna, a fish.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_url(re.compile(r"/datasets/bare$"))
    page.get_by_role("link", name="Rows", exact=True).click()
    expect(page.locator("#span")).to_have_text("1–2 of 2")


def test_a_table_in_another_encoding_is_read_after_one_click(
    server: Any, page: Page, tmp_path: Path
) -> None:
    file = tmp_path / "问答.csv"
    file.write_bytes("instruction,output\n几点关门？,午夜关门，周末两点。\n".encode("gb18030"))
    page.goto("/datasets")
    page.get_by_label("Drop a file here").set_input_files(file)
    problem = page.get_by_role("alert").filter(has_text="is not UTF-8")
    expect(problem).to_contain_text("问答.csv:2: byte 1 (0xBC)")
    problem.get_by_role("button", name="Encoding = gb18030").click()
    expect(page.get_by_label("Encoding", exact=True)).to_have_value("gb18030")
    expect(page.locator("#preview .turns")).to_contain_text("几点关门？")
    page.get_by_label("Encoding", exact=True).select_option("big5")
    expect(page.locator("#preview")).not_to_contain_text("几点关门？")
    page.get_by_label("Encoding", exact=True).select_option("gb18030")
    expect(page.locator("#preview .turns")).to_contain_text("几点关门？")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("问答")
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 row")


def test_advice_about_bad_rows_is_followed_where_it_stands(
    server: Any, page: Page, tmp_path: Path, troubles: Any
) -> None:
    troubles.allow("422")  # the refusal is the test
    answer = {"role": "assistant", "content": "b"}
    rows = [{"messages": [{"role": "user", "content": f"a{n}"}, answer]} for n in range(3)]
    rows.append({"messages": [{"role": "bot", "content": "a"}, answer]})
    rows.append({"messages": [{"role": "user", "content": ""}, answer]})
    page.goto("/datasets")
    page.get_by_label("Drop a file here").set_input_files(write(tmp_path / "odd.jsonl", rows))
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Role map: bot = user").click()
    also = page.get_by_role("list", name="Also set")
    expect(also.get_by_role("listitem")).to_have_text(re.compile("Role map: bot = user"))
    page.get_by_role("button", name="Allow empty columns = messages").click()
    expect(also.get_by_role("listitem")).to_have_count(2)
    page.get_by_role("button", name="Remove Allow empty columns = messages").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("1 of 5 rows cannot be used.")).to_be_visible()
    page.get_by_role("button", name="Allow empty columns = messages", exact=True).click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("5 rows")


@pytest.mark.parametrize(
    ("path", "ready"),
    [
        ("/datasets", "#datasets"),
        ("/datasets/identity", "#counts b"),
        ("/datasets/preferences", ".sides .tok"),
        ("/datasets/identity?tab=rows", "#rows .leaf"),
        ("/datasets/identity?tab=checks", ".hist, #lengths .small"),
    ],
)
def test_each_page_is_whole_in_both_languages_themes_and_widths(
    demo_home: Path, server: Any, page: Page, path: str, ready: str
) -> None:
    name = re.sub(r"[^a-z]+", "-", path.strip("/"))
    check_page(
        page,
        path,
        name=name,
        ready=lambda tab: expect(tab.locator(ready).first).to_be_visible(timeout=60_000),
    )


@pytest.mark.parametrize(("path", "table"), [("/datasets", "#datasets"), ("/models", "#models")])
def test_on_a_phone_every_cell_and_button_of_a_list_is_on_the_screen(
    demo_home: Path, server: Any, page: Page, path: str, table: str
) -> None:
    page.set_viewport_size(NARROW)
    page.goto(path)
    rows = page.locator(f"{table} tbody tr")
    expect(rows.first).to_be_visible()
    parts = rows.first.locator("td, .actions > *")
    assert parts.count() > 7
    room = page.locator(f".scroll:has({table})")
    assert room.evaluate("each => each.scrollWidth - each.clientWidth") <= 0
    for part in parts.all():
        box = part.bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= NARROW["width"]
    expect(rows.first.get_by_role("link", name="Train")).to_be_visible()


def test_the_page_of_columns_is_whole_and_shows_hostile_names_as_text(
    server: Any, page: Page
) -> None:
    row = json.dumps({"instruction": SCRIPT, "output": "a", SCRIPT: SCRIPT})
    sent = page.request.post(
        f"{server.url}/api/v1/datasets/paste",
        data={"text": row},
        headers={"X-Tunery": "1", "Origin": server.url, "Sec-Fetch-Site": "same-origin"},
    ).json()
    check_page(
        page,
        f"/datasets/-/add?source={sent['source']}",
        name="dataset-add",
        ready=lambda tab: expect(tab.locator("#preview dd").first).to_have_text(SCRIPT),
    )


def test_an_upload_goes_on_after_the_connection_was_lost(
    server: Any, page: Page, tmp_path: Path, troubles: Any
) -> None:
    troubles.allow("ERR_")
    many = write(tmp_path / "many.jsonl", ROWS * 1500)  # about 5 MB: two pieces
    pieces: list[str] = []

    def cut(route: Any) -> None:
        pieces.append(route.request.headers["content-range"])
        route.abort() if len(pieces) == 2 else route.continue_()

    page.route(
        re.compile("/uploads/[0-9a-f]{24}$"),
        lambda r: cut(r) if r.request.method == "PUT" else r.continue_(),
    )
    page.goto(f"{server.url}/datasets")
    page.get_by_label("Drop a file here").set_input_files(many)
    expect(page.get_by_role("heading", name="Preview of the first rows")).to_be_visible()
    assert len(pieces) == 3
    assert pieces[1] == pieces[2]
