"""Names of datasets that name nothing: a sentence at every door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunery.config.load import from_text, from_tokens
from tunery.data.catalog import find
from tunery.data.llamafactory import read_registry
from tunery.errors import ConfigError, DataError, ModelError
from tunery.models.resolve import resolve
from tunery.services import datasets, runs

NOWHERE = ["s3://", "gs://", "s3:///x", "s3://:train", "s3://?", "gcs://a b"]


@pytest.mark.parametrize("name", NOWHERE)
def test_an_address_without_a_bucket_is_refused(name: str) -> None:
    for door in (
        lambda: find(name),
        lambda: datasets.check(name, from_tokens([]).config.data),
        lambda: runs.plan(from_tokens(["--data.train", name])),
    ):
        with pytest.raises(DataError, match="the bucket is missing or its name is not valid"):
            door()


@pytest.mark.parametrize("name", ["s3://bucket", "gs://my-bucket/a/b.jsonl", "s3://b.c:validation"])
def test_an_address_with_a_bucket_is_found(name: str) -> None:
    assert find(name).source == "cloud"


@pytest.mark.parametrize("url", ["s3://", "bucket/rows.jsonl", ["s3://x"], 7])
def test_an_entry_with_another_cloud_address_has_a_problem(tmp_path: Path, url: object) -> None:
    (tmp_path / "dataset_info.json").write_text(json.dumps({"rows": {"cloud_file_name": url}}))
    (dataset,) = read_registry(tmp_path)
    assert dataset.problems[0].code == "E173"
    wanted = "the address of a bucket" if isinstance(url, str) else "text"
    assert f"rows.cloud_file_name: expected {wanted}" in str(dataset.problems[0].found)


def test_half_of_a_character_is_refused_by_its_setting() -> None:
    with pytest.raises(ConfigError, match=r"data.train.0: the text is not valid Unicode"):
        from_tokens(["--data.train", "rows\udcff.jsonl"])
    with pytest.raises(ConfigError, match=r"data.variables.name: the text is not valid Unicode"):
        from_text('data: {variables: {name: "\\ud800"}}\n', "train.yaml")
    with pytest.raises(ConfigError, match=r"data.role_map.\?: the text is not valid Unicode"):
        from_text('data: {role_map: {"\\ud800": user}}\n', "train.yaml")
    with pytest.raises(DataError, match="a<U\\+DCFF>: the name is not valid Unicode"):
        find("a\udcff")


def test_a_folder_of_runs_is_no_dataset(tmp_path: Path) -> None:
    for name in ("heron", "bc"):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("seed: 1\n")
        (run / "events.jsonl").write_text('{"type": "started"}\n')
        (run / "MANIFEST.json").write_text("{}")
    with pytest.raises(DataError, match="this folder holds runs, not data: bc, heron") as caught:
        find(str(tmp_path / "runs"))
    assert str(caught.value.fix) == "Choose a dataset: tunery data list"
    with pytest.raises(DataError, match="this is the folder of a run, not data"):
        find(str(tmp_path / "runs" / "bc"))
    with pytest.raises(ModelError, match="this folder holds runs, not a model") as refused:
        resolve(str(tmp_path / "runs"))
    assert str(tmp_path / "runs" / "heron") in str(refused.value.fix)
