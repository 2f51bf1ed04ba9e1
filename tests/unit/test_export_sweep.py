"""What killed exports left is removed by the next export beside it, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tunery.services.export._exporting import staged


def dead() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_next_export_removes_what_a_killed_one_left_under_another_name(tmp_path: Path) -> None:
    gone = dead()
    left = [tmp_path / f".old.exporting-{gone}", tmp_path / f".kept.replaced-{gone}"]
    stays = [
        tmp_path / f".live.exporting-{os.getppid()}",
        tmp_path / ".x.exporting",
        tmp_path / "a",
    ]
    for folder in (*left, *stays):
        folder.mkdir()
        (folder / "file").write_text("x")
    with staged(tmp_path / "new", force=False) as staging:
        staging.mkdir()
    assert not any(folder.exists() for folder in left)
    assert (tmp_path / "kept" / "file").read_text() == "x"  # what was to be replaced is put back
    assert all((folder / "file").exists() for folder in stays)
