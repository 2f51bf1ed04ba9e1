"""Hub datasets over a loopback hub, and s3 over a moto server on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dataset_hub import DatasetHub, dataset_hub

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.dataset import Dataset
from tunery.data.examples import read
from tunery.data.lint import check
from tunery.data.sources.hub import choose
from tunery.data.sources.remote import fetch
from tunery.errors import DataError

__all__ = ["dataset_hub"]
ROWS = b'{"instruction": "q", "output": "a"}\n{"instruction": "r", "output": "b"}\n'
OTHER = b'{"instruction": "test", "output": "only"}\n'


def parquet(tmp_path: Path) -> bytes:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "made.parquet"
    parquet.write_table(pyarrow.table({"instruction": ["q"], "output": ["from parquet"]}), path)
    return path.read_bytes()


def test_a_hub_dataset_is_fetched_and_read_by_its_train_split(dataset_hub: DatasetHub) -> None:
    dataset_hub.add("ann/rows", {"train.jsonl": ROWS, "test.jsonl": OTHER, "README.md": b"# rows"})
    examples = read(["hf:ann/rows"], DataConfig())
    assert len(examples) == 2
    ref = examples[1].ref
    assert ref is not None
    assert (ref.file, ref.record, ref.line) == ("hf:ann/rows/train.jsonl", 2, 2)


def test_a_split_and_a_subset_choose_the_files(dataset_hub: DatasetHub, tmp_path: Path) -> None:
    dataset_hub.add(
        "ann/sets",
        {"en/train-0.parquet": parquet(tmp_path), "zh/train.jsonl": ROWS, "zh/test.jsonl": OTHER},
    )
    assert len(read(["hf:ann/sets:zh"], DataConfig())) == 2
    tested = read(["hf:ann/sets:zh@test"], DataConfig())
    assert len(tested) == 1
    assert [problem.code for problem in tested.warnings] == ["W715"]
    with pytest.raises(DataError, match="no split 'validation'"):
        fetch(find("hf:ann/sets:zh@validation"))
    with pytest.raises(DataError, match="no subset 'fr'"):
        fetch(find("hf:ann/sets:fr"))


def test_the_card_of_a_dataset_names_its_files(dataset_hub: DatasetHub) -> None:
    dataset_hub.add("ann/carded", {"a/x.jsonl": ROWS, "b/y.jsonl": OTHER})
    dataset_hub.cards["ann/carded"] = {
        "configs": [
            {"config_name": "one", "data_files": [{"split": "train", "path": "a/*.jsonl"}]},
            {"config_name": "two", "data_files": [{"split": "train", "path": "b/*"}]},
        ]
    }
    assert len(read(["hf:ann/carded:two"], DataConfig())) == 1
    with pytest.raises(DataError, match="several subsets") as caught:
        fetch(find("hf:ann/carded"))
    assert "one, two" in caught.value.fix


def test_a_fetched_dataset_is_read_again_without_a_network(
    dataset_hub: DatasetHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_hub.add("ann/rows", {"train.jsonl": ROWS})
    first = read(["hf:ann/rows"], DataConfig())
    asked = len(dataset_hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = read(["hf:ann/rows"], DataConfig())
    assert again.hash == first.hash
    assert len(dataset_hub.requests) == asked
    with pytest.raises(DataError, match="not downloaded yet, and"):
        fetch(find("hf:ann/never"))


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9 cannot be reached"):
        fetch(find("hf:ann/rows"))


def test_a_loading_script_is_never_run_and_the_parquet_branch_is_offered(
    dataset_hub: DatasetHub, tmp_path: Path
) -> None:
    dataset_hub.add("ann/scripted", {"scripted.py": b"raise SystemExit", "data.jsonl": ROWS})
    report = check(fetch(find("hf:ann/scripted")))
    assert [(p.code, p.severity) for p in report.problems()] == [("E170", "stop")]
    branch = "refs/convert/parquet"
    dataset_hub.add(
        "ann/scripted", {"default/train/0000.parquet": parquet(tmp_path)}, revision=branch
    )
    fix = str(check(fetch(find("hf:ann/scripted"))).problems()[0].fix)
    assert fix.endswith(f"hf:ann/scripted#{branch}")
    assert len(read([f"hf:ann/scripted#{branch}"], DataConfig())) == 1


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "gated"),
        (401, "RepoNotFound", "or it is private"),
        (404, "RepoNotFound", "has no dataset"),
        (429, "", "answered 429"),
    ],
)
def test_a_refusal_of_the_hub_becomes_a_sentence(
    dataset_hub: DatasetHub, status: int, code: str, words: str
) -> None:
    dataset_hub.refused["ann/closed"] = (status, code)
    with pytest.raises(DataError, match=words) as caught:
        fetch(find("hf:ann/closed"))
    assert caught.value.fix


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:/x", "hf:x/"])
def test_a_name_that_is_no_hub_dataset_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="not a hub dataset"):
        find(name)


def test_one_kind_of_file_is_chosen_where_several_hold_the_rows() -> None:
    dataset = Dataset("hf:a/b", "hub", origin="a/b")
    present = ["data/train.jsonl", "data/train.parquet", "data/train.csv", "dataset_infos.json"]
    assert choose(dataset, present, []) == ["data/train.parquet"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket="rows")
    client.put_object(Bucket="rows", Key="one/train.jsonl", Body=ROWS)
    client.put_object(Bucket="rows", Key="mixed/a.csv", Body=b"instruction,output\nq,a\n")
    client.put_object(Bucket="rows", Key="mixed/b.jsonl", Body=ROWS)
    try:
        yield "rows"
    finally:
        fsspec.filesystem("s3").clear_instance_cache()
        server.stop()


@pytest.mark.filterwarnings("ignore")
def test_rows_in_s3_are_copied_once_and_read(bucket: str, home: Path) -> None:
    examples = read(["s3://rows/one/train.jsonl"], DataConfig())
    assert len(examples) == 2
    assert examples.ref(1).file == "s3://rows/one/train.jsonl"
    copies = list((home / "cache" / "data").glob("cloud-*/train.jsonl"))
    assert len(copies) == 1
    assert len(read(["s3://rows/one"], DataConfig())) == 2
    with pytest.raises(DataError, match="several file types"):
        fetch(find("s3://rows/mixed"))
    with pytest.raises(DataError, match="not found"):
        fetch(find("s3://rows/nowhere.jsonl"))


@pytest.mark.filterwarnings("ignore")
def test_a_store_that_cannot_be_reached_is_not_blamed_on_the_keys(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("s3").clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(DataError) as caught:
        fetch(find("s3://rows/one/train.jsonl"))
    assert "network" in caught.value.fix


@pytest.mark.filterwarnings("ignore")
def test_a_catalog_entry_may_name_a_file_in_the_cloud(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text(
        json.dumps({"mine": {"cloud_file_name": "s3://rows/one/train.jsonl"}})
    )
    assert len(read(["mine"], DataConfig(catalog=tmp_path))) == 2
