"""Drafts and starts through the REST API, with the warm pool and the demo model behind them."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.web.toy import toys  # noqa: F401

from tunery.config.config import Config
from tunery.runs.folder import RunFolder, create, names
from tunery.services import runs, settings
from tunery.services.first_steps import first_steps
from tunery.workers import local

BLANKS = {"data.variables": {"name": "Tuna", "author": "Reef"}}
IDENTITY = {"preset": "identity", "fields": BLANKS}
SMALL = {"preset": None, "fields": {"data.train": ["instructions"], "train.max_steps": "1",
                                    "evaluate.forgetting": False}}  # fmt: skip


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose worker was started; none really is."""
    started: list[str] = []

    def start(folder: RunFolder, **_: Any) -> int:
        started.append(folder.name)
        return 1

    monkeypatch.setattr(local, "start", start)
    return started


def put(client: TestClient, body: dict[str, Any], name: str = "draft") -> dict[str, Any]:
    answer = client.put(f"/api/v1/drafts/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_change_is_kept_and_answered(client: TestClient):
    answer = put(client, IDENTITY)
    assert answer["errors"] == {}
    assert answer["command"] == (
        "tunery train --preset identity --data.variables.name Tuna --data.variables.author Reef"
    )
    assert answer["values"]["optim.learning_rate"] == {"value": "0.001", "origin": "preset"}
    assert [row["path"] for row in answer["diff"]][:2] == ["data.train", "data.variables"]
    assert client.get("/api/v1/drafts/draft").json()["draft"]["fields"] == BLANKS


def test_wrong_values_are_kept_with_their_errors_in_the_language_of_the_page(client: TestClient):
    client.cookies.set("tunery_lang", "zh")
    answer = put(client, {"fields": {"optim.learning_rate": "abc", "data.train": ["identity"]}})
    assert list(answer["errors"]) == ["optim.learning_rate"]
    assert "数" in answer["errors"]["optim.learning_rate"]["message"]
    assert answer["draft"]["fields"]["optim.learning_rate"] == "abc"
    assert answer["can_plan"] is False


def test_blanks_of_the_chosen_dataset_are_asked_for(client: TestClient):
    answer = put(client, {"preset": "identity", "fields": {"data.variables": {"name": "Tuna"}}})
    assert [(b["name"], b["value"]) for b in answer["blanks"]] == [("name", "Tuna"), ("author", "")]
    assert answer["empty"] == ["author"]
    assert put(client, IDENTITY)["empty"] == []


def test_other_data_than_that_of_the_preset_is_said_with_the_ways_out(client: TestClient):
    assert put(client, IDENTITY)["notes"] == []
    added = {**BLANKS, "data.train": ["identity", "instructions*2"]}
    [note] = put(client, {"preset": "identity", "fields": added})["notes"]
    assert note["text"] == (
        "The preset Identity brings its own data: identity is trained together with instructions."
    )
    [only] = note["remedies"]
    assert only["label"] == "Only instructions, with the preset LoRA"
    assert only["preset"] == "lora"
    assert only["set"] == {"data.train": ["instructions*2"]}
    assert only["unset"] == ["data.variables"]  # only identity has placeholders
    other = {**BLANKS, "data.train": ["preferences"]}
    [note] = put(client, {"preset": "identity", "fields": other})["notes"]
    assert note["kind"] == "warn"
    assert "is made for identity" in note["text"]
    assert "Learning rate" in note["text"]
    assert "Sample prompts" in note["text"]
    assert [each.get("preset") for each in note["remedies"]] == ["dpo", None]
    assert note["remedies"][1]["set"] == {"data.train": ["identity"]}
    assert put(client, {"preset": "lora", "fields": other})["notes"] == []


def test_a_filled_copy_is_the_data_of_the_preset_too(client: TestClient):
    filled = {"variables": {"name": "Tuna", "author": "Ada"}, "name": "mine"}
    assert client.post("/api/v1/datasets/identity/fill", json=filled).status_code == 201
    assert put(client, {"preset": "identity", "fields": {"data.train": ["mine"]}})["notes"] == []


def test_names_that_nothing_has_are_errors_under_their_fields(client: TestClient):
    answer = put(client, {"fields": {"data.train": ["identty"], "model.name": "/nowhere/model"}})
    assert set(answer["errors"]) == {"data.train", "model.name"}
    assert "identity" in answer["errors"]["data.train"]["fix"]


def test_a_model_that_is_not_here_is_to_be_fetched_first(client: TestClient):
    assert put(client, IDENTITY)["fetch"] == "demo"


def test_drafts_have_names_and_can_be_renamed_copied_and_deleted(client: TestClient):
    put(client, IDENTITY, "实验 一")
    assert client.post("/api/v1/drafts/实验 一/rename", json={"to": "two"}).status_code == 200
    put(client, IDENTITY, "three")
    assert client.post("/api/v1/drafts/two/rename", json={"to": "three"}).status_code == 409
    made = client.post("/api/v1/drafts", json={"name": "two"}).json()
    assert made["draft"]["name"] == "two-2"
    assert client.delete("/api/v1/drafts/two").status_code == 200
    assert client.get("/api/v1/drafts/two").status_code == 404
    assert {row["name"] for row in client.get("/api/v1/drafts").json()} == {"three", "two-2"}
    assert client.put("/api/v1/drafts/" + "x" * 61, json=IDENTITY).status_code == 422


def test_yaml_is_checked_like_the_fields_and_kept_while_it_is_wrong(client: TestClient):
    put(client, IDENTITY)
    wrong = put(client, {"yaml": "data:\n  trian: [identity]\n"})
    assert "line 2" in wrong["yaml_error"]["message"]
    assert wrong["draft"]["fields"] == BLANKS
    assert client.get("/api/v1/drafts/draft").json()["yaml"] == "data:\n  trian: [identity]\n"
    right = put(client, {"yaml": "data:\n  train: [instructions]\nadapter: {rank: 4}\n"})
    assert right["draft"]["fields"] == {"data.train": ["instructions"], "adapter.rank": "4"}
    assert "rank: 4" in right["yaml"]


def test_a_new_draft_takes_over_the_settings_of_a_run(client: TestClient):
    config = Config.model_validate(
        {"data": {"train": ["instructions"]}, "adapter": {"type": "lora", "rank": 4}}
    )
    create("old-run", config, {})
    made = client.post("/api/v1/drafts", json={"run": "old-run"}).json()
    assert made["draft"]["name"] == "old-run"
    assert made["draft"]["fields"] == {"data.train": ["instructions"], "adapter.rank": "4"}


def test_a_toy_adapter_is_in_the_draft_and_on_the_page(client: TestClient, toys: None):  # noqa: F811
    fields = {"data.train": ["instructions"], "adapter.type": "toy", "adapter.wheels": "6"}
    answer = put(client, {"fields": fields})
    assert "--adapter.type toy --adapter.wheels 6" in answer["command"]
    assert answer["values"]["adapter.squeaks"] == {"value": False, "origin": "default"}
    page = client.get("/train?draft=draft").text
    assert "How many wheels it has; 4 is usual." in page
    assert 'value="toy"' in page


def test_training_with_a_dataset_chooses_a_method_that_learns_from_its_rows(client: TestClient):
    chosen: dict[str, str] = {}
    for name in ("preferences", "feedback", "instructions", "nope"):
        there = client.get("/train", params={"dataset": name}, follow_redirects=False)
        draft = there.headers["location"].rsplit("=", 1)[1]
        found = client.get(f"/api/v1/drafts/{draft}").json()
        assert found["draft"]["fields"]["data.train"] == [name]
        chosen[name] = found["values"]["method.type"]["value"]
    assert chosen == {
        "preferences": "dpo", "feedback": "kto", "instructions": "sft", "nope": "sft",
    }  # fmt: skip


def test_the_plan_comes_from_the_warm_process(demo_home: Path, client: TestClient, own_pool: None):
    assert put(client, IDENTITY)["planning"] is True
    made = client.post("/api/v1/drafts/draft/plan", json={}).json()
    assert made["plan"]["rows"]["train"] == 90
    assert made["hints"]["data.max_length"].startswith("The longest row has")
    put(client, {**IDENTITY, "fields": {**BLANKS, "train.num_epochs": "1"}})
    few = client.post("/api/v1/drafts/draft/plan", json={}).json()["remarks"][0]
    assert few["text"].startswith("Only 17 steps.")
    assert list(few["remedies"][0]["set"]) == ["train.num_epochs"]


def test_a_hundred_posts_with_one_key_start_one_run(
    demo_home: Path, client: TestClient, own_pool: None, launched: list[str]
):
    put(client, SMALL)

    def post(_: int) -> tuple[int, str]:
        key = {"Idempotency-Key": "one"}
        answer = client.post("/api/v1/runs", json={"draft": "draft"}, headers=key)
        return answer.status_code, answer.json()["name"]

    with ThreadPoolExecutor(100) as pool:
        answers = set(pool.map(post, range(100)))
    assert len(answers) == 1
    assert launched == names() == [answers.pop()[1]]
    put(client, {**SMALL, "fields": {**SMALL["fields"], "train.max_steps": "2"}})
    other = client.post("/api/v1/runs", json={"draft": "draft"}, headers={"Idempotency-Key": "one"})
    assert other.status_code == 409
    second = client.post("/api/v1/runs", json={"draft": "draft"})
    assert second.status_code == 201
    assert len(launched) == 2


def test_a_start_whose_server_died_goes_on_with_the_same_run(
    demo_home: Path, own_pool: None, launched: list[str], monkeypatch: pytest.MonkeyPatch
):
    words = ["--data.train=instructions"]

    def dies(folder: RunFolder, **_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(local, "start", dies)
        with pytest.raises(KeyboardInterrupt):
            runs.start_once(words, key="k")
    assert runs.start_once(words, key="k") == launched[0]
    assert names() == launched


def test_a_start_that_cannot_be_says_why_and_what_mends_it(
    demo_home: Path, client: TestClient, own_pool: None, launched: list[str]
):
    refused = client.post("/api/v1/runs", json={"config": {"data": {"train": ["identity"]}}})
    assert refused.status_code == 422
    assert refused.json()["remedies"] == [{"action": "fill", "label": "Fill in"}]
    rows = demo_home / "rows.jsonl"
    rows.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    bad = client.post("/api/v1/runs", json={"config": {"data": {"train": [str(rows)]}}})
    assert bad.status_code == 422
    assert bad.json()["detail"]
    assert launched == []
    assert names() == []


def test_a_change_is_answered_without_waiting_for_a_plan(
    demo_home: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the plan was waited for")

    monkeypatch.setattr(settings, "plan_draft", never)
    answer = put(client, IDENTITY | {"plan": False})
    assert answer["planning"] is True
    assert answer["plan"] is None


def test_a_model_folder_that_was_pasted_can_be_chosen_again(
    demo_home: Path, demo_model: Path, client: TestClient
) -> None:
    folder = demo_home / "my-model"
    shutil.copytree(demo_model, folder, symlinks=True)
    put(client, {"fields": {"model.name": str(folder)}})
    put(client, {"fields": {"model.name": "demo"}})
    page = client.get("/train").text
    assert f'<option value="{folder}">' in page
    listed = {each["name"]: each for each in client.get("/api/v1/models").json()["models"]}
    assert listed[str(folder)]["kind"] == "folder"
    assert listed[str(folder)]["ok"] is True
    client.post("/api/v1/models/folders/forget", json={"name": str(folder)})
    assert f'<option value="{folder}">' not in client.get("/train").text
    assert (folder / "config.json").is_file()


def test_a_folder_that_is_no_model_is_not_kept(demo_home: Path, client: TestClient) -> None:
    (demo_home / "nothing").mkdir()
    put(client, {"fields": {"model.name": str(demo_home / "nothing")}})
    assert str(demo_home / "nothing") not in client.get("/train").text.split("f-model-name")[0]
    assert (
        client.post("/api/v1/models/folders", json={"name": str(demo_home / "nothing")}).status_code
        == 422
    )
    names = [each["name"] for each in client.get("/api/v1/models").json()["models"]]
    assert str(demo_home / "nothing") not in names


def test_a_dataset_brings_the_recipe_that_fits_to_a_draft_without_one(
    demo_home: Path, client: TestClient
) -> None:
    own = demo_home / "mine" / "own.jsonl"
    own.parent.mkdir()
    own.write_text('{"instruction": "q", "output": "a"}\n' * 3)
    client.get("/train", params={"dataset": str(own)})
    draft = client.get("/api/v1/drafts/draft").json()
    assert draft["draft"]["preset"] == "lora"
    assert draft["values"]["evaluate.split"]["value"] == "0.05"
    assert draft["values"]["evaluate.prompts"]["value"] == ""  # so held-out rows are answered
    chosen = {"preset": "lora", "fields": {"train.num_epochs": "7", "data.train": [str(own)]}}
    put(client, chosen)
    client.get("/train", params={"preset": "identity", "dataset": "identity"})
    assert client.get("/api/v1/drafts/draft").json()["draft"]["fields"] == chosen["fields"]
    client.get("/train", params={"dataset": str(own)})  # it comes back, with what was set in it
    kept = client.get("/api/v1/drafts/draft").json()["draft"]
    assert (kept["preset"], kept["fields"]) == ("lora", chosen["fields"])


@pytest.mark.parametrize("earlier", [IDENTITY, {"preset": "identity", "fields": {}}])
def test_a_draft_made_for_other_data_is_never_reused_for_ones_own(
    demo_home: Path, client: TestClient, earlier: dict[str, Any]
) -> None:
    mine = {"model.name": "demo", "evaluate.prompts": "Who are you?"}
    before = put(client, {**earlier, "fields": {**earlier["fields"], **mine}})["draft"]
    add_source = {"text": '{"instruction": "q", "output": "a"}\n' * 3}
    source = client.post("/api/v1/datasets/paste", json=add_source).json()["source"]
    client.post("/api/v1/datasets", json={"source": source, "name": "shop"})
    there = client.get("/train", params={"dataset": "shop"}, follow_redirects=False)
    assert there.headers["location"].endswith("?draft=shop")
    made = client.get("/api/v1/drafts/shop").json()
    assert made["draft"]["preset"] == "lora"
    assert made["draft"]["fields"] == {"model.name": "demo", "data.train": ["shop"]}
    assert float(made["values"]["evaluate.split"]["value"]) > 0
    assert made["values"]["evaluate.prompts"]["value"] == ""
    assert client.get("/api/v1/drafts/draft").json()["draft"]["fields"] == before["fields"]


def test_a_filled_copy_of_the_identity_data_gets_the_identity_recipe(
    demo_home: Path, client: TestClient
) -> None:
    filled = {"variables": {"name": "Tuna", "author": "Ada"}, "name": "mine"}
    assert client.post("/api/v1/datasets/identity/fill", json=filled).status_code == 201
    client.get("/train", params={"dataset": "mine"})
    assert client.get("/api/v1/drafts/draft").json()["draft"]["preset"] == "identity"


def test_step_four_of_start_trains_with_the_suggested_settings(
    demo_home: Path, client: TestClient
) -> None:
    step = next(each for each in first_steps() if each.key == "train")
    assert client.get(step.path).status_code == 200
    draft = client.get("/api/v1/drafts/draft").json()["draft"]
    assert draft["preset"] == "identity"
    assert draft["fields"]["data.train"] == ["identity"]
