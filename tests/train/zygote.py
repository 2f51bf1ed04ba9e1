"""One process that has imported torch; it forks a child a trial, so a trial starts in milliseconds.

``python -m tests.train.zygote`` reads one JSON order a line and answers with one line: ``start``
forks a child that calls ``tests.train.children.NAME(**arguments)`` and exits with what it returns;
``wait`` waits for a child's end. The children are killed by the test itself, from outside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]


class Zygote:
    """The test's side."""

    def __init__(self) -> None:
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.train.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environ,
        )

    def start(self, child: str, **arguments: Any) -> int:
        """Fork a child; returns its pid."""
        return int(self._ask({"start": child, "arguments": arguments}))

    def wait(self, pid: int) -> int:
        """Wait for a child; its exit status, negative for a signal."""
        return int(self._ask({"wait": pid}))

    def run(self, child: str, **arguments: Any) -> int:
        """Start and wait."""
        return self.wait(self.start(child, **arguments))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)
        self._process.stdout.close()

    def _ask(self, order: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the zygote is gone"
        return answer


def serve() -> None:
    import warnings

    warnings.simplefilter("ignore")
    from tests.train import children

    children.warm()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os.close(0)
            os.dup2(2, 1)
            try:
                status = getattr(children, order["start"])(**order["arguments"])
            except BaseException:
                import traceback

                traceback.print_exc()
                status = 99
            os._exit(status or 0)
        print(pid, flush=True)


if __name__ == "__main__":
    serve()
