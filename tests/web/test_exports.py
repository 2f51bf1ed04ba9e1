"""Export, Serve and Evaluate in the page's API, on a real tiny trained model."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.chat_model import make_chat_model
from tests.train.adapters_made import adapter as make_adapter

from tunery.config.config import Config
from tunery.evaluate import scores
from tunery.jobs import start as launching
from tunery.runs.events import EventWriter
from tunery.runs.folder import create
from tunery.services.evaluate import held_out


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("model") / "tiny-chat")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory) -> Path:
    return make_adapter(base, tmp_path_factory.mktemp("adapter") / "adapter")


def done(client, job: dict) -> dict:
    launching.wait(job["id"], 240)
    return client.get(f"/api/v1/jobs/{job['id']}").json()


def test_an_adapter_is_merged_checked_and_found_again(client, home, adapter) -> None:
    asked = {"run": str(adapter), "to": "merged", "dtype": "fp32"}
    answer = client.post("/api/v1/exports", json=asked)
    assert answer.status_code == 200, answer.text
    job = done(client, answer.json())
    assert job["status"] == "done", job
    folder = Path(job["result"]["folder"])
    assert folder.parent == home / "exports"
    assert (folder / "model.safetensors").is_file()
    assert job["result"]["report"]["parity"]["other_answers"] == 0
    listed = client.get("/api/v1/exports").json()
    assert [one["id"] for one in listed["jobs"]] == [job["id"]]
    assert {one["name"] for one in listed["formats"]} >= {"adapter", "merged"}
    page = client.get("/export").text
    assert folder.name in page


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"run": "nope", "to": "merged"}, 422),
        ({"to": "gguff"}, 404),
        ({"to": "merged", "folder": "/etc/tunery-export"}, 403),
        ({"to": "merged", "folder": "../../../../etc/x"}, 403),
    ],
)
def test_wrong_exports_are_refused_before_anything_starts(client, adapter, wrong, status) -> None:
    answer = client.post("/api/v1/exports", json={"run": str(adapter), **wrong})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert client.get("/api/v1/jobs").json() in ([], {"jobs": []})


def test_a_model_is_served_and_taken_away(client, base) -> None:
    made = client.post("/api/v1/serving", json={"model": str(base), "name": "tiny"})
    assert made.status_code == 200, made.text
    assert [one["name"] for one in client.get("/api/v1/serving").json()] == ["tiny"]
    assert client.request("DELETE", "/api/v1/serving/tiny", json={}).status_code == 200
    assert client.get("/api/v1/serving").json() == []
    assert client.request("DELETE", "/api/v1/serving/tiny", json={}).status_code == 404


def test_a_name_with_a_slash_is_switched_on_found_and_off(client, base, key) -> None:
    """Every hub model has one; the browser sends it as %2F, a program may send it plain."""
    for name in ("owner/tiny", "a/b/c", "模型", "tiny:q4+v1.2"):
        for safe in ("", "/"):
            made = client.post("/api/v1/serving", json={"model": str(base), "name": name})
            assert made.json()["name"] == name
            listed = client.get("/v1/models", headers=key("chat")).json()["data"]
            assert [one["id"] for one in listed] == [name]
            one = client.get(f"/v1/models/{quote(name, safe=safe)}", headers=key("chat"))
            assert one.json()["id"] == name
            path = f"/api/v1/serving/{quote(name, safe=safe)}"
            assert client.request("DELETE", path, json={}).status_code == 200
            assert client.get("/api/v1/serving").json() == []


@pytest.mark.parametrize(
    "name",
    ["../../x", "a/../b", "/a", "a/", "a//b", ".a", "-rf", "a b", "a\nb", "a\x00", "a%2fb", "a?b",
     "a#b", "x" * 201, "a/" * 101 + "a", "<b>", " "],
)  # fmt: skip
def test_what_cannot_be_a_served_name_is_refused(client, base, name) -> None:
    answer = client.post("/api/v1/serving", json={"model": str(base), "name": name})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_name"), answer.text
    assert client.get("/api/v1/serving").json() == []


def test_the_name_of_a_folder_becomes_one_that_can_be_served(client, base, tmp_path) -> None:
    odd = tmp_path / "..my model (v2)#"
    odd.symlink_to(base)
    made = client.post("/api/v1/serving", json={"model": str(odd)}).json()
    assert made["name"] == "my-model-v2-"
    assert client.request("DELETE", f"/api/v1/serving/{made['name']}", json={}).status_code == 200


def test_two_models_are_measured_on_a_dataset_worst_row_first(
    client, base, adapter, tmp_path: Path, home: Path
) -> None:
    rows = home / "uploads" / "rows.jsonl"
    rows.parent.mkdir(parents=True, exist_ok=True)
    texts = [("hi", "hello"), ("who?", "tuna"), ("=1+1", "two two two")]
    rows.write_text("".join(json.dumps({"instruction": q, "output": a}) + "\n" for q, a in texts))
    asked = {
        "models": [str(base), str(adapter)], "dataset": str(rows), "max_new_tokens": 4,
    }  # fmt: skip
    answer = client.post("/api/v1/evals", json=asked)
    assert answer.status_code == 200, answer.text
    job = done(client, answer.json())
    assert job["status"] == "done", job
    result = job["result"]
    for model in result["models"]:
        assert model["num_rows"] == 3
        assert model["perplexity"] == pytest.approx(math.exp(model["loss"]))
    last = result["models"][-1]["name"]
    losses = [row["losses"][last] for row in result["rows"]]
    assert losses == sorted(losses, reverse=True)
    table = client.get(f"/api/v1/evals/{job['id']}/table.csv")
    assert "attachment" in table.headers["content-disposition"]
    assert "'=1+1" in table.text, "a spreadsheet must not run a row"
    assert client.get(f"/evaluate?job={job['id']}").status_code == 200


def test_evaluations_of_nothing_are_refused(client, base) -> None:
    for wrong in ({"models": []}, {"models": [str(base)]}, {"models": ["nope"], "dataset": "x"}):
        assert client.post("/api/v1/evals", json=wrong).status_code in (404, 422)


def trained(name: str, *, held_out: int, data: list[str]) -> None:
    """A run with weights, as far as the pages can see."""
    folder = create(name, Config.model_validate({"data": {"train": data}}), {"tunery": "0"})
    folder.adapter_dir.mkdir()
    with EventWriter(folder.events_file) as log:
        log.write("rows", read=9, used=9, quarantined=0, filtered={}, train=9 - held_out,
                  held_out=held_out)  # fmt: skip


def selected(page: str) -> list[str]:
    rows = page.partition('id="rows-of"')[2].partition("</select>")[0]
    return re.findall(r'value="([^"]*)" selected', rows)


def test_the_held_out_rows_of_the_chosen_run_are_evaluated_by_default(client) -> None:
    trained("with", held_out=4, data=["identity*2"])
    trained("without", held_out=0, data=["instructions"])
    page = client.get("/evaluate?model=with").text
    assert selected(page) == ["run:with"]
    assert "with (4 rows)" in page
    assert 'value="run:without"' not in page
    assert selected(client.get("/evaluate?model=without&model=with@step-00000002").text) == [
        "run:with"
    ]
    assert selected(client.get("/evaluate?model=without").text) == [""]  # the user chooses
    known = {run.run: (run.rows, run.data) for run in held_out(["with", "with@step-1", "without"])}
    assert known == {"with": (4, ["identity"]), "without": (0, ["instructions"])}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_pages_draw_without_anything_trained(client, language) -> None:
    client.cookies.set("tunery_lang", language)
    for path in ("/export", "/evaluate"):
        assert client.get(path).status_code == 200


def test_scores_of_texts() -> None:
    assert scores.exact(" Paris ", "Paris") == 1
    assert scores.rouge_l("The capital is Paris.", "the capital is Paris") == 1
    assert scores.rouge_l("我是小北", "我是小南") == pytest.approx(0.75)
    assert scores.rouge_l("", "x") == 0
    assert scores.rouge_l("a b c d", "b d") == pytest.approx(2 * 2 / 6)
