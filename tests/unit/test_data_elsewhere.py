"""Hub datasets that another program fetched are found without a network, as models are (W5)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.dataset_hub import DatasetHub, dataset_hub

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.data.examples import read
from tunery.data.lint import check
from tunery.data.sources.remote import fetch
from tunery.errors import DataError
from tunery.models import hubcache

__all__ = ["dataset_hub"]
ROWS = b'{"instruction": "q", "output": "a"}\n{"instruction": "r", "output": "b"}\n'
OTHER = b'{"instruction": "test", "output": "only"}\n'


def fetched_by_another(hub: DatasetHub, repo: str, files: dict[str, bytes], *names: str) -> Path:
    """Download files with huggingface_hub itself, as any other program does."""
    from huggingface_hub import (
        hf_hub_download,  # pyright: ignore[reportUnknownVariableType]
    )

    hub.add(repo, files)
    paths = [
        hf_hub_download(
            repo,
            name,
            repo_type="dataset",
            endpoint=hub.url,
            cache_dir=hubcache.hub_dir(),
        )
        for name in names or files
    ]
    return Path(paths[0])


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_files_of_the_shared_cache_are_read_by_their_train_split(
    dataset_hub: DatasetHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched_by_another(dataset_hub, "ann/rows", {"train.jsonl": ROWS, "test.jsonl": OTHER})
    cut_off(monkeypatch)
    report = check(fetch(find("hf:ann/rows")))
    assert (report.ok, report.rows) == (True, 2)
    assert [problem.code for problem in report.problems()] == ["N154"]
    examples = read(["hf:ann/rows"], DataConfig())
    assert examples.ref(0).file == "hf:ann/rows/train.jsonl"
    assert len(read(["hf:ann/rows@test"], DataConfig())) == 1


def test_a_hub_that_cannot_be_reached_is_no_hindrance(
    dataset_hub: DatasetHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched_by_another(dataset_hub, "ann/rows", {"train.jsonl": ROWS})
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert len(read(["hf:ann/rows"], DataConfig())) == 2


def test_the_card_in_the_cache_names_subsets_and_splits(
    dataset_hub: DatasetHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = b"""---
configs:
- config_name: one
  data_files:
  - split: train
    path: a/*.jsonl
- config_name: two
  data_files:
  - split: sft
    path: b/*
---
# Rows
"""
    files = {"README.md": card, "a/x.jsonl": ROWS, "b/y.jsonl": OTHER}
    fetched_by_another(dataset_hub, "ann/carded", files)
    cut_off(monkeypatch)
    assert len(read(["hf:ann/carded:one"], DataConfig())) == 2
    assert len(read(["hf:ann/carded:two@sft"], DataConfig())) == 1
    with pytest.raises(DataError, match="several subsets"):
        fetch(find("hf:ann/carded"))


def test_a_set_of_shards_that_is_not_whole_is_refused_with_a_count(
    dataset_hub: DatasetHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"data/train-{i:05}-of-00003.jsonl" for i in range(3)]
    fetched_by_another(dataset_hub, "ann/parts", dict.fromkeys(names, ROWS), names[0])
    cut_off(monkeypatch)
    with pytest.raises(DataError, match="2 of its files are not downloaded"):
        fetch(find("hf:ann/parts"))


def test_another_split_than_the_one_in_the_cache_is_not_taken_for_it(
    dataset_hub: DatasetHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"train.jsonl": ROWS, "test.jsonl": OTHER}
    fetched_by_another(dataset_hub, "ann/rows", files, "test.jsonl")
    cut_off(monkeypatch)
    with pytest.raises(DataError, match="not downloaded"):
        fetch(find("hf:ann/rows"))


def prepared(folder: Path, split: str, count: int, shards: int = 1) -> None:
    """A split as Hugging Face's datasets keeps it after ``load_dataset``."""
    import pyarrow

    for shard in range(shards):
        part = f"-{shard:05}-of-{shards:05}" if shards > 1 else ""
        asked = [f"{split} {shard} {i}" for i in range(count)]
        table = pyarrow.table({"instruction": asked, "output": ["a"] * count})
        with pyarrow.ipc.new_stream(str(folder / f"rows-{split}{part}.arrow"), table.schema) as out:
            out.write_table(table)


@pytest.mark.parametrize("shards", [1, 2])
def test_splits_that_load_dataset_prepared_are_read(
    shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    cut_off(monkeypatch)
    folder = tmp_path / "hf" / "datasets" / "ann___rows" / "default" / "0.0.0" / "4f3e"
    folder.mkdir(parents=True)
    prepared(folder, "train", 3, shards)
    prepared(folder, "validation", 1)
    prepared(folder, "train_extra", 7)
    (folder / "cache-train.arrow").write_bytes(b"a cache of map")
    splits = {name: {"name": name} for name in ("train", "validation", "train_extra")}
    (folder / "dataset_info.json").write_text(
        json.dumps({"features": {}, "builder_name": "json", "splits": splits})
    )
    assert len(read(["hf:ann/rows"], DataConfig())) == 3 * shards
    assert len(read(["hf:ann/rows@validation"], DataConfig())) == 1
    assert len(read(["hf:ann/rows@dev"], DataConfig())) == 1
    if shards > 1:
        (folder / "rows-train-00001-of-00002.arrow").unlink()
    else:
        (folder / "rows-train.arrow").unlink()
    with pytest.raises(DataError, match="not downloaded yet, and"):
        fetch(find("hf:ann/rows"))
