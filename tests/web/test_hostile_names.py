"""Names of datasets that name nothing are refused without a fault of the server, at every door."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

NAMES = ["s3://", "identity*1000000000", "identity*" + "9" * 30, "identity\ud800"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_names_nothing_is_no_fault_of_the_server(quiet: TestClient, name: str) -> None:
    def ask(method: str, path: str, body: Any) -> Any:
        answer = quiet.request(
            method,
            f"/api/v1/{path}",
            content=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code < 500, (method, path, answer.text)
        assert answer.status_code not in (404, 405), (method, path)
        return answer.json()

    fields = {"data.train": name, "data.variables.name": "x", "data.variables.author": "y"}
    ask("POST", "runs", {"data": {"train": [name]}})
    ask("POST", "datasets/propose", {"source": name})
    put = ask("PUT", "drafts/mine", {"fields": fields})
    told = json.dumps(put.get("errors", put))
    assert "data.train" in told or "not valid Unicode" in told
    if "errors" in put:  # else it was not stored
        ask("POST", "drafts/mine/plan", {})
