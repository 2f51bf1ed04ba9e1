"""A run's config file: whole, readable, and equal to what was frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunery.config import load
from tunery.config.config import Config
from tunery.errors import ConfigError


def test_a_frozen_config_reads_back_equal_with_its_meta_apart(tmp_path: Path):
    config = load.from_tokens(
        ["--preset", "identity", "--data.variables.name", '"Tuna" 金: #1']
    ).config
    meta = {"tunery": "0.1.0", "data": {"identity": "ab12"}, "cores": 2, "devices": ["cpu"]}
    path = tmp_path / "config.yaml"
    load.write_frozen(path, config, meta)
    assert load.read_frozen(path) == config
    assert load.read_frozen_meta(path) == meta
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


def test_a_frozen_config_can_be_trained_again_as_a_file(tmp_path: Path):
    words = ["--optim.warmup_steps", "3", "--train.max_steps", "9", "--method", "pretrain"]
    config = load.from_tokens(words).config
    path = tmp_path / "config.yaml"
    load.write_frozen(path, config, {"tunery": "0.1.0"})
    assert load.load([path]).config == config
    changed = load.load([path], ["--adapter", "full", "--optim.learning_rate", "1e-5"]).config
    assert changed.adapter.type == "full"


def test_a_frozen_config_of_another_version_says_which(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("train: {old_name: 1}\n_run: {tunery: 9.9.9}\n")
    with pytest.raises(ConfigError, match=r"created by Tunery 9\.9\.9"):
        load.read_frozen(path)


def test_a_damaged_meta_part_is_an_error(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("_run: 5\n")
    with pytest.raises(ConfigError, match="_run is damaged"):
        load.read_frozen_meta(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "config.yaml"
    load.write_frozen(path, Config(), {})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="Out of range"):
        load.write_frozen(path, Config(), {"loss": float("nan")})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
