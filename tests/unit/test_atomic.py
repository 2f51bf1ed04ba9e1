"""A file appears whole or not at all, and an error is about the file that was meant."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tunery import atomic


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("before")
    atomic.write(file, "änd")
    assert file.read_bytes() == "änd".encode()
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_private_file_is_for_this_user_alone(tmp_path: Path) -> None:
    atomic.write(tmp_path / "token", b"x", private=True)
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_keeps_what_was_there_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file = tmp_path / "a.json"
    file.write_text("before")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".a.json-1-2"))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space") as caught:
        atomic.write(file, "after")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(file))
    assert file.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.write(tmp_path / "gone" / "a.json", "x")
    assert not (tmp_path / "gone").exists()
