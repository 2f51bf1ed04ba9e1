"""A process that has loaded torch ends at once, and loses nothing that was said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tunery.services.job_kinds as job_kinds
from tunery.train import trial, worker

CODE = """
import atexit, sys
from tunery.workers.quick_end import end_at_once

class Model:
    def __del__(self):
        print("taken apart")

kept = Model()
atexit.register(print, "registered")
print("said", end="")
print("in the log", end="", file=sys.stderr)
end_at_once(3)
"""


def test_what_was_printed_and_registered_is_kept_and_nothing_is_taken_apart() -> None:
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert ended.returncode == 3
    assert ended.stdout == "saidregistered\n"
    assert ended.stderr == "in the log"


def test_every_worker_that_loads_a_model_ends_so() -> None:
    for module in (worker, trial, job_kinds):
        assert "    end_at_once(" in Path(str(module.__file__)).read_text(encoding="utf-8")
