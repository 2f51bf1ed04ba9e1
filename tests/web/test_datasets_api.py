"""The datasets of the REST API: the same rows, tokens and checks as the terminal's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tunery.cli.main import main
from tunery.data.catalog import BUILTIN
from tunery.jobs import start as jobs
from tunery.services import datasets
from tunery.workers import warm

BASE = "/api/v1/datasets"
SCRIPT = "<script>alert(1)</script>"
ROWS = [{"instruction": f"q{n}", "output": f"a{n} {SCRIPT}"} for n in range(1, 31)]
NAMES = [
    "..", "../identity", "..%2fidentity", "%2e%2e%2fdatasets.json", "..%5c", "a%00b", "CON",
    "C:%5cx", "%5c%5chost%5cshare", "%c0%ae%c0%ae", "\u202edecode", "a" * 300, "~root", "file:///etc/passwd",
    "hf:owner/name", "identity%2f..%2f..", "nope", ".", "copies", "datasets.json",
]  # fmt: skip


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def put(client: TestClient, name: str, data: bytes, *, step: int = 500) -> dict[str, Any]:
    told = client.post(f"{BASE}/uploads", json={"name": name, "size": len(data)}).json()
    for start in range(told["received"], len(data), step):
        piece = data[start : start + step]
        answer = client.put(
            f"{BASE}/uploads/{told['id']}",
            content=piece,
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(data)}",
            },
        )
        assert answer.status_code == 200, answer.text
        told = answer.json()
    return told


@pytest.fixture
def mine(client: TestClient) -> str:
    told = put(client, "mine.jsonl", lines(ROWS))
    assert told["done"]
    return client.post(BASE, json={"source": told["source"], "name": "mine"}).json()["name"]


def test_the_built_in_sets_are_always_there(client: TestClient) -> None:
    found = client.get(BASE).json()
    assert set(BUILTIN) <= {each["name"] for each in found}
    identity = next(each for each in found if each["name"] == "identity")
    assert (identity["rows"], identity["source"], identity["runs"]) == (90, "builtin", [])


def test_an_upload_in_pieces_becomes_a_dataset_with_pages_and_search(
    client: TestClient, mine: str
) -> None:
    page = client.get(f"{BASE}/{mine}/rows", params={"offset": 28, "limit": 5}).json()
    assert [row["number"] for row in page["rows"]] == [29, 30]
    assert page["rows"][0]["values"]["output"] == f"a29 {SCRIPT}"
    found = client.get(f"{BASE}/{mine}/rows", params={"q": "A17"}).json()
    assert [row["number"] for row in found["rows"]] == [17]


def test_a_piece_that_leaves_a_gap_says_how_much_is_here(client: TestClient) -> None:
    told = client.post(f"{BASE}/uploads", json={"name": "x.jsonl", "size": 100}).json()
    headers = {"Content-Type": "application/octet-stream", "Content-Range": "bytes 50-59/100"}
    answer = client.put(f"{BASE}/uploads/{told['id']}", content=b"0" * 10, headers=headers)
    assert answer.status_code == 409
    assert answer.json()["params"]["received"] == 0
    headers["Content-Range"] = "bytes 0-9/99"
    wrong = client.put(f"{BASE}/uploads/{told['id']}", content=b"0" * 10, headers=headers)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "range")
    assert client.delete(f"{BASE}/uploads/{told['id']}").status_code == 200
    assert client.get(f"{BASE}/uploads/{told['id']}").status_code == 404


def test_an_edit_goes_into_a_version(client: TestClient, mine: str) -> None:
    made = client.patch(f"{BASE}/{mine}/rows/3", json={"path": ["output"], "text": "new"}).json()
    assert made == {"name": "mine-v2", "made": True, "rows": 30}
    row = client.get(f"{BASE}/mine-v2/rows", params={"offset": 2, "limit": 1}).json()["rows"][0]
    assert row["values"]["output"] == "new"
    empty = client.patch(f"{BASE}/mine-v2/rows/3", json={"path": ["output"], "text": ""})
    assert empty.status_code == 422
    assert "E302" in empty.json()["detail"]
    builtin = client.patch(f"{BASE}/identity/rows/1", json={"delete": True}).json()
    assert (builtin["name"], builtin["rows"]) == ("identity-v2", 89)


def test_blanks_are_filled_into_a_copy_and_the_original_stays(client: TestClient) -> None:
    one = client.get(f"{BASE}/identity").json()
    assert {blank["name"] for blank in one["blanks"]} == {"name", "author"}
    missing = client.post(f"{BASE}/identity/fill", json={"variables": {"name": "Tuna"}})
    assert missing.json()["params"]["missing"] == ["author"]
    variables = {"name": "Tuna", "author": "Ada"}
    made = client.post(f"{BASE}/identity/fill", json={"variables": variables})
    assert (made.status_code, made.json()) == (201, {"name": "identity-tuna", "rows": 90})
    assert client.get(f"{BASE}/identity-tuna").json()["blanks"] == []
    again = client.post(
        f"{BASE}/identity/fill", json={"variables": variables, "name": "identity-tuna"}
    )
    assert (again.status_code, again.json()["code"]) == (409, "exists")


def test_checks_are_grouped_in_the_language_of_the_page(client: TestClient) -> None:
    data = lines(ROWS[:10] * 2)
    told = put(client, "twice.jsonl", data)
    client.post(BASE, json={"source": told["source"], "name": "twice"})
    found = client.get(f"{BASE}/twice/checks").json()
    assert (found["rows"], found["ok"], found["languages"]) == (20, True, {"latin": 20})
    (group,) = found["groups"]
    assert (group["code"], group["level"], group["count"]) == ("W704", "warn", 10)
    client.cookies.set("tunery_lang", "zh")
    chinese = client.get(f"{BASE}/twice/checks").json()
    assert chinese["groups"][0]["examples"][0]["found"] != group["examples"][0]["found"]
    listed = next(each for each in client.get(BASE).json() if each["name"] == "twice")
    assert listed["check"]["warnings"] == 10


def test_bad_rows_of_an_upload_are_said_by_line_and_left_out_on_request(client: TestClient) -> None:
    data = lines(ROWS[:5]) + b'{"instruction": "q"\n' + lines([{"instruction": "x", "output": ""}])
    told = put(client, "bad.jsonl", data)
    asked = {"source": told["source"], "name": "bad"}
    refused = client.post(BASE, json=asked)
    assert refused.status_code == 422
    params = refused.json()["params"]
    assert (params["bad"], params["rows"], params["only_rows"]) == (2, 7, True)
    lines_of = {g["code"]: g["examples"][0]["line"] for g in params["groups"]}
    assert (lines_of["E106"], lines_of["E302"]) == (6, 7)
    kept = client.post(BASE, json={**asked, "skip_bad": True})
    assert kept.json() == {"name": "bad", "rows": 5}


def test_a_removed_dataset_comes_back(client: TestClient, mine: str) -> None:
    gone = client.delete(f"{BASE}/{mine}").json()
    assert client.get(f"{BASE}/{mine}").status_code == 404
    assert client.post(f"{BASE}/restore", json={"undo": gone["undo"]}).json() == {"name": mine}
    assert client.get(f"{BASE}/{mine}/rows").json()["rows"][0]["values"] == ROWS[0]
    assert client.post(f"{BASE}/restore", json={"undo": gone["undo"]}).status_code == 404
    assert client.delete(f"{BASE}/identity").status_code == 422


def test_pasted_rows_are_proposed_and_added(client: TestClient) -> None:
    told = client.post(f"{BASE}/paste", json={"text": lines(ROWS[:2]).decode()}).json()
    found = client.post(f"{BASE}/propose", json={"source": told["source"]}).json()
    assert (found["format"], found["confidence"], found["name"]) == ("alpaca", 1.0, "pasted")
    assert client.post(BASE, json={"source": told["source"]}).json()["name"] == "pasted"


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_anywhere_else(client: TestClient, name: str) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/rows", None),
        ("GET", "/checks", None),
        ("GET", "/tokens", None),
        ("GET", "/statistics", None),
        ("POST", "/fill", {"variables": {}}),
        ("POST", "/skip-bad", {}),
        ("PATCH", "/rows/1", {"delete": True}),
        ("DELETE", "", None),
    ):
        if name in (".", "..") and not path:
            continue  # a client resolves these into the list itself
        answer = client.request(method, f"{BASE}/{name}{path}", json=body)
        assert answer.status_code in (404, 405), (method, path, answer.text)


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "~/../../etc/passwd"])
def test_sources_and_models_outside_the_roots_are_not_opened(client: TestClient, path: str) -> None:
    for body in ("propose", ""):
        answer = client.post(f"{BASE}/{body}".rstrip("/"), json={"source": path, "name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    answer = client.get(f"{BASE}/identity/tokens", params={"model": path})
    assert answer.status_code == 403
    flag = client.get(f"{BASE}/identity/tokens", params={"template": "../../x"})
    assert flag.status_code == 404


def test_nobody_without_a_session_sees_a_row(anonymous: TestClient) -> None:
    assert anonymous.get(f"{BASE}/identity/rows").status_code == 401
    assert anonymous.put(f"{BASE}/uploads/{'0' * 24}", content=b"x").status_code in (401, 403)


def test_tokens_are_those_of_the_terminal(
    client: TestClient,
    demo_home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warm, "ask", _answered_here)
    found = client.get(f"{BASE}/identity/tokens", params={"row": 2, "model": "demo"}).json()
    words = ["--row", "2", "--model", "demo", "--data.accept", "W706", "--json"]
    assert main(["data", "preview", "identity", *words]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in said} == said
    assert client.get(f"{BASE}/identity/checks").json()["statistics"] is None
    counted = client.get(f"{BASE}/identity/statistics", params={"model": "demo"}).json()
    listed = next(each for each in client.get(BASE).json() if each["name"] == "identity")
    assert listed["tokens"] == counted["tokens"] > 0
    assert listed["tokens_by"] == "demo"


def test_a_parquet_file_is_read_by_the_warm_process_and_added_by_a_job(
    client: TestClient, tmp_path: Path
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    told = put(client, "rows.parquet", (tmp_path / "rows.parquet").read_bytes(), step=4000)
    found = client.post(f"{BASE}/propose", json={"source": told["source"]}).json()
    assert (found["format"], found["columns"]) == ("alpaca", ["instruction", "output"])
    assert found["preview"][0]["messages"][0]["content"] == "q1"
    started = client.post(BASE, json={"source": told["source"], "name": "columns"}).json()
    job = jobs.wait(started["job"], 60)
    assert (job.status, job.result) == ("done", {"name": "columns", "rows": 30})
    page = client.get(f"{BASE}/columns/rows", params={"offset": 29}).json()
    assert page["rows"][0]["values"] == ROWS[29]
    check = client.get(f"{BASE}/columns/checks").json()
    assert jobs.wait(check["job"], 60).status == "done"
    assert client.get(f"{BASE}/columns/checks").json()["rows"] == 30
    warm.pool().close()


def test_pairs_are_proposed_with_both_sides_and_labels_with_a_badge(client: TestClient) -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2}
    found = _propose(client, pair)
    assert found["format"] == "preference"
    required = {each["ours"] for each in found["needed"] if each["required"]}
    assert required == {"chosen", "rejected"}
    (row,) = found["preview"]
    assert [m["content"] for m in row["prompt"]] == ["q"]
    assert ([m["content"] for m in row["chosen"]], row["said"]) == (["a"], ["margin 2"])
    assert [m["content"] for m in row["rejected"]] == ["b"]
    named = _propose(client, {"kto_tag": False, "prompt": "q", "completion": "a"})
    assert [each["theirs"] for each in named["needed"] if each["ours"] == "label"] == ["kto_tag"]
    assert named["preview"][0]["said"] == ["bad answer"]


def test_both_sides_of_a_pair_come_with_their_tokens(
    client: TestClient, demo_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "ask", _answered_here)
    found = client.get(f"{BASE}/preferences/tokens", params={"row": 1, "model": "demo"}).json()
    assert [each["name"] for each in found["drawn"]] == ["chosen", "rejected"]
    for each, name in zip(found["drawn"], ("chosen", "rejected"), strict=True):
        said = found["sides"][name]
        assert [i for piece in each["pieces"] for i in piece["ids"]] == said["input_ids"]
        assert each["trained"] == said["trained"] > 0
    assert found["parts"] == 1
    assert 0 < found["shared_prompt"] < found["drawn"][0]["total"]
    labelled = client.get(f"{BASE}/feedback/tokens", params={"row": 1, "model": "demo"}).json()
    assert labelled["said"] == ["good answer"]
    assert labelled["facts"] == {"label": 1.0}


def test_an_edited_label_stays_a_label(client: TestClient) -> None:
    change = {"path": ["label"], "text": "false"}
    made = client.patch(f"{BASE}/feedback/rows/1", json=change).json()
    row = client.get(f"{BASE}/{made['name']}/rows").json()["rows"][0]
    assert row["values"]["label"] is False


def _propose(client: TestClient, row: dict[str, Any]) -> dict[str, Any]:
    told = client.post(f"{BASE}/paste", json={"text": lines([row]).decode()}).json()
    return client.post(f"{BASE}/propose", json={"source": told["source"]}).json()


def _answered_here(question: str, **asked: Any) -> Any:
    answers = {"preview_row": datasets.answer_preview, "statistics": datasets.answer_statistics}
    return answers[question](**{key: v for key, v in asked.items() if key != "lane"})


def _pasted(client: TestClient, rows: list[dict[str, Any]]) -> str:
    text = "\n".join(json.dumps(row) for row in rows)
    return client.post("/api/v1/datasets/paste", json={"text": text}).json()["source"]


def test_a_problem_is_placed_by_file_and_line_not_by_where_an_upload_lies(
    client: TestClient,
) -> None:
    text = b'{"question": "q", "answer": "a"}\n{"question": "q", "answer": "b"}\n{broken\n'
    made = client.post(
        "/api/v1/datasets/uploads", json={"name": "shop-bad.jsonl", "size": len(text)}
    ).json()
    span = {"Content-Range": f"bytes 0-{len(text) - 1}/{len(text)}"}
    kind = {"Content-Type": "application/octet-stream"}
    client.put(f"/api/v1/datasets/uploads/{made['id']}", content=text, headers=span | kind)
    likely = client.post("/api/v1/datasets/propose", json={"source": made["source"]}).json()
    body = {"source": made["source"], "name": "bad", "data": likely["likely"]}
    refused = client.post("/api/v1/datasets", json=body).json()
    assert refused["detail"].startswith("shop-bad.jsonl, line 3: ")
    assert "uploads" not in json.dumps(refused)
    client.cookies.set("tunery_lang", "zh")
    refused = client.post("/api/v1/datasets", json=body).json()
    assert refused["params"]["groups"][0]["examples"][0]["place"] == "shop-bad.jsonl 第 3 行"


def test_likely_columns_are_proposed_where_no_format_fits(client: TestClient) -> None:
    rows = [{"question": f"q{n}", "answer": "a", "id": n} for n in range(4)]
    source = _pasted(client, rows)
    found = client.post("/api/v1/datasets/propose", json={"source": source}).json()
    likely = {"format": "alpaca", "columns": {"instruction": "question", "output": "answer"}}
    assert found["likely"] == likely
    assert found["format"] == "alpaca"
    theirs = {each["ours"]: each["theirs"] for each in found["needed"]}
    assert (theirs["instruction"], theirs["output"]) == ("question", "answer")
    assert found["preview"][0]["messages"][1]["content"] == "a"
    chosen = {"source": source, "data": {"format": "alpaca", "columns": {}}}
    assert client.post("/api/v1/datasets/propose", json=chosen).json()["likely"] == likely
    other = {"source": source, "data": {"format": "sharegpt"}}
    assert client.post("/api/v1/datasets/propose", json=other).json()["likely"] is None
    made = client.post("/api/v1/datasets", json={"source": source, "name": "q", "data": likely})
    assert made.json() == {"name": "q", "rows": 4}


@pytest.mark.parametrize("data", [{"header": "maybe"}, {"columns": 3}, {"nonsense": 1}])
def test_a_wrong_way_of_reading_is_a_sentence(client: TestClient, data: dict[str, Any]) -> None:
    source = _pasted(client, [{"instruction": "q", "output": "a"}])
    for path in ("/api/v1/datasets/propose", "/api/v1/datasets"):
        answer = client.post(path, json={"source": source, "name": "n", "data": data})
        assert answer.status_code == 422
        assert answer.json()["detail"]
