"""Reading settings files: YAML 1.2, its limits, and a place in every complaint."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tunery.chat.builtin import find
from tunery.config import read
from tunery.data.llamafactory import is_registry, read_registry
from tunery.errors import ConfigError, ModelError


def parsed(text: str):
    return read.parse(text, "train.yaml").values


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read.parse(text, "train.yaml")
    return str(caught.value)


def test_scalars_follow_yaml_1_2():
    values = parsed("a: 5e-5\nb: on\nc: no\nd: 0o17\ne: 0x1F\nf: ~\ng:\nh: True\ni: '5'\nj: 012\n")
    assert values == {
        "a": 5e-5,
        "b": "on",
        "c": "no",
        "d": 15,
        "e": 31,
        "f": None,
        "g": None,
        "h": True,
        "i": "5",
        "j": 12,
    }
    assert parsed("d: 2026-11-24\nt: 1:30\n") == {"d": "2026-11-24", "t": "1:30"}


def test_every_value_has_its_line():
    document = read.parse("a:\n  b: 1\n\n  c: [x,\n    y]\n", "train.yaml")
    assert {p: document.lines[p] for p in ("a", "a.b", "a.c", "a.c.1")} == {
        "a": 1,
        "a.b": 2,
        "a.c": 4,
        "a.c.1": 5,
    }


def test_aliases_and_merge_keys_work_within_limits():
    text = "base: &b {rank: 4, alpha: 8}\nadapter:\n  <<: *b\n  rank: 2\n"
    assert parsed(text)["adapter"] == {"rank": 2, "alpha": 8}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1, 2\nb: 3\n", "train.yaml line 2, column 2: not valid YAML"),
        ("a:\n\tb: 1\n", "Indent with spaces, not with tabs."),
        ("a: 1\nb: 2\na: 3\n", "train.yaml line 3, column 1: a is already set in line 1."),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1, column 4: the tag"),
        ("a: !!python/name:os.system\n", "is not supported"),
        ("a: *x\n", "*x has no matching anchor before it"),
        ("a: &x [*x]\n", "*x has no matching anchor before it"),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("? [a]\n: 2\n", "expected a name"),
        ("- a\n- b\n", "expected settings, such as model: demo"),
        ("just text\n", "expected settings"),
        ("# nothing but a remark\n", "the file contains no settings"),
        ("a: " + "[" * 30 + "]" * 30, "more than 20 levels deep"),
        ("\n".join(["a: &a x", *(f"b{i}: *a" for i in range(200))]), "too many aliases"),
    ],
)
def test_what_is_no_settings_file_gets_a_sentence_with_its_place(text: str, said: str):
    assert said in refused(text)


def test_a_laughing_bomb_is_refused_at_once():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert "too many aliases" in refused("\n".join(levels))


def test_values_from_the_environment_are_not_filled_in(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "canary")
    assert parsed("a: ${oc.env:HF_TOKEN}\nb: $HF_TOKEN\n")["a"] == "${oc.env:HF_TOKEN}"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\x00", "line 1: not UTF-8 text"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8 text"),
        (b"a: 1\nb: \x00\n", "line 2: a binary file"),
        (b"\xff\xfea\x00:\x00", "not UTF-8 text"),
        (b"a: " + b"x" * (1 << 20), "larger than 1 MiB"),
    ],
)
def test_a_foreign_file_gets_a_sentence(tmp_path: Path, data: bytes, said: str):
    path = tmp_path / "train.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read.read_file(path)
    assert said in caught.value.message
    assert caught.value.message.startswith(str(path))


def test_a_missing_file_and_a_folder_get_a_sentence(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such file"):
        read.read_file(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="this is a folder"):
        read.read_file(tmp_path)


def test_a_pipe_is_refused_at_once_wherever_a_small_file_is_read(tmp_path: Path):
    pipe = tmp_path / "train.yaml"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="a pipe, socket or device") as caught:
        read.read_file(pipe)
    assert caught.value.fix == "Save its content to a file first."
    template = tmp_path / "mine.jinja"
    os.mkfifo(template)
    with pytest.raises(ModelError, match="a pipe, socket or device"):
        find(str(template))
    os.mkfifo(tmp_path / "dataset_info.json")
    assert not is_registry(tmp_path)
    with pytest.raises(ConfigError, match="a pipe, socket or device"):
        read_registry(tmp_path)
    with pytest.raises(ConfigError, match="a pipe, socket or device"):
        read.read_file(Path("/dev/zero"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_gets_a_sentence(tmp_path: Path):
    path = tmp_path / "train.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    with pytest.raises(ConfigError, match="permission denied"):
        read.read_file(path)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path):
    path = tmp_path / "train.yaml"
    path.write_bytes(b"\xef\xbb\xbfmodel: demo\r\n")
    assert read.read_file(path).values == {"model": "demo"}
