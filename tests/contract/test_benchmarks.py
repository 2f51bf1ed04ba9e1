"""Every benchmark still fits the code that it measures: it starts, and says what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


def test_every_benchmark_can_be_imported() -> None:
    assert len(BENCHMARKS) >= 7
    code = "import runpy, sys\nfor file in sys.argv[1:]: runpy.run_path(file, run_name='looked_at')"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, BENCHMARKS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
