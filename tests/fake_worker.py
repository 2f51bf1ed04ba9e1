"""A worker in small: it trains nothing, but it writes, waits, stops and dies like a real one.

``python fake_worker.py FOLDER HOW [STEPS]``; HOW is one of finish, wait, deaf, fail, silent,
crash, late (ends right after the start of a step).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tunery.runs.device import DeviceLock
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.workers.process import Control, Heartbeat, WorkerFile


class Stopped(Exception):
    """A stop was asked for."""


def main(path: str, how: str, steps: str = "3") -> int:
    folder = RunFolder(Path(path))
    control = Control(folder)
    lock = DeviceLock("cpu", run=folder.name)
    with EventWriter(folder.events_file) as events, Heartbeat(WorkerFile(folder), interval=0.2):

        def on_wait(holder) -> None:
            events.write("status", status="queued", **holder.as_fields("cpu"))

        signal.signal(signal.SIGTERM, lambda *_: None)
        if how == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        if not lock.acquire(on_wait=on_wait, should_stop=control.stop_requested):
            events.write("status", status="stopped", reason="while it waited")
            return 0
        events.write("status", status="running")
        try:
            return train(folder, events, how, int(steps))
        except Stopped:
            events.write("status", status="stopped", reason="")
            return 0


def train(folder: RunFolder, events: EventWriter, how: str, steps: int) -> int:
    events.write("phase", phase="train", state="start")
    events.write("plan", num_steps=steps, trained_parameters=1, total_parameters=2)
    for step in range(1, steps + 1):
        events.write("step", step=step, epoch=step / steps, loss=1 / step, learning_rate=1e-3)
        match how:
            case "late":
                print("the last words", flush=True)
                os._exit(3)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "fail":
                events.write("status", status="failed", reason="loss is nan", fix="lower the rate")
                return 1
            case "wait" | "deaf":
                while how == "deaf" or not Control(folder).stop_requested():
                    time.sleep(0.02)
                raise Stopped
    events.write("result", seconds=1.0)
    events.write("status", status="finished")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
