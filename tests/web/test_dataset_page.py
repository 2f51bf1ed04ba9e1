"""The pages of datasets: drawn for every state, in both languages, with hostile names as text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tunery.config.data import DataConfig
from tunery.services import datasets

SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_list_is_never_empty(client: TestClient, lang: str) -> None:
    client.cookies.set("tunery_lang", lang)
    page = client.get("/datasets")
    assert page.status_code == 200
    for name in ("identity", "instructions", "text", "general"):
        assert f'href="/datasets/{name}"' in page.text
    assert ("拖到这里" in page.text) == (lang == "zh")


@pytest.mark.parametrize("tab", ["see", "rows", "checks", "nonsense"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_tab_is_drawn(client: TestClient, tab: str, lang: str) -> None:
    client.cookies.set("tunery_lang", lang)
    page = client.get("/datasets/identity", params={"tab": tab})
    assert page.status_code == 200
    assert ("{{name}}" in page.text) == (tab not in ("rows", "checks"))
    assert page.text.count('aria-current="page"') == 2  # the place and the tab


def test_filling_is_offered_only_where_blanks_are(client: TestClient) -> None:
    assert 'data-blank="author"' in client.get("/datasets/identity").text
    assert "data-blank" not in client.get("/datasets/general").text


def test_hostile_paths_and_sources_are_text(client: TestClient, tmp_path: Path) -> None:
    folder = tmp_path / SCRIPT.replace("/", "_")
    folder.mkdir()
    file = folder / "rows.jsonl"
    file.write_text(json.dumps({"text": SCRIPT, SCRIPT: SCRIPT}) + "\n")
    datasets.add("hostile", str(file), DataConfig())
    for path in ("/datasets", "/datasets/hostile", "/datasets/hostile?tab=rows"):
        assert SCRIPT not in client.get(path).text
    page = client.get("/datasets/-/add", params={"source": f"</script>{SCRIPT}"})
    assert SCRIPT not in page.text
    assert "</script><img" not in page.text


def test_a_dataset_that_is_not_there_is_a_page_with_status_404(client: TestClient) -> None:
    assert client.get("/datasets/nope", headers={"Accept": "text/html"}).status_code == 404


def test_a_file_that_is_gone_is_said_and_breaks_nothing(client: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "x"}\n')
    datasets.add("gone", str(file), DataConfig())
    file.unlink()
    assert "cannot be read" in client.get("/datasets").text
    assert client.get("/datasets/gone").status_code == 200
    assert client.get("/api/v1/datasets/gone/checks").json()["ok"] is False
