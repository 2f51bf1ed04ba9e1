"""A run as a zip: settings, metrics, log and report; never weights, never gigabytes."""

from __future__ import annotations

import csv
import io
import zipfile

import pytest
from tests.web.test_runs_api import write_run

from tunery.services.runs import _archive


def test_a_run_is_downloaded_without_its_weights(client) -> None:
    folder = write_run("good", steps=5)
    folder.report_file.write_text("<p>report</p>")
    folder.adapter_dir.mkdir()
    (folder.adapter_dir / "adapter_model.safetensors").write_bytes(b"w" * 1000)
    answer = client.get("/api/v1/runs/good/archive")
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="good.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        names = set(packed.namelist())
        rows = list(csv.DictReader(io.StringIO(packed.read("good/metrics.csv").decode())))
    texts = ("config.yaml", "events.jsonl", "worker.log", "run.json", "report.html", "metrics.csv")
    assert names == {f"good/{name}" for name in texts}
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "5"]
    assert [row["type"] for row in rows][-2:] == ["step", "eval"]
    assert float(rows[1]["loss"]) == 1.0


def test_a_file_that_is_too_large_is_named_and_left_out(
    client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_archive, "MAX_FILE_BYTES", 100_000)
    folder = write_run("good")
    folder.worker_log.write_bytes(b"x" * 100_001)
    answer = client.get("/api/v1/runs/good/archive")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert "good/worker.log" not in packed.namelist()
        assert packed.read("good/left-out.txt").decode().startswith("worker.log\t100001\t")


def test_a_run_that_is_not_there_is_said(client) -> None:
    assert client.get("/api/v1/runs/nowhere/archive").status_code == 404


def test_the_links_to_the_export_page_use_what_it_reads(client) -> None:
    """They said ?model=, which the page does not read: another run was chosen in silence."""
    write_run("good")
    page = client.get("/runs/good/-/parts", headers={"Accept": "text/html"}).text
    assert "/export?model=" not in page
