"""A run that trained a reward model: every page says what it is for, nothing offered fails."""

from __future__ import annotations

import pytest
from tests.web.test_runs_api import write_run

from tunery.config.load import from_tokens
from tunery.runs.folder import create
from tunery.runs.manifest import list_checkpoints
from tunery.services import chat


@pytest.fixture
def scorer(home) -> str:
    write_run("writer").adapter_dir.mkdir(parents=True)
    words = ["--data.train=preferences", "--method.type=reward"]
    folder = create("scorer", from_tokens(words).config, {"tunery": "0"})
    folder.adapter_dir.mkdir(parents=True)
    assert list_checkpoints(folder.checkpoints_dir) == []
    return folder.name


def test_it_is_not_listed_where_text_is_written(client, scorer):
    names = [name for group in chat.speakers() for name, _ in group.names]
    assert "writer" in names
    assert scorer not in names
    assert chat.scorers() == [scorer]
    assert chat.is_scorer(f"{scorer}@step-00000002")
    assert not chat.is_scorer("writer")


@pytest.mark.parametrize(
    ("language", "word"), [("en", "scores answers and writes none"), ("zh", "给回答打分")]
)
def test_chat_and_its_own_page_say_how_to_score(client, scorer, language, word):
    client.cookies.set("tunery_lang", language)
    for path in (f"/chat?a={scorer}", f"/chat?a={scorer}@step-00000002", f"/runs/{scorer}"):
        page = client.get(path).text
        assert word in page
        assert f"tunery chat {scorer}" in page
    assert "data-compare-link" not in client.get(f"/runs/{scorer}").text
    assert word not in client.get("/chat?a=writer").text


def test_export_names_it_and_selects_what_can_be_exported(client, scorer):
    page = client.get(f"/export?run={scorer}").text
    assert "Reward models need no export" in page
    assert f'<option value="{scorer}"' not in page
    assert '<option value="writer" selected>' in page
